//! Reading directories: getdents64 and statx.

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, RawDir, StatxFlags, statx};

/// What kind of thing a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Not said by the directory (ask [`stat_at`]), or unknown.
    Unknown,
}

impl From<rustix::fs::FileType> for FileType {
    fn from(kind: rustix::fs::FileType) -> Self {
        use rustix::fs::FileType as F;
        match kind {
            F::RegularFile => Self::File,
            F::Directory => Self::Directory,
            F::Symlink => Self::Symlink,
            F::CharacterDevice => Self::CharDevice,
            F::BlockDevice => Self::BlockDevice,
            F::Fifo => Self::Fifo,
            F::Socket => Self::Socket,
            F::Unknown => Self::Unknown,
        }
    }
}

/// A point in time as the kernel keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// The state of a file without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The device the file is on.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// What it is.
    pub kind: FileType,
    /// Permission, set-id and sticky bits (07777).
    pub mode: u32,
    /// How many names it has.
    pub links: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// 512-byte blocks in use.
    pub blocks: u64,
    /// When the content changed.
    pub mtime: Stamp,
    /// When anything changed.
    pub ctime: Stamp,
    /// Major and minor number of a device file.
    pub rdev: (u32, u32),
}

/// Returns the state of `name` in the directory `dir`, without following it.
pub fn stat_at(dir: impl AsFd, name: impl rustix::path::Arg) -> io::Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(from_statx(&statx(dir, name, flags, StatxFlags::BASIC_STATS)?))
}

/// Returns the state of an open file; also for descriptors opened with `O_PATH`.
pub fn stat_fd(fd: impl AsFd) -> io::Result<Stat> {
    Ok(from_statx(&statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
}

fn from_statx(stat: &rustix::fs::Statx) -> Stat {
    let stamp = |t: &rustix::fs::StatxTimestamp| Stamp { seconds: t.tv_sec, nanoseconds: t.tv_nsec };
    let kind = rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode));
    Stat {
        device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        kind: kind.into(),
        mode: u32::from(stat.stx_mode) & 0o7777,
        links: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        mtime: stamp(&stat.stx_mtime),
        ctime: stamp(&stat.stx_ctime),
        rdev: (stat.stx_rdev_major, stat.stx_rdev_minor),
    }
}

/// Calls `visit` with each name of an open directory, except `.` and `..`, in the kernel's order.
///
/// The descriptor must not be an `O_PATH` one, and its position must be the start.
pub fn for_each_name(dir: BorrowedFd<'_>, mut visit: impl FnMut(&CStr, FileType) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            visit(name, entry.file_type().into())?;
        }
    }
    Ok(())
}

/// Returns the names in an open directory, sorted by their bytes.
pub fn sorted_names(dir: BorrowedFd<'_>) -> io::Result<Vec<(OsString, FileType)>> {
    let mut names = Vec::new();
    for_each_name(dir, |name, kind| {
        names.push((OsStr::from_bytes(name.to_bytes()).to_owned(), kind));
        Ok(())
    })?;
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn names_are_sorted_and_without_dots() {
        let dir = std::env::temp_dir().join(format!("rbuild-sys-dir-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for name in ["b", "a", "c"] {
            std::fs::write(dir.join(name), name).unwrap();
        }
        let open = File::open(&dir).unwrap();
        let names = sorted_names(open.as_fd()).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(names.iter().map(|n| n.0.to_str().unwrap()).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
