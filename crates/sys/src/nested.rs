//! A user namespace below ours in which every id means what it means here.
//!
//! It gives a single process kernel tables of its own, such as that of binfmt_misc, without touching
//! those of everybody else.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::WaitOptions;
use rustix::thread::UnshareFlags;

use crate::subid::IdMap;

/// Moves the calling process, which must have a single thread, into a new user and mount namespace with our ids.
///
/// `proc` is a procfs that shows this process. Only a process that stays outside may write maps of several
/// ids: a child does, and is gone when this returns.
///
/// # Errors
/// If the kernel refuses; the process may have entered the namespace then, and should end.
pub fn enter(proc: BorrowedFd<'_>) -> io::Result<()> {
    let own = |name: &str| -> io::Result<String> {
        let file = rustix::fs::openat(proc, format!("self/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(identity(&io::read_to_string(fs::File::from(file))?))
    };
    let (uids, gids) = (own("uid_map")?, own("gid_map")?);
    let process = rustix::process::getpid().as_raw_nonzero().get();
    let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the child makes system calls on memory of its own copy and ends by _exit; this process has a single
    // thread, so no lock is held by another one at the time of the fork.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let result = map_other(proc, &wait, &go, process, [("uid_map", &uids), ("gid_map", &gids)]);
        let code = result.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0);
        // SAFETY: _exit ends the child only and runs no destructors.
        unsafe { libc::_exit(code) };
    }
    let child = rustix::process::Pid::from_raw(child).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: no descriptor table is unshared, and a process with several threads is refused.
    let entered = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) };
    if entered.is_ok() {
        fs::File::from(go).write_all(b"1")?;
    } else {
        drop(go);
    }
    let status = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), WaitOptions::empty()))?;
    entered?;
    match status.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::Error::other("the child that maps ids was killed")),
    }
}

/// Returns the map that keeps all ids of the namespace whose own map is `text`.
fn identity(text: &str) -> String {
    let map = IdMap::parse(text);
    map.ranges().iter().map(|range| format!("{0} {0} {1}\n", range.inside, range.count)).collect()
}

/// Waits for a byte, then writes the maps of `process`.
fn map_other(
    proc: BorrowedFd<'_>,
    wait: &OwnedFd,
    go: &OwnedFd,
    process: i32,
    maps: [(&str, &String); 2],
) -> io::Result<()> {
    // Our own copy of the writing end would keep the read from ever seeing the end.
    // SAFETY: this is the child, which ends by _exit: nobody closes the number again.
    unsafe { libc::close(go.as_raw_fd()) };
    let mut byte = [0_u8];
    if rustix::io::read(wait, &mut byte)? != 1 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    for (name, text) in maps {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(proc, format!("{process}/{name}"), flags, Mode::empty())?;
        // The kernel takes a map in one piece.
        rustix::io::write(&file, text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities() {
        for (map, expect) in [
            ("         0          0 4294967295\n", "0 0 4294967295\n"),
            ("0 1000 1\n", "0 0 1\n"),
            ("0 1000 1\n1 100000 65536\n", "0 0 1\n1 1 65536\n"),
            ("", ""),
        ] {
            assert_eq!(identity(map), expect, "{map}");
        }
    }
}
