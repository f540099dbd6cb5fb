//! What one name in a tree is: kind, owner, mode, times, attributes.
//!
//! The same values describe a file of a build context, an entry of a layer tar and a file of an unpacked
//! layer, so that copying, hashing and comparing know one vocabulary only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Extended attributes by full name (`security.capability`, `user.x`).
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The name prefix that marks a removal in a layer tar.
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// The name that marks its directory as opaque in a layer tar.
pub const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";

/// A moment, seconds since the epoch and nanoseconds within the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// 0 to 999,999,999, always counted forwards.
    pub nanoseconds: u32,
}

impl Time {
    /// The epoch, which stands for "no time".
    pub const EPOCH: Self = Self { seconds: 0, nanoseconds: 0 };

    /// Returns a whole second.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Device {
    /// The driver.
    pub major: u32,
    /// The unit.
    pub minor: u32,
}

/// Identifies a file that has several names, within one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    /// The device, or the layer's index in a chain.
    pub device: u64,
    /// The inode, or the first entry's offset in a tar.
    pub inode: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link and what it holds, untouched.
    Symlink(PathBuf),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A socket; never part of a layer.
    Socket,
}

impl Kind {
    /// Returns whether this is a directory.
    pub const fn is_directory(&self) -> bool {
        matches!(self, Self::Directory)
    }

    /// Returns whether this is a regular file.
    pub const fn is_file(&self) -> bool {
        matches!(self, Self::File)
    }

    /// Returns the target of a symbolic link.
    pub fn symlink_target(&self) -> Option<&Path> {
        match self {
            Self::Symlink(target) => Some(target),
            _ => None,
        }
    }
}

/// Everything about an entry except its name and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-id and sticky bits (07777).
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes of content; 0 for all but regular files.
    pub size: u64,
    /// When the content changed.
    pub mtime: Time,
    /// The attributes that layers carry: `security.capability` and `user.*`.
    pub xattrs: Xattrs,
}

impl Metadata {
    /// Returns the metadata of a directory owned by root, of mode 0755 and no time.
    pub fn directory() -> Self {
        Self::new(Kind::Directory, 0o755)
    }

    /// Returns the metadata of a file owned by root, of mode 0644 and no time.
    pub fn file(size: u64) -> Self {
        Self { size, ..Self::new(Kind::File, 0o644) }
    }

    /// Returns the metadata of a symbolic link owned by root.
    pub fn symlink(target: impl Into<PathBuf>) -> Self {
        Self::new(Kind::Symlink(target.into()), 0o777)
    }

    /// Returns empty metadata of a kind and mode, owned by root.
    pub fn new(kind: Kind, mode: u32) -> Self {
        Self { kind, mode, uid: 0, gid: 0, size: 0, mtime: Time::EPOCH, xattrs: Xattrs::new() }
    }
}

/// A name in a tree together with what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The path from the tree's root, without leading slash; empty for the root itself.
    pub path: PathBuf,
    /// What is there.
    pub metadata: Metadata,
    /// Which file this is, if it has several names.
    pub link: Option<LinkId>,
    /// How its tree finds it again; means nothing outside that tree.
    pub handle: u64,
}

/// Returns whether an extended attribute is one that layers carry.
///
/// An allow-list: overlay attributes of a layer would steer the overlay mount made from it, and access
/// control lists and labels belong to the host.
pub fn is_layer_xattr(name: &[u8]) -> bool {
    let private = [&b"user.overlay."[..], b"user.fuseoverlayfs.", b"user.containers.", b"user.rbuild."];
    name == b"security.capability"
        || (name.starts_with(b"user.") && name.len() > 5 && !private.iter().any(|p| name.starts_with(p)))
}
