//! A layer in the making: changes upon a tree that nobody has touched yet.
//!
//! File actions read and change a [`Draft`]; contents stay where they are until the draft is written
//! as a layer tar, so each file is read once, straight into the layer.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rbuild_oci::Digest;
use rbuild_tree::tar::LayerWriter;
use rbuild_tree::{Content, FileTree, Kind, LinkId, Metadata, Node, Time, TreeError};

/// Where the content of a file comes from.
#[derive(Clone)]
pub(crate) enum Body {
    /// There is none.
    None,
    /// These bytes.
    Bytes(Bytes),
    /// A file of a tree.
    Tree(Arc<dyn FileTree>, Box<Node>),
    /// Bytes of a file of our own.
    Span(Arc<File>, u64),
}

/// What is at a path after the change.
#[derive(Clone)]
struct Put {
    metadata: Metadata,
    body: Body,
    /// Paths with the same number are names of one file.
    group: Option<u64>,
    /// Whether whatever the base has below this path is gone.
    hides_base: bool,
}

#[derive(Clone)]
enum Change {
    Put(Put),
    Remove,
}

/// A layer in the making.
#[derive(Clone)]
pub(crate) struct Draft {
    base: Arc<dyn FileTree>,
    changes: BTreeMap<PathBuf, Change>,
    groups: u64,
}

impl Draft {
    /// Starts a layer upon `base`.
    pub(crate) fn new(base: Arc<dyn FileTree>) -> Self {
        Self { base, changes: BTreeMap::new(), groups: 0 }
    }

    /// Whether nothing was changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns a number for the names of one file.
    pub(crate) fn new_group(&mut self) -> u64 {
        self.groups += 1;
        self.groups
    }

    /// Puts something at `path`, whose parent exists, in place of what is there. A directory put upon
    /// a directory keeps what that holds.
    pub(crate) fn put(
        &mut self,
        path: &Path,
        metadata: Metadata,
        body: Body,
        group: Option<u64>,
    ) -> Result<(), TreeError> {
        let before = self.node(path)?;
        let merges =
            metadata.kind.is_directory() && before.as_ref().is_some_and(|node| node.metadata.kind.is_directory());
        if !merges && before.is_some() {
            self.remove_below(path);
        }
        let hides_base = match self.changes.get(path) {
            Some(Change::Put(put)) => put.hides_base || !merges,
            Some(Change::Remove) => true,
            None => !merges,
        };
        self.keep_parents(path)?;
        self.changes.insert(path.to_owned(), Change::Put(Put { metadata, body, group, hides_base }));
        Ok(())
    }

    /// Gives the directory or file at `path` other metadata, its content staying.
    pub(crate) fn describe(&mut self, path: &Path, metadata: Metadata) -> Result<(), TreeError> {
        if let Some(Change::Put(put)) = self.changes.get_mut(path) {
            put.metadata = metadata;
            return Ok(());
        }
        let Some(node) = self.base.node(path)? else { return Ok(()) };
        let body =
            if node.metadata.kind.is_file() { Body::Tree(self.base.clone(), Box::new(node)) } else { Body::None };
        self.put(path, metadata, body, None)
    }

    /// Removes `path` and all below it.
    pub(crate) fn remove(&mut self, path: &Path) -> Result<(), TreeError> {
        if self.node(path)?.is_none() {
            return Ok(());
        }
        self.remove_below(path);
        self.keep_parents(path)?;
        match self.visible_in_base(path)? {
            true => self.changes.insert(path.to_owned(), Change::Remove),
            false => self.changes.remove(path),
        };
        Ok(())
    }

    /// Forgets the changes below `path`.
    fn remove_below(&mut self, path: &Path) {
        let below: Vec<_> = self.range(path).map(|(path, _)| path.clone()).collect();
        for path in below {
            self.changes.remove(&path);
        }
    }

    /// Returns the changes strictly below `path`.
    fn range<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Change)> {
        let from = (std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded);
        self.changes.range::<Path, _>(from).take_while(move |(below, _)| below.starts_with(path))
    }

    /// A layer holds the directories above what it changes, with their metadata.
    fn keep_parents(&mut self, path: &Path) -> Result<(), TreeError> {
        let mut missing = Vec::new();
        for parent in path.ancestors().skip(1) {
            if parent.as_os_str().is_empty() || matches!(self.changes.get(parent), Some(Change::Put(_))) {
                break;
            }
            missing.push(parent.to_owned());
        }
        for parent in missing {
            let node = self.base.node(&parent)?.ok_or_else(|| TreeError::NotFound { path: parent.clone() })?;
            let put = Put { metadata: node.metadata, body: Body::None, group: None, hides_base: false };
            self.changes.insert(parent, Change::Put(put));
        }
        Ok(())
    }

    /// Whether the base's entry at `path` is not hidden by a change above it.
    fn shows_base(&self, path: &Path) -> bool {
        for parent in path.ancestors().skip(1) {
            match self.changes.get(parent) {
                Some(Change::Remove) => return false,
                Some(Change::Put(put)) if put.hides_base => return false,
                Some(Change::Put(_)) | None => {}
            }
        }
        true
    }

    fn visible_in_base(&self, path: &Path) -> Result<bool, TreeError> {
        Ok(self.shows_base(path) && self.base.node(path)?.is_some())
    }

    /// Writes the layer and returns the stream it was written to.
    pub(crate) fn write<W: Write>(self, out: W) -> Result<W, TreeError> {
        let mut writer = LayerWriter::new(out);
        let mut first_names: HashMap<u64, PathBuf> = HashMap::new();
        let mut hidden: Vec<PathBuf> = Vec::new();
        for (path, change) in &self.changes {
            match change {
                Change::Remove => writer.whiteout(path)?,
                Change::Put(put) => {
                    write_entry(&mut writer, path, put, &mut first_names)?;
                    if put.metadata.kind.is_directory() && put.hides_base && self.shows_base(path) {
                        hidden = self.hidden_children(path)?;
                    }
                    for child in hidden.drain(..) {
                        writer.whiteout(&child)?;
                    }
                }
            }
        }
        Ok(writer.finish()?)
    }

    /// Returns what a new directory hides of the directory that the base has in its place.
    fn hidden_children(&self, path: &Path) -> Result<Vec<PathBuf>, TreeError> {
        let was_directory = self.base.node(path)?.is_some_and(|node| node.metadata.kind.is_directory());
        if !was_directory {
            return Ok(Vec::new());
        }
        let children = self.base.children(path)?.into_iter().map(|node| node.path);
        Ok(children.filter(|child| !self.changes.contains_key(child)).collect())
    }
}

fn write_entry<W: Write>(
    writer: &mut LayerWriter<W>,
    path: &Path,
    put: &Put,
    first_names: &mut HashMap<u64, PathBuf>,
) -> Result<(), TreeError> {
    if !put.metadata.kind.is_file() {
        return Ok(writer.entry(path, &put.metadata)?);
    }
    if let Some(group) = put.group {
        if let Some(first) = first_names.get(&group) {
            return Ok(writer.hard_link(path, first, &put.metadata)?);
        }
        first_names.insert(group, path.to_owned());
    }
    let mut content = open(&put.body, put.metadata.size)?;
    Ok(writer.file(path, &put.metadata, &mut content)?)
}

fn open(body: &Body, size: u64) -> Result<Content, TreeError> {
    Ok(match body {
        Body::None => Box::new(std::io::empty()),
        Body::Bytes(bytes) => Box::new(std::io::Cursor::new(bytes.clone())),
        Body::Tree(tree, node) => tree.open(node)?,
        Body::Span(file, offset) => Box::new(Span { file: file.clone(), offset: *offset, left: size }),
    })
}

/// A part of a file, read without moving its cursor.
struct Span {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Span {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let wanted = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buf[..wanted], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

impl FileTree for Draft {
    fn node(&self, path: &Path) -> Result<Option<Node>, TreeError> {
        match self.changes.get(path) {
            Some(Change::Remove) => return Ok(None),
            Some(Change::Put(put)) => {
                let link = put.group.map(|inode| LinkId { device: u64::MAX, inode });
                return Ok(Some(Node { path: path.to_owned(), metadata: put.metadata.clone(), link, handle: 0 }));
            }
            None => {}
        }
        if self.shows_base(path) { self.base.node(path) } else { Ok(None) }
    }

    fn children(&self, path: &Path) -> Result<Vec<Node>, TreeError> {
        let hides = matches!(self.changes.get(path), Some(Change::Put(put)) if put.hides_base);
        let mut children: BTreeMap<PathBuf, Node> = BTreeMap::new();
        if !hides && self.shows_base(path) && self.base.node(path)?.is_some() {
            children.extend(self.base.children(path)?.into_iter().map(|node| (node.path.clone(), node)));
        }
        for (below, change) in self.range(path).filter(|(below, _)| below.parent() == Some(path)) {
            match change {
                Change::Remove => {
                    children.remove(below);
                }
                Change::Put(_) => {
                    let node = self.node(below)?.expect("a put path has a node");
                    children.insert(below.clone(), node);
                }
            }
        }
        Ok(children.into_values().collect())
    }

    fn open(&self, node: &Node) -> Result<Content, TreeError> {
        match self.changes.get(&node.path) {
            Some(Change::Put(put)) => open(&put.body, put.metadata.size),
            _ => self.base.open(node),
        }
    }

    fn file_digests(&self, nodes: &[&Node]) -> Result<Vec<Digest>, TreeError> {
        let digest = |node: &&Node| {
            let mut content = self.open(node)?;
            let mut hasher = rbuild_oci::Hasher::new();
            let mut buffer = vec![0; 64 << 10];
            loop {
                match content.read(&mut buffer).map_err(TreeError::io("reading", &node.path))? {
                    0 => return Ok(hasher.finish()),
                    read => hasher.update(&buffer[..read]),
                }
            }
        };
        nodes.iter().map(digest).collect()
    }
}

/// A tree with nothing in it.
pub(crate) struct Empty;

impl FileTree for Empty {
    fn node(&self, path: &Path) -> Result<Option<Node>, TreeError> {
        let root = || Node { path: PathBuf::new(), metadata: Metadata::directory(), link: None, handle: 0 };
        Ok(path.as_os_str().is_empty().then(root))
    }

    fn children(&self, _: &Path) -> Result<Vec<Node>, TreeError> {
        Ok(Vec::new())
    }

    fn open(&self, node: &Node) -> Result<Content, TreeError> {
        Err(TreeError::NotFound { path: node.path.clone() })
    }

    fn file_digests(&self, nodes: &[&Node]) -> Result<Vec<Digest>, TreeError> {
        match nodes.first() {
            Some(node) => Err(TreeError::NotFound { path: node.path.clone() }),
            None => Ok(Vec::new()),
        }
    }
}

/// Returns a directory's metadata.
pub(crate) fn directory(mode: u32, owner: (u32, u32), mtime: Time) -> Metadata {
    Metadata { uid: owner.0, gid: owner.1, mtime, ..Metadata::new(Kind::Directory, mode) }
}
