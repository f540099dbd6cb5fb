//! Reading the files of a listing: only what was listed, only while it does not change.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

use rbuild_oci::{Digest, Hasher};
use rbuild_sys::dir::stat_fd;

use super::Listing;
use super::index::{Known, State};
use crate::source::{Content, TreeError};

/// How much of a file is hashed at once.
const CHUNK: usize = 256 * 1024;
/// Errors of opening that say nothing about the name.
const EIO: i32 = 5;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

impl Listing {
    pub(super) fn open_at(&self, at: usize) -> Result<Content, TreeError> {
        let node = &self.entries[at];
        if !node.metadata.kind.is_file() {
            return Err(TreeError::Kind { path: node.path.clone(), wanted: "regular file" });
        }
        if node.metadata.size == 0 {
            return Ok(Box::new(io::empty()));
        }
        Ok(Box::new(self.steady(at)?))
    }

    fn steady(&self, at: usize) -> Result<Steady, TreeError> {
        let path = &self.entries[at].path;
        let (file, stat) = self.root.open_exact(path).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => TreeError::Io { action: "opening", path: self.path.join(path), source },
            _ if source.raw_os_error().is_some_and(|code| code == EMFILE || code == ENFILE || code == EIO) => {
                TreeError::Io { action: "opening", path: self.path.join(path), source }
            }
            // The name became something else since the listing.
            _ => TreeError::Changed { path: self.path.join(path) },
        })?;
        let state = self.states[at];
        if State::from(&stat) != state {
            return Err(TreeError::Changed { path: self.path.join(path) });
        }
        Ok(Steady { file, state, left: state.size })
    }

    /// Reads the files at `positions` whose digests are not known.
    pub(super) fn learn(&self, positions: &[usize]) -> Result<(), TreeError> {
        let unknown: Vec<usize> = {
            let memory = self.memory();
            positions.iter().copied().filter(|at| memory.known[*at].is_none()).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), TreeError> {
            let mut buffer = vec![0; CHUNK];
            let mut learned = Vec::new();
            while let Some(at) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
                learned.push((*at, self.hash(*at, &mut buffer)?));
            }
            self.remember(learned);
            Ok(())
        };
        let threads = self.threads.min(unknown.len().div_ceil(16));
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            let joined = others.into_iter().map(|thread| thread.join().expect("a hashing thread panicked"));
            joined.fold(own, Result::and)
        })
    }

    fn hash(&self, at: usize, buffer: &mut [u8]) -> Result<Digest, TreeError> {
        let node = &self.entries[at];
        if node.metadata.size == 0 {
            return Ok(Digest::of(b""));
        }
        let mut content = self.steady(at)?;
        let mut hasher = Hasher::new();
        loop {
            match content.read(buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(TreeError::Changed { path: self.path.join(&node.path) });
                }
                Err(error) => return Err(TreeError::io("reading", &self.path.join(&node.path))(error)),
            }
        }
    }

    fn remember(&self, learned: Vec<(usize, Digest)>) {
        let mut memory = self.memory();
        memory.changed |= !learned.is_empty();
        for (at, digest) in learned {
            let xattrs = self.entries[at].metadata.xattrs.clone();
            memory.known[at] = Some(Known { digest, xattrs });
        }
    }
}

/// The content of a file as long as the file stays what it was.
struct Steady {
    file: File,
    state: State,
    left: u64,
}

impl Read for Steady {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buf.is_empty() {
            return Ok(0);
        }
        let room = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        let read = self.file.read(&mut buf[..room])?;
        self.left -= read as u64;
        if read == 0 || (self.left == 0 && State::from(&stat_fd(&self.file)?) != self.state) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was read"));
        }
        Ok(read)
    }
}
