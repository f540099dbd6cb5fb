//! Making what is neither file nor directory.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use rbuild_sys::dirfd::{chmod_fd, set_mtime_fd};
use rbuild_sys::root::{Dir, Node};
use rbuild_sys::xattr;
use rbuild_tree::{Device, Kind};

use crate::attributes::{Attributes, Ids};
use crate::error::{Result, SnapshotError};
use crate::overlay::NODE;

/// What came of making an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// The name is taken.
    Taken,
    /// It is as described.
    Exactly,
    /// Its owner or device number could only be recorded, or not even that.
    Recorded,
}

impl Made {
    fn recorded(recorded: bool) -> Self {
        if recorded { Self::Recorded } else { Self::Exactly }
    }
}

/// Returns the node of a kind that is neither file, directory, link nor socket.
pub(crate) fn node_of(kind: &Kind) -> Option<Node> {
    match kind {
        Kind::CharDevice(Device { major, minor }) => Some(Node::CharDevice(*major, *minor)),
        Kind::BlockDevice(Device { major, minor }) => Some(Node::BlockDevice(*major, *minor)),
        Kind::Fifo => Some(Node::Fifo),
        Kind::File | Kind::Directory | Kind::Symlink(_) | Kind::Socket => None,
    }
}

/// Makes a symbolic link. `path` is for errors.
pub(crate) fn symlink(
    dir: &Dir,
    name: &OsStr,
    target: &Path,
    attributes: &Attributes,
    ids: Ids,
    path: &Path,
) -> Result<Made> {
    if free(dir.symlink(target, name)).map_err(SnapshotError::entry("making", path))?.is_none() {
        return Ok(Made::Taken);
    }
    let recorded = ids.chown_name(dir, name, path, attributes)?;
    set_capability(dir, name, path, attributes)?;
    dir.set_mtime(name, attributes.mtime).map_err(SnapshotError::entry("setting the time of", path))?;
    Ok(Made::recorded(recorded))
}

/// Makes a pipe or device, or a record of a device where devices cannot be made. `path` is for errors.
pub(crate) fn node(
    dir: &Dir,
    name: &OsStr,
    node: Node,
    attributes: &Attributes,
    ids: Ids,
    path: &Path,
) -> Result<Made> {
    match dir.mknod(name, &node, 0o600) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(Made::Taken),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && node != Node::Fifo => {
            return record(dir, name, node, attributes, ids, path);
        }
        Err(error) => return Err(SnapshotError::entry("making", path)(error)),
    }
    let recorded = ids.chown_name(dir, name, path, attributes)?;
    set_capability(dir, name, path, attributes)?;
    dir.chmod(name, attributes.mode).map_err(SnapshotError::entry("setting the mode of", path))?;
    dir.set_mtime(name, attributes.mtime).map_err(SnapshotError::entry("setting the time of", path))?;
    Ok(Made::recorded(recorded))
}

fn record(dir: &Dir, name: &OsStr, node: Node, attributes: &Attributes, ids: Ids, path: &Path) -> Result<Made> {
    let record = match node {
        Node::CharDevice(major, minor) => format!("c:{major}:{minor}"),
        Node::BlockDevice(major, minor) => format!("b:{major}:{minor}"),
        Node::Fifo => unreachable!("pipes are made, never recorded"),
    };
    let file = dir.create(name, 0o600).map_err(SnapshotError::entry("making", path))?;
    xattr::set(&file, NODE, record.as_bytes()).map_err(SnapshotError::entry("recording the device", path))?;
    finish_file(&file, attributes, ids, path)?;
    Ok(Made::Recorded)
}

/// Sets all of a file: the owner first (that clears set-id bits and capabilities), the time last. Returns whether
/// the owner could only be recorded.
pub(crate) fn finish_file(file: &std::fs::File, attributes: &Attributes, ids: Ids, path: &Path) -> Result<bool> {
    let recorded = ids.chown_fd(file, path, attributes)?;
    attributes.set_xattrs(file).map_err(SnapshotError::entry("setting attributes of", path))?;
    chmod_fd(file, attributes.mode).map_err(SnapshotError::entry("setting the mode of", path))?;
    set_mtime_fd(file, attributes.mtime).map_err(SnapshotError::entry("setting the time of", path))?;
    Ok(recorded)
}

/// Links and nodes can carry no `user.` attributes.
fn set_capability(dir: &Dir, name: &OsStr, path: &Path, attributes: &Attributes) -> Result<()> {
    for (attribute, value) in attributes.xattrs.iter().filter(|(name, _)| !name.starts_with(b"user.")) {
        let set = xattr::set_at(dir, name, attribute, value);
        set.map_err(SnapshotError::entry("setting attributes of", path))?;
    }
    Ok(())
}

/// Returns what was made, or none if the name is taken.
pub(crate) fn free<T>(made: io::Result<T>) -> io::Result<Option<T>> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        made => made.map(Some),
    }
}
