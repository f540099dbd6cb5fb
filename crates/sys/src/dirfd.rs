//! Acting on single names in an open directory; nothing here follows a link.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType as RawType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, openat};
use rustix::io::Errno;

use crate::dir::{FileType, Stamp, Stat, sorted_names, stat_at, stat_fd};
use crate::root::reopen_dir;

/// How many directories [`Dir::remove_all`] keeps open.
const MAX_OPEN: usize = 64;

/// A node to be made that is neither file, directory nor link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A named pipe.
    Fifo,
    /// A character device of a major and minor number.
    CharDevice(u32, u32),
    /// A block device of a major and minor number.
    BlockDevice(u32, u32),
}

/// An open directory whose names are acted on.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Dir {
    /// Takes a directory opened for reading.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl Dir {
    /// Returns the state of the directory itself.
    pub fn stat_self(&self) -> io::Result<Stat> {
        stat_fd(&self.fd)
    }

    /// Returns the state of `name`.
    pub fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        stat_at(&self.fd, one(name)?)
    }

    /// Returns the names and kinds in this directory, sorted.
    pub fn names(&self) -> io::Result<Vec<(OsString, FileType)>> {
        // A fresh description, so that several readers do not share one position.
        let fresh = reopen_dir(self.as_fd())?;
        sorted_names(fresh.as_fd())
    }

    /// Opens the directory `name`.
    pub fn open_dir(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: openat(&self.fd, one(name)?, flags, Mode::empty())? })
    }

    /// Opens the regular file `name` for reading and returns its state; anything else is an error.
    ///
    /// Does not block on a pipe; call it only for names that were seen to be regular files, because opening
    /// a device can have effects of its own.
    pub fn open_file(&self, name: &OsStr) -> io::Result<(File, Stat)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = openat(&self.fd, one(name)?, flags, Mode::empty())?;
        let stat = stat_fd(&fd)?;
        if stat.kind != FileType::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok((File::from(fd), stat))
    }

    /// Returns an `O_PATH` descriptor of `name`.
    pub fn open_path(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.fd, one(name)?, flags, Mode::empty())?)
    }

    /// Makes the regular file `name`, which must not exist, for writing.
    pub fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(openat(&self.fd, one(name)?, flags, Mode::from_raw_mode(mode))?))
    }

    /// Makes the directory `name`.
    pub fn mkdir(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.fd, one(name)?, Mode::from_raw_mode(mode))?)
    }

    /// Makes the symbolic link `name`.
    pub fn symlink(&self, target: &Path, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.fd, one(name)?)?)
    }

    /// Makes `name` another name of `target_name` in `target`, a link itself if that is one.
    pub fn hard_link(&self, name: &OsStr, target: &Self, target_name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::linkat(&target.fd, one(target_name)?, &self.fd, one(name)?, AtFlags::empty())?)
    }

    /// Makes `name` another name of an open file.
    ///
    /// Without the capability that `AT_EMPTY_PATH` needs, the descriptor's entry in `/proc` is linked.
    pub fn hard_link_fd(&self, name: &OsStr, file: BorrowedFd<'_>) -> io::Result<()> {
        let name = one(name)?;
        match rustix::fs::linkat(file, c"", &self.fd, name, AtFlags::EMPTY_PATH) {
            Err(Errno::NOENT | Errno::PERM) => {}
            result => return Ok(result?),
        }
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(rustix::fs::linkat(rustix::fs::CWD, path, &self.fd, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Makes a pipe or device.
    pub fn mknod(&self, name: &OsStr, node: &Node, mode: u32) -> io::Result<()> {
        let (kind, device) = match *node {
            Node::Fifo => (RawType::Fifo, 0),
            Node::CharDevice(major, minor) => (RawType::CharacterDevice, rustix::fs::makedev(major, minor)),
            Node::BlockDevice(major, minor) => (RawType::BlockDevice, rustix::fs::makedev(major, minor)),
        };
        Ok(rustix::fs::mknodat(&self.fd, one(name)?, kind, Mode::from_raw_mode(mode), device)?)
    }

    /// Removes `name`, which is not a directory.
    pub fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, one(name)?, AtFlags::empty())?)
    }

    /// Removes the empty directory `name`.
    pub fn rmdir(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, one(name)?, AtFlags::REMOVEDIR)?)
    }

    /// Renames `name` to `new_name` in `new_dir`.
    pub fn rename(&self, name: &OsStr, new_dir: &Self, new_name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, one(name)?, &new_dir.fd, one(new_name)?)?)
    }

    /// Returns the target of the symbolic link `name`.
    pub fn read_link(&self, name: &OsStr) -> io::Result<PathBuf> {
        read_link_at(&self.fd, name)
    }

    /// Sets the owner of `name`, a link itself if it is one.
    pub fn chown(&self, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = owner(uid, gid)?;
        Ok(rustix::fs::chownat(&self.fd, one(name)?, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets the mode of `name`, which must not be a link.
    pub fn chmod(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        let fd = self.open_path(name)?;
        if stat_fd(&fd)?.kind == FileType::Symlink {
            return Err(Errno::LOOP.into());
        }
        // fchmod refuses O_PATH descriptors; the magic link leads to exactly what was opened.
        Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::from_raw_mode(mode))?)
    }

    /// Sets access and modification time of `name`, of a link itself if it is one.
    pub fn set_mtime(&self, name: &OsStr, mtime: Stamp) -> io::Result<()> {
        Ok(rustix::fs::utimensat(&self.fd, one(name)?, &both(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Removes `name` and all below it; a missing name is no error.
    ///
    /// Directories are emptied on an own list of open ones, not by recursion; what lies too deep is first
    /// moved to the top, so that no depth exhausts stack or descriptors.
    pub fn remove_all(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, one(name)?, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let mut open = vec![Emptying::start(self, name)?];
        let mut raised = 0_u64;
        while let Some(last) = open.len().checked_sub(1) {
            let Some(child) = open[last].below.pop() else {
                let done = open.pop().expect("the list is not empty");
                open.last().map_or(self, |parent| &parent.dir).rmdir(&done.name)?;
                continue;
            };
            if open.len() <= MAX_OPEN {
                open.push(Emptying::start(&open[last].dir, &child)?);
                continue;
            }
            raised += 1;
            let raised_name = OsString::from(format!(".rbuild-raised-{raised}"));
            open[last].dir.rename(&child, &open[0].dir, &raised_name)?;
            open[0].below.push(raised_name);
        }
        Ok(())
    }

    /// Opens a directory to empty it, giving ourselves the right if its mode denies it.
    fn open_removable(&self, name: &OsStr) -> io::Result<Self> {
        match self.open_dir(name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.chmod(name, 0o700)?;
                self.open_dir(name)
            }
            result => result,
        }
    }

    /// Unlinks everything but directories and returns the names of those.
    fn unlink_files(&self) -> io::Result<Vec<OsString>> {
        let mut directories = Vec::new();
        let mut unlocked = false;
        for (name, kind) in self.names()? {
            if kind == FileType::Directory {
                directories.push(name);
                continue;
            }
            let mut result = rustix::fs::unlinkat(&self.fd, name.as_os_str(), AtFlags::empty());
            if result == Err(Errno::ACCESS) && !unlocked {
                unlocked = rustix::fs::fchmod(&self.fd, Mode::RWXU).is_ok();
                result = rustix::fs::unlinkat(&self.fd, name.as_os_str(), AtFlags::empty());
            }
            match result {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => directories.push(name),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(directories)
    }
}

/// A directory on its way out: its files are gone, `below` are the directories still in it.
struct Emptying {
    name: OsString,
    dir: Dir,
    below: Vec<OsString>,
}

impl Emptying {
    fn start(parent: &Dir, name: &OsStr) -> io::Result<Self> {
        let dir = parent.open_removable(name)?;
        let below = dir.unlink_files()?;
        Ok(Self { name: name.to_owned(), dir, below })
    }
}

/// Returns the target of the symbolic link `name` in `dir`, which may be open by `O_PATH`.
pub fn read_link_at(dir: impl AsFd, name: &OsStr) -> io::Result<PathBuf> {
    let target = rustix::fs::readlinkat(dir, one(name)?, Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
}

/// Sets the owner of an open file.
pub fn chown_fd(fd: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = owner(uid, gid)?;
    Ok(rustix::fs::fchown(fd, Some(uid), Some(gid))?)
}

/// Sets the mode of an open file.
pub fn chmod_fd(fd: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))?)
}

/// Sets access and modification time of an open file.
pub fn set_mtime_fd(fd: impl AsFd, mtime: Stamp) -> io::Result<()> {
    Ok(rustix::fs::futimens(fd, &both(mtime))?)
}

/// Returns the user and group that own what this process makes.
pub fn current_owner() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// 2^32-1 means "leave as it is" to the kernel and can never be an owner.
fn owner(uid: u32, gid: u32) -> io::Result<(Uid, Gid)> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::INVAL.into());
    }
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

fn both(mtime: Stamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Refuses all that is not one plain name.
fn one(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(Errno::INVAL.into());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Root;

    #[test]
    fn removes_deep_and_closed_trees() {
        let top = std::env::temp_dir().join(format!("rbuild-sys-deep-{}", std::process::id()));
        std::fs::create_dir_all(&top).unwrap();
        let root = Root::open(&top).unwrap().dir().unwrap();
        let mut dir = root.open_dir(OsStr::new(".")).err().map(|_| Root::open(&top).unwrap().dir().unwrap()).unwrap();
        for _ in 0..3000 {
            dir.mkdir(OsStr::new("d"), 0o755).unwrap();
            dir.create(OsStr::new("f"), 0o644).unwrap();
            dir = dir.open_dir(OsStr::new("d")).unwrap();
        }
        root.chmod(OsStr::new("d"), 0).unwrap();
        root.remove_all(OsStr::new("d")).unwrap();
        root.remove_all(OsStr::new("missing")).unwrap();
        root.remove_all(OsStr::new("f")).unwrap();
        std::fs::remove_dir(&top).unwrap();
    }

    #[test]
    fn names_are_single_components() {
        let dir = Root::open(&std::env::temp_dir()).unwrap().dir().unwrap();
        for bad in ["", ".", "..", "a/b", "/"] {
            assert!(dir.stat(OsStr::new(bad)).is_err(), "{bad}");
            assert!(dir.create(OsStr::new(bad), 0o644).is_err(), "{bad}");
        }
    }

    #[test]
    fn minus_one_is_no_owner() {
        let dir = Root::open(&std::env::temp_dir()).unwrap().dir().unwrap();
        let error = dir.chown(OsStr::new("x"), u32::MAX, 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::INVAL.raw_os_error()));
    }
}
