//! Paths under an open root: the only way into a rootfs, layer or context.
//!
//! [`Root`] resolves whole paths with `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)`: absolute links and
//! `..` cannot leave it, whatever happens to the tree meanwhile. [`Dir`] then acts on single names by the
//! `*at` calls and never follows the name. Where openat2 is missing or forbidden, the same walk is made one
//! component at a time.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::dir::{FileType, Stat, stat_at, stat_fd};

pub use crate::dirfd::{Dir, Node};

/// How many links one resolution may follow, as in the kernel.
const MAX_LINKS: usize = 40;

/// Whether the last component of a path is followed if it is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// Follow it, inside the root.
    Follow,
    /// Take the link itself.
    Keep,
}

/// An open directory that paths cannot leave.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Root {
    /// Takes an open directory, by `O_PATH` or not, as the root.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl Root {
    /// Opens the directory at `path`, which the caller trusts.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd })
    }

    /// Returns the root's directory for acting on names.
    pub fn dir(&self) -> io::Result<Dir> {
        Ok(Dir::from(reopen_dir(self.as_fd())?))
    }

    /// Returns an `O_PATH` descriptor of what is at `path`.
    pub fn lookup(&self, path: &Path, last: Last) -> io::Result<OwnedFd> {
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        if last == Last::Keep {
            flags |= OFlags::NOFOLLOW;
        }
        self.resolve(path, flags)
    }

    /// Returns the state of what is at `path`.
    pub fn stat(&self, path: &Path, last: Last) -> io::Result<Stat> {
        stat_fd(self.lookup(path, last)?)
    }

    /// Opens the directory at `path` for acting on names, following links inside the root.
    pub fn open_dir(&self, path: &Path) -> io::Result<Dir> {
        self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC).map(Dir::from)
    }

    /// Opens the regular file at `path` for reading, following links inside the root.
    ///
    /// Devices, pipes and sockets are never opened: the name is looked at first, and what was looked at is
    /// what is opened.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let fd = self.lookup(path, Last::Follow)?;
        open_regular(fd.as_fd())
    }

    /// Opens the regular file at `path` without following any link on the way, and returns its state.
    ///
    /// For names that were seen to be regular files; does not block if one became a pipe meanwhile.
    pub fn open_exact(&self, path: &Path) -> io::Result<(File, Stat)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = self.resolve_exact(path, flags)?;
        let stat = stat_fd(&fd)?;
        if stat.kind != FileType::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok((File::from(fd), stat))
    }

    /// Opens the directory at `path` without following any link on the way.
    pub fn open_dir_exact(&self, path: &Path) -> io::Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.resolve_exact(path, flags).map(Dir::from)
    }

    /// Returns an `O_PATH` descriptor of what is at `path` without following any link on the way.
    pub fn lookup_exact(&self, path: &Path) -> io::Result<OwnedFd> {
        self.resolve_exact(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)
    }

    /// Opens the parent directory of `path` (following links inside the root) and returns the last name.
    pub fn parent(&self, path: &Path) -> io::Result<(Dir, OsString)> {
        let (parent, name) = split(path)?;
        Ok((self.open_dir(parent)?, name.to_owned()))
    }

    /// Opens the directory at `path`, making what is missing with `mode` and leaving what exists as it is.
    pub fn mkdir_all(&self, path: &Path, mode: u32) -> io::Result<Dir> {
        match self.open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let (parent, name) = split(path)?;
        let parent = self.mkdir_all(parent, mode)?;
        match parent.mkdir(name, mode) {
            Ok(()) => parent.open_dir(name),
            // Somebody else made it, or a link with no target lies there: resolve again and report that.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open_dir(path),
            Err(error) => Err(error),
        }
    }

    /// Returns the target of the symbolic link at `path`.
    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        read_link_fd(self.lookup(path, Last::Keep)?)
    }

    /// Opens a path of plain names, refusing links anywhere but (by `O_PATH | O_NOFOLLOW`) at its end.
    fn resolve_exact(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let Some(name) = path.file_name() else {
            return Ok(openat(&self.fd, c".", flags, Mode::empty())?);
        };
        if path.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(Errno::INVAL.into());
        }
        let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.fd, path, flags, Mode::empty(), rules) {
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::INTR) => {}
            result => return Ok(result?),
        }
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut here = openat(&self.fd, c".", step, Mode::empty())?;
        for part in path.parent().into_iter().flat_map(Path::components) {
            here = openat(&here, part.as_os_str(), step, Mode::empty())?;
        }
        Ok(openat(&here, name, flags | OFlags::NOFOLLOW, Mode::empty())?)
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let rules = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // A rename elsewhere makes `..` uncertain; the kernel asks to try again.
        for _ in 0..64 {
            match openat2(&self.fd, path, flags, Mode::empty(), rules) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS | Errno::PERM) => return walk(self.fd.as_fd(), path, flags),
                result => return Ok(result?),
            }
        }
        walk(self.fd.as_fd(), path, flags)
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    // `file_name` is the last component only if that is a plain name, also with a slash behind it.
    let name = path.file_name().ok_or(Errno::INVAL)?;
    Ok((path.parent().unwrap_or(Path::new("")), name))
}

/// Opens what an `O_PATH` descriptor stands for, if it is a regular file.
pub fn open_regular(fd: BorrowedFd<'_>) -> io::Result<File> {
    match stat_fd(fd)?.kind {
        FileType::File => {}
        FileType::Directory => return Err(Errno::ISDIR.into()),
        FileType::Symlink => return Err(Errno::LOOP.into()),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

pub(crate) fn reopen_dir(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(openat(fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

pub(crate) fn read_link_fd(fd: impl AsFd) -> io::Result<PathBuf> {
    let target = rustix::fs::readlinkat(fd, c"", Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
}

/// Resolves `path` one component at a time under `root`, as `RESOLVE_IN_ROOT` does.
///
/// Each directory passed stays open in `stack`, so `..` goes back the way it came and never through the
/// filesystem's idea of a parent.
fn walk(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut stack: Vec<OwnedFd> = Vec::new();
    let mut todo: Vec<OsString> = components(path);
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            stack.pop();
            continue;
        }
        let here = stack.last().map_or(root, |fd| fd.as_fd());
        let stat = stat_at(here, name.as_os_str())?;
        if stat.kind == FileType::Symlink && !(todo.is_empty() && flags.contains(OFlags::NOFOLLOW)) {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let link =
                openat(here, name.as_os_str(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            let target = read_link_fd(link)?;
            if target.is_absolute() {
                stack.clear();
            }
            todo.extend(components(&target));
            continue;
        }
        if todo.is_empty() {
            return Ok(openat(here, name.as_os_str(), flags | OFlags::NOFOLLOW, Mode::empty())?);
        }
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = openat(here, name.as_os_str(), step, Mode::empty())?;
        stack.push(next);
    }
    let here = stack.last().map_or(root, |fd| fd.as_fd());
    Ok(openat(here, c".", flags, Mode::empty())?)
}

/// Returns the components of `path`, last first.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rbuild-sys-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("root/a/b")).unwrap();
            std::fs::create_dir_all(path.join("root/etc")).unwrap();
            std::fs::write(path.join("canary"), "outside").unwrap();
            std::fs::write(path.join("root/a/b/file"), "inside").unwrap();
            std::fs::write(path.join("root/etc/canary"), "clamped").unwrap();
            let root = path.join("root");
            symlink("/etc", root.join("abs")).unwrap();
            symlink("../../../../etc/canary", root.join("a/up")).unwrap();
            symlink("loop", root.join("loop")).unwrap();
            symlink("a/b", root.join("rel")).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn check(root: &Root, path: &str, expect: Result<&str, Errno>) {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        for fd in [root.resolve(Path::new(path), flags), walk(root.as_fd(), Path::new(path), flags)] {
            let text = fd.and_then(|fd| io::read_to_string(File::from(fd)));
            let text = text.map_err(|e| Errno::from_io_error(&e).unwrap());
            assert_eq!(text.as_deref().map_err(|e| *e), expect, "{path}");
        }
    }

    #[test]
    fn paths_stay_inside_by_openat2_and_by_walking() {
        let scratch = Scratch::new("root");
        let root = Root::open(&scratch.0.join("root")).unwrap();
        check(&root, "a/b/file", Ok("inside"));
        check(&root, "/a/b/file", Ok("inside"));
        check(&root, "../../a/./b/../b/file", Ok("inside"));
        check(&root, "rel/file", Ok("inside"));
        check(&root, "abs/canary", Ok("clamped"));
        check(&root, "a/up", Ok("clamped"));
        check(&root, "../canary", Err(Errno::NOENT));
        check(&root, "loop", Err(Errno::LOOP));
        check(&root, "a/b/file/x", Err(Errno::NOTDIR));
    }

    #[test]
    fn pipes_are_not_opened() {
        let scratch = Scratch::new("fifo");
        let root = Root::open(&scratch.0.join("root")).unwrap();
        root.dir().unwrap().mknod(OsStr::new("pipe"), &Node::Fifo, 0o644).unwrap();
        assert!(root.open_file(Path::new("pipe")).is_err());
        assert!(root.open_file(Path::new("a")).is_err());
        assert!(root.open_file(Path::new("a/b/file")).is_ok());
    }

    #[test]
    fn mkdir_all_follows_links_inside_only() {
        let scratch = Scratch::new("mkdir");
        let root = Root::open(&scratch.0.join("root")).unwrap();
        root.mkdir_all(Path::new("abs/new/deep"), 0o755).unwrap();
        assert!(scratch.0.join("root/etc/new/deep").is_dir());
        assert!(root.mkdir_all(Path::new("a/b/file/x"), 0o755).is_err());
    }
}
