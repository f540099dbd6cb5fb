//! One name of a tree, read from a packet and understood.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rbuild_sys::dir::Stamp;
use rbuild_sys::dirfd::Node;

use super::mode::{self, from_go};
use super::{Stat, TransferError};

/// The most bytes of extended attributes of one name.
const MOST_XATTRS: usize = 1 << 20;
/// The longest target of a symbolic link.
const LONGEST_TARGET: usize = 4095;

/// What is to be at a path.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) meta: Meta,
}

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    /// A regular file of this many bytes.
    File(u64),
    /// Another name of a file that came before.
    HardLink(PathBuf),
    Symlink(PathBuf),
    Node(Node),
}

/// Owner, permissions, time, attributes.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Stamp,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Reads a packet; the path is checked by whoever knows those before it.
    pub(super) fn read(stat: Stat) -> Result<Self, TransferError> {
        let shown = stat.path.escape_ascii().to_string();
        let refuse = |reason| TransferError::Path { path: shown.clone(), reason };
        let (kind, mode) = from_go(stat.mode).ok_or_else(|| refuse("is of no kind that files have"))?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(stat.path));
        let device = || -> Option<(u32, u32)> { Some((number(stat.devmajor)?, number(stat.devminor)?)) };
        let kind = match kind {
            mode::Kind::Directory => Kind::Directory,
            mode::Kind::Symlink => {
                let target = &stat.linkname;
                if target.is_empty() || target.len() > LONGEST_TARGET || target.contains(&0) {
                    return Err(refuse("is a link with a target that no link can have"));
                }
                Kind::Symlink(Path::new(OsStr::from_bytes(target)).to_owned())
            }
            // Nobody listens to a socket in a copy.
            mode::Kind::Socket => Kind::File(0),
            mode::Kind::File if !stat.linkname.is_empty() => {
                Kind::HardLink(Path::new(OsStr::from_bytes(&stat.linkname)).to_owned())
            }
            mode::Kind::File => Kind::File(u64::try_from(stat.size).map_err(|_| refuse("has a negative size"))?),
            mode::Kind::Fifo => Kind::Node(Node::Fifo),
            mode::Kind::CharDevice | mode::Kind::BlockDevice => {
                let (major, minor) = device().ok_or_else(|| refuse("has a device number that devices cannot have"))?;
                let is_char = kind == mode::Kind::CharDevice;
                Kind::Node(if is_char { Node::CharDevice(major, minor) } else { Node::BlockDevice(major, minor) })
            }
        };
        if stat.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MOST_XATTRS {
            return Err(refuse("has more than 1 MiB of extended attributes"));
        }
        let mtime = Stamp {
            seconds: stat.mod_time.div_euclid(1_000_000_000),
            nanoseconds: u32::try_from(stat.mod_time.rem_euclid(1_000_000_000)).unwrap_or(0),
        };
        let xattrs = stat.xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
        Ok(Self { path, kind, meta: Meta { mode, uid: stat.uid, gid: stat.gid, mtime, xattrs } })
    }
}

fn number(device: i64) -> Option<u32> {
    // Twelve bits of major number and twenty of minor are what the kernel keeps.
    u32::try_from(device).ok().filter(|number| *number < 1 << 20)
}
