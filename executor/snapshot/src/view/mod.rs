//! A chain of layers read as one tree, without a mount.
//!
//! The rules are overlayfs': from the top down, the first layer that has a name decides; directories merge until a
//! layer has something else there, a whiteout, or an opaque directory. A directory that a layer only implied shows the
//! attributes of the layers below.

mod tar;
mod tree;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_oci::{Digest, Hasher};
use rbuild_tree::{Content, FileTree, Kind, LinkId, Metadata, Node, TreeError};

use crate::error::Result;
use crate::overlay::Found;
use tar::TarLayer;
pub(crate) use tree::TreeLayer;

/// How many directories are remembered.
const REMEMBERED: usize = 1 << 16;
/// Threads that hash files.
const HASHING: usize = 2;

/// Where a layer of a chain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerForm {
    /// A directory in overlay format (`layers/<id>/fs`).
    Tree(PathBuf),
    /// An uncompressed layer tar.
    Blob(PathBuf),
}

/// The tree that a chain of layers shows.
#[derive(Debug)]
pub struct MergedView {
    /// Top first.
    layers: Vec<Layer>,
    directories: Mutex<HashMap<PathBuf, Option<Parts>>>,
}

/// The layers that a directory is merged from, top first.
type Parts = Arc<[usize]>;

#[derive(Debug)]
enum Layer {
    Tree(TreeLayer),
    Tar(TarLayer),
}

impl MergedView {
    /// Opens a chain, bottom first; no layers give an empty root.
    pub fn open(layers: &[LayerForm]) -> Result<Self> {
        let open = |form: &LayerForm| match form {
            LayerForm::Tree(path) => TreeLayer::open(path).map(Layer::Tree),
            LayerForm::Blob(path) => TarLayer::open(path).map(Layer::Tar),
        };
        let layers = layers.iter().rev().map(open).collect::<Result<_>>()?;
        Ok(Self { layers, directories: Mutex::default() })
    }

    /// Returns the tree layer that a node of this view comes from.
    pub(crate) fn tree_layer(&self, node: &Node) -> Option<&TreeLayer> {
        match usize::try_from(node.handle).ok().and_then(|layer| self.layers.get(layer))? {
            Layer::Tree(tree) => Some(tree),
            Layer::Tar(_) => None,
        }
    }

    /// Returns the directories, but the root, that look otherwise here than in a mount of the same tree layers:
    /// the upmost layer that has them only implied them.
    pub(crate) fn implied(&self) -> std::result::Result<Vec<Node>, TreeError> {
        let mut paths = std::collections::BTreeSet::new();
        for layer in &self.layers {
            if let Layer::Tree(tree) = layer {
                paths.extend(tree.implied().map_err(TreeError::io("listing", Path::new("/")))?);
            }
        }
        let mut nodes = Vec::new();
        for path in paths {
            let Some(node) = self.node(&path)?.filter(|node| node.metadata.kind.is_directory()) else { continue };
            let top = usize::try_from(node.handle).map(|layer| self.find(layer, &path));
            if let Ok(Ok(Some(Found::Entry { implied: true, .. }))) = top {
                nodes.push(node);
            }
        }
        Ok(nodes)
    }

    /// Returns the layers that the directory at `path` is merged from; none if there is no directory.
    fn parts(&self, path: &Path) -> std::result::Result<Option<Parts>, TreeError> {
        if let Some(known) = self.remembered().get(path) {
            return Ok(known.clone());
        }
        rbuild_tree::check_length(path)?;
        let parts = match path.parent() {
            None => self.merge(path, 0..self.layers.len())?,
            Some(parent) => match self.parts(parent)? {
                Some(above) => self.merge(path, above.iter().copied())?,
                None => None,
            },
        };
        let mut directories = self.remembered();
        if directories.len() >= REMEMBERED {
            directories.clear();
        }
        directories.insert(path.to_owned(), parts.clone());
        Ok(parts)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Option<Parts>>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn merge(&self, path: &Path, layers: impl Iterator<Item = usize>) -> std::result::Result<Option<Parts>, TreeError> {
        let is_root = path.as_os_str().is_empty();
        let mut parts = Vec::new();
        for layer in layers {
            match self.find(layer, path)? {
                None => {}
                Some(Found::Entry { metadata, opaque, .. }) if metadata.kind.is_directory() => {
                    parts.push(layer);
                    if opaque {
                        break;
                    }
                }
                Some(_) => break,
            }
        }
        Ok((is_root || !parts.is_empty()).then(|| parts.into()))
    }

    fn find(&self, layer: usize, path: &Path) -> std::result::Result<Option<Found>, TreeError> {
        match &self.layers[layer] {
            Layer::Tree(tree) => tree.find(path).map_err(TreeError::io("reading in a layer", path)),
            Layer::Tar(tar) => Ok(tar.find(path)),
        }
    }

    /// Returns the attributes of a directory whose upmost part is `top`, seen through implied parts.
    fn described(&self, path: &Path, top: Metadata) -> std::result::Result<Metadata, TreeError> {
        for layer in self.parts(path)?.iter().flat_map(|parts| parts.iter().copied()) {
            if let Some(Found::Entry { metadata, implied: false, .. }) = self.find(layer, path)? {
                return Ok(metadata);
            }
        }
        Ok(top)
    }

    fn make_node(&self, layer: usize, path: PathBuf, found: Found) -> std::result::Result<Option<Node>, TreeError> {
        let Found::Entry { mut metadata, implied, inode, links, .. } = found else { return Ok(None) };
        if implied {
            metadata = self.described(&path, metadata)?;
        }
        let link = (links > 1 && !metadata.kind.is_directory()).then(|| match self.layers[layer] {
            Layer::Tree(_) => LinkId { device: inode.0, inode: inode.1 },
            // A tar has no device; no real one has a number like this.
            Layer::Tar(_) => LinkId { device: u64::MAX - layer as u64, inode: inode.1 },
        });
        Ok(Some(Node { path, metadata, link, handle: layer as u64 }))
    }

    fn hash(&self, node: &Node, buffer: &mut [u8]) -> std::result::Result<Digest, TreeError> {
        let mut content = self.open(node)?;
        let mut hasher = Hasher::new();
        loop {
            match content.read(buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TreeError::io("reading", &node.path)(error)),
            }
        }
    }
}

impl FileTree for MergedView {
    fn node(&self, path: &Path) -> std::result::Result<Option<Node>, TreeError> {
        let Some(parent) = path.parent() else {
            let top = self.described(path, Metadata::directory())?;
            return Ok(Some(Node { path: PathBuf::new(), metadata: top, link: None, handle: u64::MAX }));
        };
        let Some(parts) = self.parts(parent)? else { return Ok(None) };
        for layer in parts.iter().copied() {
            if let Some(found) = self.find(layer, path)? {
                return self.make_node(layer, path.to_owned(), found);
            }
        }
        Ok(None)
    }

    fn children(&self, path: &Path) -> std::result::Result<Vec<Node>, TreeError> {
        let not_found = || TreeError::NotFound { path: path.to_owned() };
        let parts = self.parts(path)?.ok_or_else(not_found)?;
        let mut merged: BTreeMap<OsString, (usize, Found)> = BTreeMap::new();
        for layer in parts.iter().copied() {
            let names = match &self.layers[layer] {
                Layer::Tree(tree) => tree.list(path).map_err(TreeError::io("listing a layer at", path))?,
                Layer::Tar(tar) => tar.list(path),
            };
            for (name, found) in names {
                merged.entry(name).or_insert((layer, found));
            }
        }
        let nodes = merged.into_iter().map(|(name, (layer, found))| self.make_node(layer, path.join(name), found));
        nodes.filter_map(std::result::Result::transpose).collect()
    }

    fn open(&self, node: &Node) -> std::result::Result<Content, TreeError> {
        if node.metadata.kind != Kind::File {
            return Err(TreeError::Kind { path: node.path.clone(), wanted: "regular file" });
        }
        let missing = || TreeError::NotFound { path: node.path.clone() };
        let layer = usize::try_from(node.handle).ok().and_then(|layer| self.layers.get(layer)).ok_or_else(missing)?;
        match layer {
            Layer::Tree(tree) => {
                let file = tree.open_file(&node.path).map_err(TreeError::io("opening", &node.path))?;
                Ok(Box::new(file.take(node.metadata.size)))
            }
            Layer::Tar(tar) => tar.content(&node.path).ok_or_else(missing),
        }
    }

    fn file_digests(&self, nodes: &[&Node]) -> std::result::Result<Vec<Digest>, TreeError> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut buffer = vec![0; 256 * 1024];
            let mut digests = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(node) = nodes.get(at) else { return Ok::<_, TreeError>(digests) };
                digests.push((at, self.hash(node, &mut buffer)?));
            }
        };
        let threads = HASHING.min(nodes.len().div_ceil(16));
        let mut digests: Vec<(usize, Digest)> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = work()?;
            for thread in others {
                all.append(&mut thread.join().expect("a hashing thread panicked")?);
            }
            Ok::<_, TreeError>(all)
        })?;
        digests.sort_unstable_by_key(|(at, _)| *at);
        Ok(digests.into_iter().map(|(_, digest)| digest).collect())
    }
}
