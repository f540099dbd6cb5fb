//! An overlay upper becomes a layer tar.
//!
//! Entries and their order are those of BuildKit's overlay differ, so that the same change gives the same bytes:
//!
//! * the upper is walked by sorted names; its root is no entry;
//! * what is as it was below is left out (a directory by owner, mode and attributes; other things also by size, time
//!   and, where both times are whole seconds, content), but the parents of what is written are written before it;
//! * a whiteout is written if something is there below;
//! * an opaque directory is compared with what it hides: what is gone is written as a whiteout of its own, never as
//!   an opaque marker;
//! * sockets are left out; further names of a file are hard links to the first.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rbuild_oci::DiffId;
use rbuild_oci::digest::HashingWriter;
use rbuild_tree::tar::LayerWriter;
use rbuild_tree::{FileTree, Kind, Metadata, Node, Time, TreeError};

use crate::error::{Result, SnapshotError};
use crate::overlay::Found;
use crate::view::{MergedView, TreeLayer};

/// How a diff is written.
#[derive(Debug, Clone, Default)]
pub struct DiffOptions {
    /// Times later than this are lowered to it (`SOURCE_DATE_EPOCH`).
    pub clamp_mtime: Option<Time>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffReport {
    /// The digest of the tar.
    pub diff_id: DiffId,
    /// Its length.
    pub tar_size: u64,
    /// How many entries it has; 0 means the layer is empty.
    pub entries: u64,
}

/// Writes what the tree layer `upper` changes upon `below` as an uncompressed layer tar.
pub fn diff<W: Write>(upper: &Path, below: &MergedView, options: &DiffOptions, out: W) -> Result<(W, DiffReport)> {
    let upper = TreeLayer::open(upper)?;
    let writer = LayerWriter::new(HashingWriter::new(out));
    let mut diff =
        Diff { upper: &upper, below, options, writer, entries: 0, parents: Vec::new(), first: HashMap::new() };
    diff.changed(Path::new(""))?;
    let entries = diff.entries;
    let (out, digest, tar_size) = diff.writer.finish()?.finish();
    Ok((out, DiffReport { diff_id: DiffId(digest), tar_size, entries }))
}

struct Diff<'a, W> {
    upper: &'a TreeLayer,
    below: &'a MergedView,
    options: &'a DiffOptions,
    writer: LayerWriter<HashingWriter<W>>,
    entries: u64,
    /// The directories on the way to the current one that are not written yet.
    parents: Vec<(PathBuf, Metadata)>,
    /// The first name of each file with several.
    first: HashMap<(u64, u64), PathBuf>,
}

/// Something in the upper.
struct Item {
    path: PathBuf,
    metadata: Metadata,
    opaque: bool,
    /// Which file this is, if it has several names.
    link: Option<(u64, u64)>,
}

impl Item {
    fn new(path: PathBuf, found: Found) -> Option<Self> {
        let Found::Entry { metadata, opaque, inode, links, .. } = found else { return None };
        let link = (links > 1 && !metadata.kind.is_directory()).then_some(inode);
        Some(Self { path, metadata, opaque, link })
    }
}

impl<W: Write> Diff<'_, W> {
    fn list(&self, path: &Path) -> Result<Vec<(OsString, Found)>> {
        self.upper.list(path).map_err(SnapshotError::entry("listing", path))
    }

    /// Writes what changed in a directory that is merged with what is below.
    fn changed(&mut self, directory: &Path) -> Result<()> {
        for (name, found) in self.list(directory)? {
            let path = directory.join(name);
            let base = self.below.node(&path)?;
            match Item::new(path.clone(), found) {
                None if base.is_some() => self.whiteout(&path)?,
                None => {}
                Some(item) => self.item(item, base.as_ref())?,
            }
        }
        Ok(())
    }

    /// Writes what changed in a directory that hides what is below.
    fn replaced(&mut self, directory: &Path) -> Result<()> {
        let mut below = self.below.children(directory)?.into_iter().peekable();
        for (name, found) in self.list(directory)? {
            let Some(item) = Item::new(directory.join(name), found) else { continue };
            while let Some(gone) = below.next_if(|node| node.path.file_name() < item.path.file_name()) {
                self.whiteout(&gone.path)?;
            }
            let base = below.next_if(|node| node.path == item.path);
            // What is hidden above stays hidden in the directories of it.
            self.item(Item { opaque: true, ..item }, base.as_ref())?;
        }
        for gone in below {
            self.whiteout(&gone.path)?;
        }
        Ok(())
    }

    /// Writes an item if it is not as below, then what is in it.
    fn item(&mut self, item: Item, base: Option<&Node>) -> Result<()> {
        let same = match base {
            Some(base) => self.is_same(&item, base)?,
            None => false,
        };
        if !item.metadata.kind.is_directory() {
            return if same { Ok(()) } else { self.write(&item) };
        }
        rbuild_tree::check_length(&item.path)?;
        let depth = self.parents.len();
        self.parents.push((item.path.clone(), item.metadata));
        if !same {
            self.write_parents()?;
        }
        match base {
            Some(base) if item.opaque && base.metadata.kind.is_directory() => self.replaced(&item.path)?,
            _ => self.changed(&item.path)?,
        }
        self.parents.truncate(depth);
        Ok(())
    }

    fn write(&mut self, item: &Item) -> Result<()> {
        if item.metadata.kind == Kind::Socket {
            return Ok(());
        }
        self.write_parents()?;
        self.entries += 1;
        let metadata = self.clamped(item.metadata.clone());
        if let Some(inode) = item.link {
            if let Some(first) = self.first.get(&inode) {
                return Ok(self.writer.hard_link(&item.path, first, &metadata)?);
            }
            self.first.insert(inode, item.path.clone());
        }
        if !metadata.kind.is_file() {
            return Ok(self.writer.entry(&item.path, &metadata)?);
        }
        let mut file = self.upper.open_file(&item.path).map_err(SnapshotError::entry("opening", &item.path))?;
        Ok(self.writer.file(&item.path, &metadata, &mut file)?)
    }

    fn write_parents(&mut self) -> Result<()> {
        for (path, metadata) in std::mem::take(&mut self.parents) {
            self.entries += 1;
            let metadata = self.clamped(metadata);
            self.writer.entry(&path, &metadata)?;
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &Path) -> Result<()> {
        self.write_parents()?;
        self.entries += 1;
        Ok(self.writer.whiteout(path)?)
    }

    fn clamped(&self, mut metadata: Metadata) -> Metadata {
        if let Some(limit) = self.options.clamp_mtime {
            metadata.mtime = metadata.mtime.min(limit);
        }
        metadata
    }

    fn is_same(&self, item: &Item, base: &Node) -> Result<bool> {
        let (ours, theirs) = (&item.metadata, &base.metadata);
        if !is_like(ours, theirs) {
            return Ok(false);
        }
        if !ours.kind.is_file() || ours.size == 0 || ours.mtime.nanoseconds != 0 || theirs.mtime.nanoseconds != 0 {
            return Ok(true);
        }
        let mut own = self.upper.open_file(&item.path).map_err(SnapshotError::entry("opening", &item.path))?;
        let mut other = self.below.open(base)?;
        Ok(same_content(&mut own, &mut other).map_err(TreeError::io("comparing", &item.path))?)
    }
}

/// Returns whether two entries have the same attributes, so that only their contents may differ.
pub(crate) fn is_like(a: &Metadata, b: &Metadata) -> bool {
    let attributes = a.kind == b.kind && (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid) && a.xattrs == b.xattrs;
    attributes && (a.kind.is_directory() || (a.size == b.size && a.mtime == b.mtime))
}

/// Returns whether two streams hold the same bytes.
pub(crate) fn same_content(a: &mut dyn Read, b: &mut dyn Read) -> std::io::Result<bool> {
    const CHUNK: u64 = 64 * 1024;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        a.take(CHUNK).read_to_end(&mut left)?;
        b.take(CHUNK).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}
