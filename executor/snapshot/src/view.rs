//! A chain of layers read as one tree, without a mount.
use std::path::{Path, PathBuf};

use rbuild_oci::Digest;
use rbuild_tree::{Content, FileTree, Node, TreeError};

use crate::error::SnapshotError;

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
pub struct MergedView {}

impl MergedView {
    /// Opens a chain, bottom first; no layers give an empty root.
    pub fn open(layers: &[LayerForm]) -> Result<Self, SnapshotError> {
        let _ = layers;
        unimplemented!()
    }
}

impl FileTree for MergedView {
    fn node(&self, path: &Path) -> Result<Option<Node>, TreeError> {
        let _ = path;
        unimplemented!()
    }
    fn children(&self, path: &Path) -> Result<Vec<Node>, TreeError> {
        let _ = path;
        unimplemented!()
    }
    fn open(&self, node: &Node) -> Result<Content, TreeError> {
        let _ = node;
        unimplemented!()
    }
    fn file_digests(&self, nodes: &[&Node]) -> Result<Vec<Digest>, TreeError> {
        let _ = nodes;
        unimplemented!()
    }
}
