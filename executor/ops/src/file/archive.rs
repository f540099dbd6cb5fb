//! ADD of an archive: its entries become changes of a draft.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rbuild_tree::compress::decompress;
use rbuild_tree::select::{Follow, resolve};
use rbuild_tree::tar::{Archive, EntryKind, Header};
use rbuild_tree::{FileTree, Kind, Metadata, Node, TreeError, entry};

use super::FileError;
use super::copy::make_directories;
use super::draft::{Body, Draft, directory};

/// Returns whether a file is a tar, compressed or not: by its content, as docker has it.
pub(crate) fn is_archive(tree: &dyn FileTree, node: &Node) -> Result<bool, TreeError> {
    if node.metadata.size == 0 {
        return Ok(false);
    }
    let content = BufReader::with_capacity(64 << 10, tree.open(node)?);
    let Ok((_, plain)) = decompress(content) else { return Ok(false) };
    let first = Archive::new(plain).next_entry().is_ok_and(|entry| entry.is_some());
    Ok(first)
}

/// Unpacks the archive `node` of `tree` below `dest`.
pub(crate) fn unpack(
    tree: &dyn FileTree,
    node: &Node,
    draft: &mut Draft,
    dest: &Path,
    owner: Option<(u32, u32)>,
    scratch: &Path,
) -> Result<(), FileError> {
    let content = BufReader::with_capacity(256 << 10, tree.open(node)?);
    let (_, plain) = decompress(content).map_err(TreeError::io("decompressing", &node.path))?;
    let spool = tempfile::tempfile_in(scratch).map_err(TreeError::io("making a file in", scratch))?;
    let mut unpacking = Unpacking { draft, dest, owner, spool: Spool::new(spool), groups: HashMap::new() };
    let mut archive = Archive::new(plain);
    while let Some(mut entry) = archive.next_entry().map_err(TreeError::from)? {
        let header = entry.header.clone();
        unpacking.entry(&header, &mut entry)?;
    }
    unpacking.spool.out.flush().map_err(TreeError::io("writing to", scratch))?;
    Ok(())
}

/// Contents of an archive, one after the other in a file without a name.
struct Spool {
    out: std::io::BufWriter<File>,
    file: Arc<File>,
    length: u64,
}

impl Spool {
    fn new(file: File) -> Self {
        let shared = Arc::new(file.try_clone().expect("a fresh descriptor can be duplicated"));
        Self { out: std::io::BufWriter::with_capacity(256 << 10, file), file: shared, length: 0 }
    }

    fn keep(&mut self, content: &mut dyn Read) -> std::io::Result<Body> {
        let offset = self.length;
        self.length += std::io::copy(content, &mut self.out)?;
        debug_assert!(self.out.stream_position().is_ok_and(|at| at == self.length));
        Ok(Body::Span(self.file.clone(), offset))
    }
}

/// An archive on its way into the draft.
struct Unpacking<'a> {
    draft: &'a mut Draft,
    dest: &'a Path,
    owner: Option<(u32, u32)>,
    spool: Spool,
    /// Names of files, for hard links of the same archive.
    groups: HashMap<PathBuf, (u64, Metadata, Body)>,
}

impl Unpacking<'_> {
    fn entry(&mut self, header: &Header, content: &mut dyn Read) -> Result<(), FileError> {
        let name = rooted_bytes(&header.path)?;
        // The destination is there; what the archive says of its own root changes nothing, as in docker.
        if name.as_os_str().is_empty() {
            return Ok(());
        }
        let target = self.place(&name)?;
        if target.as_os_str().is_empty() {
            return Ok(());
        }
        if let Some(parent) = target.parent() {
            make_directories(self.draft, parent, &directory(0o755, self.owner.unwrap_or((0, 0)), header.mtime))?;
        }
        let mut metadata = self.metadata(header);
        let body = match &header.kind {
            EntryKind::HardLink(original) => return self.hard_link(&target, &rooted_bytes(original)?),
            EntryKind::File => {
                metadata.size = header.size;
                self.spool.keep(content).map_err(TreeError::io("unpacking", &header.path))?
            }
            _ => Body::None,
        };
        let existing = self.draft.node(&target)?;
        let is_directory = |node: &Node| node.metadata.kind.is_directory();
        if existing.as_ref().is_some_and(is_directory) != metadata.kind.is_directory() && existing.is_some() {
            self.draft.remove(&target)?;
        }
        if metadata.kind.is_file() {
            let group = self.draft.new_group();
            self.groups.insert(target.clone(), (group, metadata.clone(), body.clone()));
            return Ok(self.draft.put(&target, metadata, body, Some(group))?);
        }
        Ok(self.draft.put(&target, metadata, body, None)?)
    }

    /// Returns where a name of the archive lies: links in its parents are followed within the root.
    fn place(&self, name: &Path) -> Result<PathBuf, FileError> {
        Ok(resolve(self.draft, &self.dest.join(name), Follow::Parents)?)
    }

    fn hard_link(&mut self, target: &Path, original: &Path) -> Result<(), FileError> {
        let original = self.place(original)?;
        if original == target {
            return Ok(());
        }
        if let Some((group, metadata, body)) = self.groups.get(&original).cloned() {
            self.groups.insert(target.to_owned(), (group, metadata.clone(), body.clone()));
            return Ok(self.draft.put(target, metadata, body, Some(group))?);
        }
        // Symbolic links and devices may have several names, too; a copy is the same thing.
        match self.draft.node(&original)? {
            Some(node) if !node.metadata.kind.is_file() && !node.metadata.kind.is_directory() => {
                Ok(self.draft.put(target, node.metadata, Body::None, None)?)
            }
            _ => Err(TreeError::NotFound { path: original }.into()),
        }
    }

    fn metadata(&self, header: &Header) -> Metadata {
        let kind = match &header.kind {
            EntryKind::File | EntryKind::HardLink(_) => Kind::File,
            EntryKind::Directory => Kind::Directory,
            EntryKind::Symlink(target) => Kind::Symlink(target.clone()),
            EntryKind::CharDevice(device) => Kind::CharDevice(*device),
            EntryKind::BlockDevice(device) => Kind::BlockDevice(*device),
            EntryKind::Fifo => Kind::Fifo,
        };
        let (uid, gid) = self.owner.unwrap_or((header.uid, header.gid));
        let mut xattrs = header.xattrs.clone();
        xattrs.retain(|name, _| entry::is_layer_xattr(name));
        Metadata { kind, mode: header.mode & 0o7777, uid, gid, size: 0, mtime: header.mtime, xattrs }
    }
}

/// Returns a name of an archive as a path below its root; `..` that leads out is refused.
fn rooted_bytes(path: &Path) -> Result<PathBuf, FileError> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if !clean.pop() => return Err(FileError::Breakout(path.to_owned())),
            Component::ParentDir | Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}
