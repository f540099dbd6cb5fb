//! Content digests: what a step that copies or reads files depends on.
//!
//! An entry counts with its kind, mode, owner, size, link target, device, attributes and data, never with its times:
//! touching a file changes nothing. A directory counts with all below it by name. Other names of the same
//! file count like files of their own. The encoding is this room's own; its version is hashed first, so that
//! a change of it cannot be taken for an unchanged tree.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rbuild_oci::{Digest, Hasher};

use crate::entry::{Kind, Metadata, Node};
use crate::pattern::Matcher;
use crate::select::{Filter, Follow, clamp, glob, has_wildcard, resolve, walk};
use crate::source::{FileTree, TreeError};

const VERSION: &[u8] = b"rbuild content 1\n";

/// One source path of a step, as the digest sees it.
#[derive(Debug, Clone)]
pub struct Selection<'a> {
    /// The path or pattern.
    pub path: String,
    /// Whether wildcards in `path` are expanded.
    pub wildcard: bool,
    /// Whether a selected path that is a link means its target.
    pub follow: bool,
    /// The paths below the selection that count.
    pub filter: Filter<'a>,
}

impl Selection<'_> {
    /// Returns the selection of everything at `path`, links followed, wildcards expanded.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), wildcard: true, follow: true, filter: Filter::default() }
    }
}

impl<'a> Selection<'a> {
    /// Returns the selection without what `exclude` matches.
    pub fn exclude(self, exclude: &'a Matcher) -> Self {
        Self { filter: Filter { exclude: Some(exclude), ..self.filter }, ..self }
    }
}

/// Owner seen by the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// As in the tree.
    Kept,
    /// Always 0:0, as a build context is sent.
    Root,
}

/// Returns one digest of everything that `selections` choose.
///
/// A path without wildcards that does not exist is an error. Wildcards count with the paths they match, so a
/// renamed match is a change; a pattern that matches nothing counts as such.
pub fn digest(tree: &dyn FileTree, selections: &[Selection<'_>], owner: Owner) -> Result<Digest, TreeError> {
    let mut hasher = Hasher::new();
    hasher.update(VERSION);
    for selection in selections {
        let is_wildcard = selection.wildcard && has_wildcard(&selection.path);
        let paths = if is_wildcard { glob(tree, &selection.path)? } else { vec![clamp(Path::new(&selection.path))] };
        hasher.update(&(paths.len() as u64).to_le_bytes());
        for path in paths {
            if is_wildcard {
                put(&mut hasher, path.as_os_str().as_bytes());
            }
            let follow = if selection.follow { Follow::All } else { Follow::Parents };
            let resolved = resolve(tree, &path, follow)?;
            let node = tree.node(&resolved)?.ok_or(TreeError::NotFound { path })?;
            put_tree(&mut hasher, tree, node, selection.filter, owner)?;
        }
    }
    Ok(hasher.finish())
}

/// Returns the digest of one file's metadata and data, the unit that [`digest`] is made of.
pub fn entry_digest(metadata: &Metadata, data: Option<Digest>, owner: Owner) -> Digest {
    let mut hasher = Hasher::new();
    put_entry(&mut hasher, metadata, data.as_ref(), owner);
    hasher.finish()
}

fn put_tree(
    hasher: &mut Hasher,
    tree: &dyn FileTree,
    start: Node,
    filter: Filter<'_>,
    owner: Owner,
) -> Result<(), TreeError> {
    let base = start.path.clone();
    let nodes = walk(tree, start, filter)?;
    let files: Vec<&Node> = nodes.iter().filter(|node| node.metadata.kind.is_file()).collect();
    let mut digests = tree.file_digests(&files)?.into_iter();
    hasher.update(&(nodes.len() as u64).to_le_bytes());
    for node in &nodes {
        let below = node.path.strip_prefix(&base).unwrap_or(&node.path);
        put(hasher, below.as_os_str().as_bytes());
        let data = if node.metadata.kind.is_file() { digests.next() } else { None };
        put_entry(hasher, &node.metadata, data.as_ref(), owner);
    }
    Ok(())
}

fn put_entry(hasher: &mut Hasher, metadata: &Metadata, data: Option<&Digest>, owner: Owner) {
    let (tag, device) = match metadata.kind {
        Kind::File | Kind::Socket => (b'f', (0, 0)),
        Kind::Directory => (b'd', (0, 0)),
        Kind::Symlink(_) => (b'l', (0, 0)),
        Kind::CharDevice(device) => (b'c', (device.major, device.minor)),
        Kind::BlockDevice(device) => (b'b', (device.major, device.minor)),
        Kind::Fifo => (b'p', (0, 0)),
    };
    let (uid, gid) = match owner {
        Owner::Kept => (metadata.uid, metadata.gid),
        Owner::Root => (0, 0),
    };
    let mut head = [0; 33];
    head[0] = tag;
    let numbers = [metadata.mode, uid, gid, device.0, device.1];
    for (field, number) in head[1..21].chunks_exact_mut(4).zip(numbers) {
        field.copy_from_slice(&number.to_le_bytes());
    }
    head[21..29].copy_from_slice(&metadata.size.to_le_bytes());
    head[29..].copy_from_slice(&u32::try_from(metadata.xattrs.len()).unwrap_or(u32::MAX).to_le_bytes());
    hasher.update(&head);
    for (name, value) in &metadata.xattrs {
        put(hasher, name);
        put(hasher, value);
    }
    if let Kind::Symlink(target) = &metadata.kind {
        put(hasher, target.as_os_str().as_bytes());
    }
    if let Some(data) = data {
        hasher.update(data.as_bytes());
    }
}

fn put(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests;
