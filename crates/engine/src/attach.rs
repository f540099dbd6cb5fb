//! Streams between the caller and a container.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

/// Copies a stream of the container to one of ours until either ends. A reader that went away closes
/// the container's side, so that its program learns of it.
pub(crate) fn outward(from: OwnedFd, mut to: Box<dyn Write + Send>) -> io::Result<JoinHandle<()>> {
    let copy = move || {
        let mut from = File::from(from);
        let mut buffer = vec![0; 32 << 10];
        while let Ok(read) = from.read(&mut buffer) {
            if read == 0 || to.write_all(&buffer[..read]).and_then(|()| to.flush()).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("container-output".to_owned()).spawn(copy)
}

/// Copies our standard input to the container. The thread is left behind at the end: nothing can wake
/// it from a read of a terminal.
pub(crate) fn inward(mut from: Box<dyn Read + Send>, to: OwnedFd) -> io::Result<()> {
    let copy = move || {
        let mut to = File::from(to);
        let mut buffer = vec![0; 32 << 10];
        while let Ok(read) = from.read(&mut buffer) {
            if read == 0 || to.write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("container-input".to_owned()).spawn(copy).map(drop)
}
