//! The format of an overlay upper: how removals, opaque directories and what this host cannot keep are written.
//!
//! | meaning | form |
//! |---|---|
//! | removed name | character device 0:0; or, where devices cannot be made, an empty file with the attribute `overlay.whiteout` in a directory with `overlay.opaque` = `x` |
//! | opaque directory | attribute `overlay.opaque` = `y` |
//! | owner that could not be set (one id only) | attribute `user.rbuild.owner` = `uid:gid` |
//! | device that could not be made | empty file with the attribute `user.rbuild.node` = `c:major:minor` or `b:…` |
//! | directory that no entry described | attribute `user.rbuild.implied`; the layer's root has `user.rbuild.implies` if there are others |
//!
//! `overlay.` attributes are `trusted.` ones, or `user.` ones for mounts with `userxattr`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rbuild_sys::dir::{FileType, Stat};
use rbuild_sys::dirfd::read_link_at;
use rbuild_sys::root::Dir;
use rbuild_sys::xattr;
use rbuild_tree::entry::is_layer_xattr;
use rbuild_tree::{Device, Kind, Metadata, Time, Xattrs};

pub(crate) const OWNER: &[u8] = b"user.rbuild.owner";
pub(crate) const NODE: &[u8] = b"user.rbuild.node";
pub(crate) const IMPLIED: &[u8] = b"user.rbuild.implied";
pub(crate) const IMPLIES: &[u8] = b"user.rbuild.implies";
const OPAQUE: [&[u8]; 2] = [b"trusted.overlay.opaque", b"user.overlay.opaque"];
const WHITEOUT: [&[u8]; 2] = [b"trusted.overlay.whiteout", b"user.overlay.whiteout"];
const REDIRECT: [&[u8]; 2] = [b"trusted.overlay.redirect", b"user.overlay.redirect"];
const METACOPY: [&[u8]; 2] = [b"trusted.overlay.metacopy", b"user.overlay.metacopy"];

/// A name in a tree layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Whiteout,
    Entry { metadata: Metadata, opaque: bool, implied: bool, inode: (u64, u64), links: u32 },
}

/// Returns the attribute of opaque directories.
pub(crate) const fn opaque_attribute(userxattr: bool) -> &'static [u8] {
    OPAQUE[userxattr as usize]
}

/// Returns the attribute of whiteouts that are files.
pub(crate) const fn whiteout_attribute(userxattr: bool) -> &'static [u8] {
    WHITEOUT[userxattr as usize]
}

/// Reads what `name` in a directory of a tree layer stands for.
pub(crate) fn read(dir: &impl AsFd, name: &OsStr, stat: &Stat) -> io::Result<Found> {
    if stat.kind == FileType::CharDevice && stat.rdev == (0, 0) {
        return Ok(Found::Whiteout);
    }
    let link = if stat.kind == FileType::Symlink { read_link_at(dir, name)? } else { PathBuf::new() };
    decode(stat, link, &xattr::list_at(dir, name)?, |attribute| xattr::get_at(dir, name, attribute))
}

/// Reads what an open directory of a tree layer is.
pub(crate) fn read_self(dir: &Dir) -> io::Result<Found> {
    decode(&dir.stat_self()?, PathBuf::new(), &xattr::list(dir)?, |attribute| xattr::get(dir, attribute))
}

fn decode(
    stat: &Stat,
    link: PathBuf,
    attributes: &[Vec<u8>],
    get: impl Fn(&[u8]) -> io::Result<Option<Vec<u8>>>,
) -> io::Result<Found> {
    let mut metadata = plain_metadata(stat, link);
    let (mut opaque, mut implied) = (false, false);
    for attribute in attributes {
        let attribute = attribute.as_slice();
        if WHITEOUT.contains(&attribute) && metadata.kind.is_file() && metadata.size == 0 {
            return Ok(Found::Whiteout);
        }
        let value = || Ok::<_, io::Error>(get(attribute)?.unwrap_or_default());
        match attribute {
            _ if OPAQUE.contains(&attribute) => opaque |= value()? == b"y",
            _ if REDIRECT.contains(&attribute) || METACOPY.contains(&attribute) => {
                return Err(io::Error::other("the overlay was mounted with redirect_dir or metacopy"));
            }
            IMPLIED => implied = metadata.kind.is_directory(),
            OWNER => take_owner(&mut metadata, &value()?),
            NODE => take_node(&mut metadata, &value()?),
            _ if is_layer_xattr(attribute) => drop(metadata.xattrs.insert(attribute.to_vec(), value()?)),
            _ => {}
        }
    }
    Ok(Found::Entry { metadata, opaque, implied, inode: (stat.device, stat.inode), links: stat.links })
}

fn plain_metadata(stat: &Stat, link: PathBuf) -> Metadata {
    let device = Device { major: stat.rdev.0, minor: stat.rdev.1 };
    let kind = match stat.kind {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink(link),
        FileType::CharDevice => Kind::CharDevice(device),
        FileType::BlockDevice => Kind::BlockDevice(device),
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::File | FileType::Unknown => Kind::File,
    };
    let size = if kind.is_file() { stat.size } else { 0 };
    let mtime = Time { seconds: stat.mtime.seconds, nanoseconds: stat.mtime.nanoseconds };
    Metadata { kind, mode: stat.mode, uid: stat.uid, gid: stat.gid, size, mtime, xattrs: Xattrs::new() }
}

fn take_owner(metadata: &mut Metadata, value: &[u8]) {
    let text = std::str::from_utf8(value).unwrap_or_default();
    if let Some((Ok(uid), Ok(gid))) = text.split_once(':').map(|(uid, gid)| (uid.parse(), gid.parse())) {
        (metadata.uid, metadata.gid) = (uid, gid);
    }
}

fn take_node(metadata: &mut Metadata, value: &[u8]) {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let mut parts = text.split(':');
    let (kind, major, minor) = (parts.next(), parts.next(), parts.next());
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    if let (Some(major), Some(minor)) = (number(major), number(minor)) {
        let device = Device { major, minor };
        metadata.kind = if kind == Some("b") { Kind::BlockDevice(device) } else { Kind::CharDevice(device) };
        metadata.size = 0;
    }
}

/// Marks the removal of `name`.
pub(crate) fn write_whiteout(dir: &Dir, name: &OsStr, userxattr: bool) -> io::Result<()> {
    match dir.mknod(name, &rbuild_sys::root::Node::CharDevice(0, 0), 0) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        result => return result,
    }
    let file = dir.create(name, 0)?;
    xattr::set(&file, whiteout_attribute(userxattr), b"y")?;
    let opaque = opaque_attribute(userxattr);
    if xattr::get(dir, opaque)?.as_deref() != Some(b"y") {
        xattr::set(dir, opaque, b"x")?;
    }
    Ok(())
}
