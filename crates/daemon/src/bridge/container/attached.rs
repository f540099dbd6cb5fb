//! The streams of one process, between descriptors and messages.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;
use rbuild_buildkit_api::gateway::{ExecMessageInput, FdMessage};
use rbuild_ops::{ContainerProcess, OpsError, Streams};
use tokio::sync::{mpsc, oneshot};

use super::exec::{Sender, message};
use crate::fault::Fault;

/// How much of what a process writes goes into one message.
const PIECE: usize = 32 << 10;

/// A process whose streams are messages; one that has ended takes everything and does nothing.
#[derive(Default)]
pub(super) struct Attached {
    process: Mutex<Option<Arc<ContainerProcess>>>,
    stdin: Mutex<Option<mpsc::Sender<Bytes>>>,
}

/// What is still to come of a process.
pub(super) struct Ending {
    /// How it ended.
    pub(super) exit: oneshot::Receiver<Result<(), OpsError>>,
    /// Ends of what it writes.
    pub(super) outputs: Vec<oneshot::Receiver<()>>,
}

impl Attached {
    /// Begins to pass on what the process `id` writes to those of its streams that are `wanted`.
    pub(super) fn attach(
        mut process: ContainerProcess,
        id: &str,
        wanted: &[u32],
        sender: &Sender,
    ) -> io::Result<(Self, Ending)> {
        let streams = std::mem::take(&mut process.streams);
        let is_wanted = |fd: u32| wanted.contains(&fd);
        let mut outputs = Vec::new();
        let stdin = match streams {
            Streams { terminal: Some(terminal), .. } => {
                let stdin = terminal.try_clone()?;
                let shown = if is_wanted(1) { 1 } else { 2 };
                // There is one stream for all that a terminal shows; the other one ends at once.
                let output = (is_wanted(1) || is_wanted(2)).then_some(shown);
                outputs.push(pump(Some(terminal), output, id, sender)?);
                if is_wanted(1) && is_wanted(2) {
                    outputs.push(pump(None, Some(2), id, sender)?);
                }
                Some(stdin).filter(|_| is_wanted(0))
            }
            Streams { stdin, stdout, stderr, .. } => {
                for (fd, pipe) in [(1, stdout), (2, stderr)] {
                    if let Some(pipe) = pipe {
                        outputs.push(pump(Some(pipe), Some(fd), id, sender)?);
                    }
                }
                stdin
            }
        };
        let stdin = stdin.map(feed).transpose()?;
        let process = Arc::new(process);
        let (told, exit) = oneshot::channel();
        let waited = process.clone();
        let wait = move || told.send(waited.wait()).unwrap_or(());
        thread::Builder::new().name("container-wait".to_owned()).spawn(wait)?;
        Ok((Self { process: Mutex::new(Some(process)), stdin: Mutex::new(stdin) }, Ending { exit, outputs }))
    }

    fn process(&self) -> MutexGuard<'_, Option<Arc<ContainerProcess>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stdin(&self) -> MutexGuard<'_, Option<mpsc::Sender<Bytes>>> {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of everything.
    pub(super) fn ended(&self) {
        self.process().take();
        self.stdin().take();
    }

    /// Passes on what the process is to read, waiting for it to do so.
    pub(super) async fn write(&self, data: Bytes, eof: bool) {
        let sender = self.stdin().clone();
        if let Some(sender) = sender.filter(|_| !data.is_empty()) {
            // A process that reads no more misses nothing.
            let _ = sender.send(data).await;
        }
        if eof {
            self.stdin().take();
        }
    }

    pub(super) fn resize(&self, rows: u32, columns: u32) -> Result<(), Fault> {
        let size = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        let process = self.process().clone();
        process.map_or(Ok(()), |process| Ok(process.resize(size(rows), size(columns))?))
    }

    pub(super) fn signal(&self, number: i32) -> Result<(), Fault> {
        let process = self.process().clone();
        process.map_or(Ok(()), |process| Ok(process.signal(number)?))
    }
}

/// Writes what is sent to a descriptor, which is closed when nothing more comes.
fn feed(to: OwnedFd) -> io::Result<mpsc::Sender<Bytes>> {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    let write = move || {
        let mut to = File::from(to);
        while let Some(data) = receiver.blocking_recv() {
            if to.write_all(&data).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("container-stdin".to_owned()).spawn(write)?;
    Ok(sender)
}

/// Passes on what can be read from a descriptor as the stream `fd` of the process; without one, reads only.
fn pump(from: Option<OwnedFd>, fd: Option<u32>, id: &str, sender: &Sender) -> io::Result<oneshot::Receiver<()>> {
    let (done, ended) = oneshot::channel();
    let (id, sender) = (id.to_owned(), sender.clone());
    let tell = move |data: Bytes, eof: bool| match fd {
        Some(fd) => sender.blocking_send(Ok(message(&id, ExecMessageInput::File(FdMessage { fd, eof, data })))).is_ok(),
        None => true,
    };
    let read = move || {
        let mut buffer = vec![0; PIECE];
        let mut from = from.map(File::from);
        while let Some(from) = &mut from {
            match from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal whose other side is gone answers EIO.
                Ok(0) | Err(_) => break,
                Ok(read) if !tell(Bytes::copy_from_slice(&buffer[..read]), false) => break,
                Ok(_) => {}
            }
        }
        tell(Bytes::new(), true);
        drop(done);
    };
    thread::Builder::new().name("container-output".to_owned()).spawn(read)?;
    Ok(ended)
}
