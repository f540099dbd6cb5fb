//! The build context read in place: a filtered listing and the memory of content digests.
use std::path::{Path, PathBuf};

use rbuild_oci::Digest;
use rbuild_sys::root::Root;

use crate::entry::Node;
use crate::pattern::Matcher;
use crate::source::{Content, FileTree, TreeError};

/// The remembered digests of a context directory, kept in one file.
#[derive(Debug, Default)]
pub struct ContextIndex {}

impl ContextIndex {
    /// Reads the index at `path`; a missing, old or damaged file gives an empty index.
    pub fn load(path: &Path) -> Self {
        let _ = path;
        Self {}
    }
}

/// The entries of a context, sorted so that a directory stands right before what it holds.
#[derive(Debug)]
pub struct Listing {
    root: PathBuf,
}

/// Lists `root` without what `ignore` matches.
///
/// Owners are those on disk; a context is copied as 0:0, which is the copying step's business.
pub fn scan(root: &Path, ignore: &Matcher, index: ContextIndex, threads: usize) -> Result<Listing, TreeError> {
    let _ = (ignore, index, threads);
    let _ = Root::open(root);
    unimplemented!()
}

impl Listing {
    /// Returns all entries.
    pub fn entries(&self) -> &[Node] {
        let _ = &self.root;
        unimplemented!()
    }

    /// Writes what is now known of digests to `path`, atomically.
    pub fn save_index(&self, path: &Path) -> Result<(), TreeError> {
        let _ = path;
        unimplemented!()
    }
}

impl FileTree for Listing {
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
