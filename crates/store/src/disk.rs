//! How much disk a tree takes.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use crate::error::{Context, Result};
use crate::trash::{names, open_dir};

/// Returns the bytes of disk that `path` and everything below it take, hard links counted once, as `du` does.
///
/// Entries that vanish meanwhile count for nothing. Two directories are open at a time, however deep the
/// tree is.
///
/// # Errors
/// If a directory cannot be read; a `path` that is not there takes nothing.
pub fn disk_usage(path: &Path) -> Result<u64> {
    let mut walk = Walk { seen: HashSet::new(), bytes: 0 };
    match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => return Ok(0),
        other => walk.count(&other.on("reading", path)?),
    };
    match open_dir(rustix::fs::CWD, path) {
        Ok(directory) => walk.below(directory).on("measuring", path)?,
        Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {}
        Err(errno) => return Err(errno).on("opening", path),
    }
    Ok(walk.bytes)
}

/// Returns the bytes of disk that a file takes.
pub(crate) fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

struct Walk {
    seen: HashSet<(u64, u64)>,
    bytes: u64,
}

/// A directory on the way down: its identity and the directories in it still to visit.
struct Level {
    identity: (u64, u64),
    pending: Vec<CString>,
}

impl Walk {
    fn count(&mut self, stat: &Stat) {
        if stat.st_nlink <= 1
            || FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            || self.seen.insert(identity(stat))
        {
            self.bytes += blocks(stat);
        }
    }

    fn below(&mut self, mut directory: OwnedFd) -> rustix::io::Result<()> {
        let mut levels = vec![self.enter(&directory)?];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.pending.pop() {
                match open_dir(directory.as_fd(), &name) {
                    Ok(child) => {
                        levels.push(self.enter(&child)?);
                        directory = child;
                    }
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(errno) => return Err(errno),
                }
                continue;
            }
            levels.pop();
            let Some(above) = levels.last() else { break };
            directory = open_dir(directory.as_fd(), c"..")?;
            if identity(&rustix::fs::fstat(&directory)?) != above.identity {
                // Moved meanwhile by a running step; its new place is visited from there or not at all.
                return Ok(());
            }
        }
        Ok(())
    }

    fn enter(&mut self, directory: &OwnedFd) -> rustix::io::Result<Level> {
        let mut pending = Vec::new();
        for (name, _) in names(directory)? {
            match rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    self.count(&stat);
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                        pending.push(name);
                    }
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Level { identity: identity(&rustix::fs::fstat(directory)?), pending })
    }
}

#[allow(clippy::unnecessary_cast, reason = "the width of these fields differs between architectures")]
fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}
