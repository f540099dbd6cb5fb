//! Locks, held among threads and processes, free when their holder dies.
//!
//! Locks by name are bytes of one file, at the place the name's hash tells, so that taking one makes no
//! file. (Two names at one place, one chance in 2^63, would exclude each other.) Things that have a file or
//! directory of their own are locked by flock upon it; whoever obtained such a lock looks whether the file still
//! has its name, else begins again, since a holder may remove it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rbuild_oci::Digest;
use rbuild_sys::lock::{ByteLock, lock_byte, try_lock_byte};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Result};

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
}

/// Waits for the lock `name` of the file `path`.
pub(crate) fn named(path: &Path, name: &str, mode: LockMode) -> Result<NamedLock> {
    let file = open(path)?;
    lock_byte(&file, place(name), byte_lock(mode)).on("locking", path)?;
    Ok(NamedLock { _file: file })
}

/// Takes the lock `name` of the file `path` if it is free.
pub(crate) fn try_named(path: &Path, name: &str, mode: LockMode) -> Result<Option<NamedLock>> {
    let file = open(path)?;
    let free = try_lock_byte(&file, place(name), byte_lock(mode)).on("locking", path)?;
    Ok(free.then_some(NamedLock { _file: file }))
}

fn byte_lock(mode: LockMode) -> ByteLock {
    match mode {
        LockMode::Shared => ByteLock::Shared,
        LockMode::Exclusive => ByteLock::Exclusive,
    }
}

fn place(name: &str) -> i64 {
    let digest = Digest::of(name.as_bytes());
    let first = digest.as_bytes().first_chunk().expect("a digest has 32 bytes");
    // The last byte of the range cannot be locked.
    (i64::from_le_bytes(*first) & i64::MAX).min(i64::MAX - 1)
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

/// Waits for the lock of a directory; none if it is not there.
pub(crate) fn lock_dir(path: &Path, mode: LockMode) -> Result<Option<File>> {
    loop {
        let Some(file) = open_existing(path)? else { return Ok(None) };
        flock(&file, operation(mode)).on("locking", path)?;
        if has_name(&file, path)? {
            return Ok(Some(file));
        }
    }
}

/// Takes the lock of a directory if it is there and free.
pub(crate) fn try_lock_dir(path: &Path, mode: LockMode) -> Result<Option<File>> {
    let Some(file) = open_existing(path)? else { return Ok(None) };
    Ok((try_lock(&file, mode).on("locking", path)? && has_name(&file, path)?).then_some(file))
}

fn open_existing(path: &Path) -> Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits().cast_signed();
    match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("opening", path),
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

/// Changes how a held lock is held. The kernel may let others hold it in between: returns whether the file still
/// has its name then.
pub(crate) fn relock(file: &File, mode: LockMode, path: &Path) -> Result<bool> {
    flock(file, operation(mode)).on("locking", path)?;
    has_name(file, path)
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
