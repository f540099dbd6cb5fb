//! One runner for each step, among all processes that share a store.
//!
//! A lock is a file named after the [derivation](crate::Derivation) of the step, locked with
//! `flock` while the step runs: the kernel releases it whatever happens to the holder. Within the process a mutex
//! of the same name comes first, so that at most one thread waits for each file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use rbuild_oci::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::sync::{OwnedMutexGuard, oneshot};

use crate::error::SolveError;

/// Hands out locks by name.
#[derive(Debug, Default)]
pub struct Locks {
    directory: Option<PathBuf>,
    here: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

impl Locks {
    /// Returns locks that other processes respect too: files in `directory`, which exists.
    pub fn shared(directory: PathBuf) -> Self {
        Self { directory: Some(directory), here: Mutex::default() }
    }

    /// Returns locks within this process only.
    pub fn private() -> Self {
        Self::default()
    }

    /// Waits for the lock of this name; `wait` is called before waiting for another process.
    pub(crate) async fn acquire(&self, name: &Digest, wait: impl FnOnce()) -> Result<Locked, SolveError> {
        let here = self.entry(name).lock_owned().await;
        let file = match &self.directory {
            Some(directory) => Some(acquire_file(directory.join(format!("step-{}", name.hex())), wait).await?),
            None => None,
        };
        Ok(Locked { _file: file, _here: here })
    }

    fn entry(&self, name: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = here.get(name).and_then(Weak::upgrade) {
            return entry;
        }
        here.retain(|_, entry| entry.strong_count() > 0);
        let entry = Arc::default();
        here.insert(*name, Arc::downgrade(&entry));
        entry
    }
}

/// A lock held; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Locked {
    // Fields drop in order: the file goes before the next of this process may open it.
    _file: Option<LockFile>,
    _here: OwnedMutexGuard<()>,
}

/// A locked file, removed when dropped.
#[derive(Debug)]
struct LockFile {
    _file: File,
    path: PathBuf,
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Removed while still locked: whoever opened it before finds out by its inode number. Left
        // behind, an empty file does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

async fn acquire_file(path: PathBuf, wait: impl FnOnce()) -> Result<LockFile, SolveError> {
    let failed = |source| SolveError::Lock { path: path.clone(), source: Arc::new(source) };
    if let Some(file) = lock_file(&path, FlockOperation::NonBlockingLockExclusive).map_err(failed)? {
        return Ok(file);
    }
    wait();
    // A thread of its own, not one of the runtime's: the runtime could not be shut down while it waits.
    let (sender, receiver) = oneshot::channel();
    let waiting = path.clone();
    let waiter = move || {
        let locked = lock_file(&waiting, FlockOperation::LockExclusive);
        // If nobody listens any more, the lock is released by being dropped here.
        let _ = sender.send(locked);
    };
    thread::Builder::new().name("step-lock".into()).spawn(waiter).map_err(failed)?;
    let locked = receiver.await.map_err(|_| failed(io::Error::other("the waiting thread ended")))?;
    locked.map_err(failed)?.ok_or_else(|| failed(io::Error::from(io::ErrorKind::WouldBlock)))
}

/// Returns none if the lock is held by another and `operation` does not wait.
fn lock_file(path: &Path, operation: FlockOperation) -> io::Result<Option<LockFile>> {
    loop {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match flock(&file, operation) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if is_still_there(&file, path)? {
            return Ok(Some(LockFile { _file: file, path: path.to_owned() }));
        }
    }
}

/// Whether the name still stands for this file, or its holder removed it before we had the lock.
fn is_still_there(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_at_a_time_and_nothing_left() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let name = Digest::of(b"step");
        let inside = Arc::new(AtomicUsize::new(0));
        let holders = (0..20).map(|_| {
            let (locks, inside) = (Locks::shared(directory.path().to_owned()), Arc::clone(&inside));
            tokio::spawn(async move {
                let locked = locks.acquire(&name, || ()).await.expect("the directory exists");
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                tokio::time::sleep(Duration::from_millis(1)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(locked);
            })
        });
        futures::future::try_join_all(holders).await?;
        assert_eq!(fs::read_dir(directory.path())?.count(), 0);
        Ok(())
    }

    #[tokio::test]
    async fn a_waiter_may_leave() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let name = Digest::of(b"step");
        let (first, second) = (Locks::shared(directory.path().into()), Locks::shared(directory.path().into()));
        let held = first.acquire(&name, || ()).await?;
        let waiting = tokio::time::timeout(Duration::from_millis(20), second.acquire(&name, || ())).await;
        assert!(waiting.is_err());
        drop(held);
        let again = tokio::time::timeout(Duration::from_secs(5), first.acquire(&name, || ())).await;
        assert!(again?.is_ok(), "the one who left does not keep it");
        Ok(())
    }
}
