//! Mount points inside the root: found or made by an anchored walk, and removed again.
//!
//! What is made is remembered by descriptor, name and inode. It is removed after the step if it is still that
//! inode and still empty, and the times of its parent are put back, so that a step leaves no trace of its mounts.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rbuild_sys::root::{Dir, Last, Root};
use rustix::fs::{AtFlags, FileType, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::failure::Failure;

/// What kind of mount point is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
}

impl Kind {
    /// Returns what fits `source`.
    pub(super) fn of(source: impl AsFd) -> Result<Kind, Failure> {
        let mode = rustix::fs::fstat(source)?.st_mode;
        Ok(if FileType::from_raw_mode(mode).is_dir() { Kind::Directory } else { Kind::File })
    }
}

/// A mount point that we made.
#[derive(Debug)]
struct Stub {
    parent: Dir,
    name: OsString,
    kind: Kind,
    /// Keeps the inode, so that its number cannot become another's.
    node: OwnedFd,
}

/// All mount points that we made, in order.
#[derive(Debug, Default)]
pub(super) struct Stubs(Vec<Stub>);

/// How many dangling links one target may lead through.
const MAX_LINKS: usize = 16;

impl Stubs {
    /// Returns the mount point at `path`, making what is missing.
    pub(super) fn ensure(&mut self, root: &Root, path: &Path, kind: Kind) -> Result<OwnedFd, Failure> {
        self.ensure_within(root, path, kind, MAX_LINKS)
    }

    fn ensure_within(&mut self, root: &Root, path: &Path, kind: Kind, links: usize) -> Result<OwnedFd, Failure> {
        match root.lookup(path, Last::Follow) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            found => return found.map_err(Failure::on(path.display())),
        }
        let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::NOENT.into());
        };
        self.ensure_within(root, parent_path, Kind::Directory, links)?;
        let parent = root.open_dir(parent_path).map_err(Failure::on(parent_path.display()))?;
        // A link to nothing, as /etc/resolv.conf often is: what it names is made instead.
        if let Ok(target) = rustix::fs::readlinkat(&parent, name, Vec::new()) {
            let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
            let target = Path::new(OsStr::from_bytes(target.as_bytes()));
            return self.ensure_within(root, &parent_path.join(target), kind, links);
        }
        self.make(parent, name, kind).map_err(|errno| Failure::on(path.display())(errno.into()))?;
        Ok(root.lookup(path, Last::Keep)?)
    }

    fn make(&mut self, parent: Dir, name: &OsStr, kind: Kind) -> Result<(), Errno> {
        let before = rustix::fs::fstat(&parent)?;
        match kind {
            Kind::Directory => rustix::fs::mkdirat(&parent, name, 0o755.into())?,
            Kind::File => rustix::fs::mknodat(&parent, name, FileType::RegularFile, 0o644.into(), 0)?,
        }
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
        let node = rustix::fs::openat(&parent, name, flags, rustix::fs::Mode::empty())?;
        restore_times(&parent, &before)?;
        self.0.push(Stub { parent, name: name.to_owned(), kind, node });
        Ok(())
    }

    /// Removes what is still ours and empty; returns what could not be done.
    pub(super) fn remove(&mut self) -> Vec<String> {
        let removed = self.0.drain(..).rev().map(|stub| (stub.remove(), stub.name));
        removed
            .filter_map(|(result, name)| {
                let error = result.err().map(std::io::Error::from)?;
                Some(format!("removing the mount point `{}`: {error}", name.display()))
            })
            .collect()
    }
}

impl Stub {
    fn remove(&self) -> Result<(), Errno> {
        let (found, ours) = match rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            found => (found?, rustix::fs::fstat(&self.node)?),
        };
        let same = (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino);
        if !same || (self.kind == Kind::File && found.st_size != 0) {
            return Ok(());
        }
        let before = rustix::fs::fstat(&self.parent)?;
        let flags = if self.kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&self.parent, &self.name, flags) {
            Ok(()) => restore_times(&self.parent, &before),
            // The program has put something into it: then it is the program's.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

#[allow(clippy::unnecessary_cast)]
fn restore_times(dir: &Dir, times: &Stat) -> Result<(), Errno> {
    let time = |seconds: i64, nanoseconds: i64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    rustix::fs::futimens(
        dir,
        &Timestamps {
            last_access: time(times.st_atime as i64, times.st_atime_nsec as i64),
            last_modification: time(times.st_mtime as i64, times.st_mtime_nsec as i64),
        },
    )
}
