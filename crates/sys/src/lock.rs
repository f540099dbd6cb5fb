//! Locks on single bytes of a file that belong to the open file, not to the process.
//!
//! Unlike flock, one file serves any number of locks; unlike POSIX record locks, two threads exclude each
//! other, and closing an unrelated descriptor of the same file lets nothing go.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// How a byte is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteLock {
    /// Together with other shared locks.
    Shared,
    /// Alone.
    Exclusive,
}

/// Locks one byte of `file`, which need not exist in it; waits for other open files that have it locked.
///
/// The lock falls when the last descriptor of this open file is closed.
///
/// # Errors
/// If the file system has no such locks, or `file` is not open for writing (for reading, if shared).
pub fn lock_byte(file: impl AsFd, offset: i64, lock: ByteLock) -> io::Result<()> {
    loop {
        match fcntl(&file, libc::F_OFD_SETLKW, offset, lock) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Like [`lock_byte`], but returns false rather than wait.
///
/// # Errors
/// As [`lock_byte`].
pub fn try_lock_byte(file: impl AsFd, offset: i64, lock: ByteLock) -> io::Result<bool> {
    match fcntl(&file, libc::F_OFD_SETLK, offset, lock) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn fcntl(file: &impl AsFd, command: libc::c_int, offset: i64, lock: ByteLock) -> io::Result<()> {
    let kind = match lock {
        ByteLock::Shared => libc::F_RDLCK,
        ByteLock::Exclusive => libc::F_WRLCK,
    };
    // SAFETY: `flock` is a plain C structure of integers, for which all zeros are a value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = offset;
    range.l_len = 1;
    // SAFETY: the descriptor is open, since it is borrowed, and the kernel only reads the structure, which
    // outlives the call; `l_pid` is 0 as these commands demand.
    let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, &raw const range) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_locked_by_open_files() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("byte-lock-{}", std::process::id()));
        let open = || std::fs::File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let (one, two) = (open()?, open()?);
        lock_byte(&one, i64::MAX - 1, ByteLock::Exclusive)?;
        assert!(!try_lock_byte(&two, i64::MAX - 1, ByteLock::Shared)?);
        assert!(try_lock_byte(&two, 7, ByteLock::Shared)?);
        assert!(try_lock_byte(&one, 7, ByteLock::Shared)?);
        drop(one);
        assert!(try_lock_byte(&two, i64::MAX - 1, ByteLock::Exclusive)?);
        std::fs::remove_file(path)
    }
}
