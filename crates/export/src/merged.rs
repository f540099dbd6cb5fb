//! The files of several platforms and their attestations as one tree.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use rbuild_oci::Digest;
use rbuild_tree::{Content, FileTree, LinkId, Metadata, Node, Time, TreeError};

use crate::ExportError;

/// Files that come from one place.
pub(crate) struct Source {
    /// What they are called in errors.
    pub(crate) name: String,
    /// The directory that they are put into; none is the top.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) tree: Box<dyn FileTree>,
    /// Files beside those of the tree, by name.
    pub(crate) extra: BTreeMap<PathBuf, Bytes>,
    /// The time that all files get, in seconds since 1970.
    pub(crate) epoch: Option<i64>,
}

/// Several sources as one tree. A node's handle says which source it is of; a directory may be of several.
pub(crate) struct Merged {
    sources: Vec<Source>,
}

/// A place in one source.
enum Inside<'a> {
    /// The source lies in a folder below.
    Above(&'a Path),
    At(&'a Path),
}

impl Source {
    /// Says where `path` is in this source, if it can be there.
    fn inside<'a>(&'a self, path: &'a Path) -> Option<Inside<'a>> {
        let Some(folder) = &self.folder else { return Some(Inside::At(path)) };
        match path.strip_prefix(folder) {
            Ok(path) => Some(Inside::At(path)),
            Err(_) => folder.strip_prefix(path).ok().map(Inside::Above),
        }
    }

    fn folder(&self, path: PathBuf) -> Node {
        let mtime = Time::from_seconds(self.epoch.unwrap_or(0));
        Node { path, metadata: Metadata { mtime, ..Metadata::directory() }, link: None, handle: 0 }
    }

    fn extra(&self, path: &Path) -> Option<Node> {
        let bytes = self.extra.get(path)?;
        let mtime = Time::from_seconds(self.epoch.unwrap_or(0));
        let metadata = Metadata { mtime, mode: 0o600, ..Metadata::file(bytes.len() as u64) };
        Some(Node { path: path.to_owned(), metadata, link: None, handle: 0 })
    }

    fn children(&self, path: &Path) -> Result<Vec<Node>, TreeError> {
        match self.inside(path) {
            None => Ok(Vec::new()),
            Some(Inside::Above(rest)) => {
                let next = rest.components().next().map(Component::as_os_str).unwrap_or_default();
                Ok(vec![self.folder(path.join(next))])
            }
            Some(Inside::At(inner)) => {
                let mut nodes = match self.tree.node(inner)? {
                    Some(node) if node.metadata.kind.is_directory() => self.tree.children(inner)?,
                    _ => Vec::new(),
                };
                let here = self.extra.keys().filter(|extra| extra.parent() == Some(inner));
                let extra: Vec<_> = here.filter_map(|extra| self.extra(extra)).collect();
                nodes.retain(|node| !extra.iter().any(|extra| extra.path == node.path));
                nodes.extend(extra);
                Ok(nodes.into_iter().map(|node| self.outer(node)).collect())
            }
        }
    }

    fn node(&self, path: &Path) -> Result<Option<Node>, TreeError> {
        match self.inside(path) {
            None => Ok(None),
            Some(Inside::Above(_)) => Ok(Some(self.folder(path.to_owned()))),
            Some(Inside::At(inner)) if inner.as_os_str().is_empty() && self.folder.is_some() => {
                Ok(Some(self.folder(path.to_owned())))
            }
            Some(Inside::At(inner)) => {
                let found = match self.extra(inner) {
                    Some(extra) => Some(extra),
                    None => self.tree.node(inner)?,
                };
                Ok(found.map(|node| self.outer(node)))
            }
        }
    }

    /// Puts a node of the tree into the folder and at its time.
    fn outer(&self, node: Node) -> Node {
        let mut node = node;
        if let Some(folder) = &self.folder {
            node.path = if node.path.as_os_str().is_empty() { folder.clone() } else { folder.join(&node.path) };
        }
        if let Some(epoch) = self.epoch {
            node.metadata.mtime = Time::from_seconds(epoch);
        }
        node
    }

    /// Returns the node of the tree for one of ours, asked for anew: handles mean nothing outside of it.
    fn inner(&self, node: &Node) -> Result<Option<Node>, TreeError> {
        match self.inside(&node.path) {
            Some(Inside::At(inner)) => self.tree.node(inner),
            _ => Ok(None),
        }
    }
}

impl Merged {
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        Self { sources }
    }

    /// Checks that no two sources have a file of the same path.
    pub(crate) fn check(&self) -> Result<(), ExportError> {
        let mut seen: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for (position, source) in self.sources.iter().enumerate() {
            let mut waiting = vec![PathBuf::new()];
            while let Some(path) = waiting.pop() {
                for node in source.children(&path)? {
                    if node.metadata.kind.is_directory() {
                        waiting.push(node.path);
                    } else if let Some(first) = seen.insert(node.path.clone(), position) {
                        return Err(ExportError::Output(format!(
                            "cannot overwrite {} from {} with {} when split option is disabled",
                            node.path.display(),
                            self.sources[first].name,
                            source.name
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    fn source(&self, node: &Node) -> Result<(&Source, Node), TreeError> {
        let missing = || TreeError::Io {
            action: "opening",
            path: node.path.clone(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let source = usize::try_from(node.handle).ok().and_then(|position| self.sources.get(position));
        let source = source.ok_or_else(missing)?;
        let inner = source.inner(node)?.ok_or_else(missing)?;
        Ok((source, inner))
    }

    fn extra(&self, node: &Node) -> Option<&Bytes> {
        let source = self.sources.get(usize::try_from(node.handle).ok()?)?;
        match source.inside(&node.path)? {
            Inside::At(inner) => source.extra.get(inner),
            Inside::Above(_) => None,
        }
    }
}

/// Tells nodes of one source from those of others; links join files of one source only.
fn marked(position: usize, mut node: Node) -> Node {
    node.handle = position as u64;
    node.link = node.link.map(|link| LinkId { device: link.device ^ ((position as u64) << 48), inode: link.inode });
    node
}

impl FileTree for Merged {
    fn node(&self, path: &Path) -> Result<Option<Node>, TreeError> {
        for (position, source) in self.sources.iter().enumerate() {
            if let Some(node) = source.node(path)? {
                return Ok(Some(marked(position, node)));
            }
        }
        Ok(None)
    }

    fn children(&self, path: &Path) -> Result<Vec<Node>, TreeError> {
        let mut merged: BTreeMap<PathBuf, Node> = BTreeMap::new();
        for (position, source) in self.sources.iter().enumerate() {
            for node in source.children(path)? {
                merged.entry(node.path.clone()).or_insert_with(|| marked(position, node));
            }
        }
        Ok(merged.into_values().collect())
    }

    fn open(&self, node: &Node) -> Result<Content, TreeError> {
        if let Some(bytes) = self.extra(node) {
            return Ok(Box::new(Cursor::new(bytes.clone())));
        }
        let (source, inner) = self.source(node)?;
        source.tree.open(&inner)
    }

    fn file_digests(&self, nodes: &[&Node]) -> Result<Vec<Digest>, TreeError> {
        let digest = |node: &&Node| match self.extra(node) {
            Some(bytes) => Ok(Digest::of(bytes)),
            None => {
                let (source, inner) = self.source(node)?;
                Ok(source.tree.file_digests(&[&inner])?[0])
            }
        };
        nodes.iter().map(digest).collect()
    }
}
