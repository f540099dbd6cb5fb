//! What an entry's header says.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::block::{self, Block, Dialect};
use super::pax::{self, Records};
use super::sparse::Segment;
use crate::entry::{Device, Time, Xattrs};

/// What an entry of a tar is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// Another name of an earlier entry, as named in the archive.
    HardLink(PathBuf),
    /// A symbolic link.
    Symlink(PathBuf),
    /// A directory.
    Directory,
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// An entry's header after all extensions are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name as in the archive: may be absolute, hold `..`, end in a slash. See [`Header::clean_path`].
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits (07777).
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Size of the content once holes are filled; 0 for all but regular files.
    pub size: u64,
    /// When the content changed.
    pub mtime: Time,
    /// All `SCHILY.xattr.` records.
    pub xattrs: Xattrs,
    /// The runs of data, if the file has holes.
    pub sparse: Option<Vec<Segment>>,
    /// Where the data begins in the stream.
    pub data_offset: u64,
    /// How many bytes the data takes in the stream.
    pub data_size: u64,
}

impl Header {
    /// Returns the path as one inside a root: relative, `.` dropped, `..` resolved by its letters and stopped at
    /// the root; empty for the root itself.
    pub fn clean_path(&self) -> PathBuf {
        clean(&self.path)
    }

    /// Returns the target of a hard link in the same form.
    pub fn clean_link_target(&self) -> Option<PathBuf> {
        match &self.kind {
            EntryKind::HardLink(target) => Some(clean(target)),
            _ => None,
        }
    }
}

fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// A header block seen through the records before it: a record wins over its field.
pub(super) struct Merged<'a> {
    pub(super) block: &'a Block,
    pub(super) records: &'a Records,
}

impl Merged<'_> {
    fn record(&self, key: &str) -> Option<&[u8]> {
        self.records.get(key.as_bytes()).filter(|value| !value.is_empty()).map(Vec::as_slice)
    }

    pub(super) fn number(&self, key: &str, field: std::ops::Range<usize>) -> Option<i64> {
        let stored = block::number(&self.block[field])?;
        self.record(key).map_or(Some(stored), pax::integer)
    }

    /// Returns an id; 2^32-1 and what lies beyond would become another id on the way to the kernel.
    pub(super) fn id(&self, key: &str, field: std::ops::Range<usize>) -> Option<u32> {
        let id = self.number(key, field)?;
        u32::try_from(id).ok().filter(|id| *id != u32::MAX)
    }

    pub(super) fn mtime(&self) -> Option<Time> {
        let stored = block::number(&self.block[block::MTIME])?;
        // Not kept, but refused by other readers if malformed.
        for key in ["atime", "ctime"] {
            self.record(key).map_or(Some(Time::EPOCH), pax::time)?;
        }
        self.record("mtime").map_or(Some(Time::from_seconds(stored)), pax::time)
    }
}

/// What symlink(2) takes: `PATH_MAX` without its NUL.
const LONGEST_LINK: usize = 4095;

pub(super) fn entry_kind(kind: u8, link: Vec<u8>, block: &Block, dialect: Dialect) -> Result<EntryKind, &'static str> {
    let link = PathBuf::from(OsString::from_vec(link));
    let device = || {
        if dialect == Dialect::V7 {
            return Ok(Device::default());
        }
        let number = |field: std::ops::Range<usize>| block::number(&block[field]).and_then(|n| u32::try_from(n).ok());
        let (major, minor) = (number(block::MAJOR), number(block::MINOR));
        major.zip(minor).map(|(major, minor)| Device { major, minor }).ok_or("a bad device number")
    };
    Ok(match kind {
        b'0' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink(link),
        // No file system has such a link.
        b'2' if !(1..=LONGEST_LINK).contains(&link.as_os_str().len()) => {
            return Err("a symbolic link to nothing, or to more than 4095 bytes");
        }
        b'2' => EntryKind::Symlink(link),
        b'3' => EntryKind::CharDevice(device()?),
        b'4' => EntryKind::BlockDevice(device()?),
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return Err("an entry of unknown type"),
    })
}

pub(super) fn xattrs(records: &Records) -> Xattrs {
    let pairs = records.iter().filter_map(|(key, value)| Some((key.strip_prefix(pax::XATTR)?, value)));
    pairs.filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.to_vec(), value.clone())).collect()
}
