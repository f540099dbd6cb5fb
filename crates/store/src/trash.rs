//! Deleting: rename away at once, remove when there is time.
//!
//! A tree to be removed may be deeper than the limit of open files and longer than the longest path, and
//! its directories may forbid their owner everything. Removal holds a bounded number of directories open;
//! what lies deeper is first moved up into the trash.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Result};
use crate::layout::Layout;

/// How many directories are open at once.
const DEPTH: usize = 48;

/// How often a directory may seem empty and not be removable.
const EMPTY_LOOKS: usize = 100;

/// Returns a name nobody else uses.
pub(crate) fn random_name() -> String {
    let mut bytes = [0_u8; 12];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(bytes.len()) {
        // Uniqueness is all that is asked; creation is exclusive everywhere.
        let now = crate::store::millis(std::time::SystemTime::now()).to_le_bytes();
        bytes[..8].copy_from_slice(&now);
        bytes[8..].copy_from_slice(&std::process::id().to_le_bytes());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Moves `path` into the trash; returns whether it was there.
pub(crate) fn discard(layout: &Layout, path: &Path) -> Result<bool> {
    let target = layout.trash().join(random_name());
    match fs::rename(path, &target) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).on("moving to the trash", path),
    }
}

/// Removes `path` at once, without waiting for the rest of the trash.
pub(crate) fn remove_now(layout: &Layout, path: &Path) -> io::Result<()> {
    let name = random_name();
    fs::rename(path, layout.trash().join(&name))?;
    let trash = open_dir(rustix::fs::CWD, layout.trash())?;
    let name = CString::new(name).expect("hexadecimal digits hold no NUL");
    Ok(remove(trash.as_fd(), &name)?)
}

/// Removes what lies in the trash; goes on after a failure and returns the first.
pub(crate) fn empty(layout: &Layout) -> Result<()> {
    let path = layout.trash();
    let trash = open_dir(rustix::fs::CWD, &path).on("opening", &path)?;
    let mut first = Ok(());
    loop {
        let names = names(&trash).on("reading", &path)?;
        let before = names.len();
        for (name, _) in names {
            let removed = remove(trash.as_fd(), &name);
            let shown = path.join(OsStr::from_bytes(name.to_bytes()));
            first = first.and(removed.on("removing", &shown));
        }
        // Deep directories were moved up and need another round.
        if before == 0 || first.is_err() {
            return first;
        }
    }
}

/// Removes one entry of the trash; very deep directories are left in the trash for the next round.
fn remove(trash: BorrowedFd<'_>, name: &CString) -> rustix::io::Result<()> {
    remove_entry(trash, trash, name, FileType::Unknown, 0)
}

fn remove_entry(
    trash: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &CString,
    kind: FileType,
    depth: usize,
) -> rustix::io::Result<()> {
    if kind != FileType::Directory {
        match unlink(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            other => return other,
        }
    }
    if depth >= DEPTH {
        return rustix::fs::renameat(parent, name, trash, random_name());
    }
    let directory = match open_dir(parent, name) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open_dir(parent, name)?
        }
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    // Another process may remove the same directory: what was in it a moment ago may be gone when we look.
    let mut looks = 0;
    loop {
        match unlink(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            other => return other,
        }
        let entries = names(&directory)?;
        if entries.is_empty() {
            looks += 1;
            if looks > EMPTY_LOOKS {
                return Err(Errno::NOTEMPTY);
            }
        }
        for (entry, kind) in entries {
            match remove_entry(trash, directory.as_fd(), &entry, kind, depth + 1) {
                Err(Errno::ACCESS) => {
                    rustix::fs::fchmod(&directory, Mode::RWXU)?;
                    remove_entry(trash, directory.as_fd(), &entry, kind, depth + 1)?;
                }
                other => other?,
            }
        }
    }
}

/// Unlinks; another process may have been faster.
fn unlink(parent: BorrowedFd<'_>, name: &CString, flags: AtFlags) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

pub(crate) fn open_dir<P: rustix::path::Arg>(parent: BorrowedFd<'_>, name: P) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Reads a directory from its beginning.
pub(crate) fn names(directory: &OwnedFd) -> rustix::io::Result<Vec<(CString, FileType)>> {
    let mut list = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            list.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(list)
}
