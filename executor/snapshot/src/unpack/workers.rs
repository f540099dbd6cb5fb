//! Threads that fill files which the unpacking thread has made.
//!
//! Names are made by one thread in the order of the tar, so nothing here can race for them; what a worker gets is an
//! open file, its bytes and attributes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use crate::attributes::{Attributes, Ids};
use crate::error::{Result, SnapshotError};
use crate::make::finish_file;

/// Jobs that may wait for one worker; a job holds at most [`PIECE`] bytes.
const QUEUE: usize = 32;
/// The most bytes of one job.
pub(super) const PIECE: usize = 256 * 1024;

pub(super) enum Job {
    /// Bytes at an offset of a large file.
    Piece { file: Arc<File>, path: PathBuf, offset: u64, data: Vec<u8> },
    /// The last bytes of a file, after which its attributes are set.
    Last { file: Arc<File>, path: PathBuf, offset: u64, data: Vec<u8>, attributes: Box<Attributes> },
    /// Says that all before is done.
    Barrier(SyncSender<()>),
}

#[derive(Default)]
struct Failure {
    happened: AtomicBool,
    error: Mutex<Option<SnapshotError>>,
}

/// The workers' queues.
pub(super) struct Workers<'scope> {
    queues: Vec<SyncSender<Job>>,
    threads: Vec<ScopedJoinHandle<'scope, u64>>,
    failure: Arc<Failure>,
    next: usize,
    busy: bool,
}

impl<'scope> Workers<'scope> {
    pub(super) fn start<'env>(scope: &'scope Scope<'scope, 'env>, count: usize, ids: Ids) -> Self {
        let failure = Arc::new(Failure::default());
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..count.max(1) {
            let (queue, jobs) = sync_channel(QUEUE);
            let failure = Arc::clone(&failure);
            threads.push(scope.spawn(move || run(&jobs, &failure, ids)));
            queues.push(queue);
        }
        Self { queues, threads, failure, next: 0, busy: false }
    }

    /// Chooses the worker for a file; all its jobs must go to the same one.
    pub(super) fn choose(&mut self) -> usize {
        self.next = (self.next + 1) % self.queues.len();
        self.next
    }

    pub(super) fn send(&mut self, worker: usize, job: Job) -> Result<()> {
        self.check()?;
        self.busy = true;
        self.queues[worker].send(job).expect("workers outlive their queues");
        Ok(())
    }

    /// Waits until all files handed out are done.
    pub(super) fn barrier(&mut self) -> Result<()> {
        if std::mem::take(&mut self.busy) {
            let (done, all) = sync_channel(self.queues.len());
            for queue in &self.queues {
                queue.send(Job::Barrier(done.clone())).expect("workers outlive their queues");
            }
            drop(done);
            while all.recv().is_ok() {}
        }
        self.check()
    }

    /// Ends the workers; returns how many owners were only recorded.
    pub(super) fn finish(self) -> Result<u64> {
        let Self { queues, threads, failure, .. } = self;
        drop(queues);
        let recorded = threads.into_iter().map(|thread| thread.join().expect("a writing thread panicked")).sum();
        match failure.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(recorded),
        }
    }

    fn check(&self) -> Result<()> {
        if !self.failure.happened.load(Ordering::Relaxed) {
            return Ok(());
        }
        let error = self.failure.error.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(error.unwrap_or_else(|| SnapshotError::refused(Path::new(""), "writing failed before")))
    }
}

fn run(jobs: &Receiver<Job>, failure: &Failure, ids: Ids) -> u64 {
    let mut recorded = 0;
    // After a failure the queue is only emptied.
    for job in jobs {
        let failed = failure.happened.load(Ordering::Relaxed);
        let result = match job {
            Job::Barrier(done) => {
                let _ = done.send(());
                Ok(())
            }
            _ if failed => Ok(()),
            Job::Piece { file, path, offset, data } => write(&file, &path, offset, &data),
            Job::Last { file, path, offset, data, attributes } => write(&file, &path, offset, &data)
                .and_then(|()| finish_file(&file, &attributes, ids, &path))
                .map(|is_recorded| recorded += u64::from(is_recorded)),
        };
        if let Err(error) = result {
            failure.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            failure.happened.store(true, Ordering::Relaxed);
        }
    }
    recorded
}

fn write(file: &File, path: &Path, offset: u64, data: &[u8]) -> Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    file.write_all_at(data, offset).map_err(SnapshotError::entry("writing", path))
}
