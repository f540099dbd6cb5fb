//! Locks by name, held among threads and processes, free when their holder dies.
//!
//! A lock is a flock on a file. The file is removed by its last exclusive holder, so whoever obtained a lock
//! looks whether the file still has its name, else begins again.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// By any number of holders, none of them exclusive.
    Shared,
    /// By one holder.
    Exclusive,
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct NamedLock {
    _file: File,
    path: PathBuf,
    mode: LockMode,
}

impl Drop for NamedLock {
    fn drop(&mut self) {
        if self.mode == LockMode::Exclusive {
            // A file left behind is only a file; the lock falls with the descriptor.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

pub(crate) fn named(directory: &Path, name: &str, mode: LockMode) -> Result<NamedLock> {
    let path = directory.join(check_name(name)?);
    let file = lock_file(&path, mode)?;
    Ok(NamedLock { _file: file, path, mode })
}

pub(crate) fn try_named(directory: &Path, name: &str, mode: LockMode) -> Result<Option<NamedLock>> {
    let path = directory.join(check_name(name)?);
    Ok(try_lock_file(&path, mode)?.map(|file| NamedLock { _file: file, path, mode }))
}

/// Makes the file if need be, and waits for its lock.
pub(crate) fn lock_file(path: &Path, mode: LockMode) -> Result<File> {
    loop {
        let file = open(path)?;
        flock(&file, operation(mode)).on("locking", path)?;
        if has_name(&file, path)? {
            return Ok(file);
        }
    }
}

/// Makes the file if need be, and takes its lock if it is free.
pub(crate) fn try_lock_file(path: &Path, mode: LockMode) -> Result<Option<File>> {
    loop {
        let file = open(path)?;
        if !try_lock(&file, mode).on("locking", path)? {
            return Ok(None);
        }
        if has_name(&file, path)? {
            return Ok(Some(file));
        }
    }
}

/// Takes the lock of an open file if it is free.
pub(crate) fn try_lock(file: &File, mode: LockMode) -> io::Result<bool> {
    let operation = match mode {
        LockMode::Shared => FlockOperation::NonBlockingLockShared,
        LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Changes how a held lock is held; others may come first.
pub(crate) fn relock(file: &File, mode: LockMode, path: &Path) -> Result<()> {
    flock(file, operation(mode)).on("locking", path)
}

fn operation(mode: LockMode) -> FlockOperation {
    match mode {
        LockMode::Shared => FlockOperation::LockShared,
        LockMode::Exclusive => FlockOperation::LockExclusive,
    }
}

fn flock(file: &File, operation: FlockOperation) -> rustix::io::Result<()> {
    loop {
        match rustix::fs::flock(file, operation) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .on("opening", path)
}

/// Whether the open file is still the one called `path`.
fn has_name(file: &File, path: &Path) -> Result<bool> {
    let held = file.metadata().on("reading", path)?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok(named.ino() == held.ino() && named.dev() == held.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).on("reading", path),
    }
}

fn check_name(name: &str) -> Result<&str> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.bytes().all(safe) {
        return Err(Error::Name(name.chars().take(200).collect(), "lock name"));
    }
    Ok(name)
}
