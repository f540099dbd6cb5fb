//! Content digests: what a step that copies or reads files depends on.

use std::path::PathBuf;

use rbuild_oci::Digest;

use crate::pattern::Matcher;
use crate::source::{FileTree, TreeError};

/// One source path of a step, as the digest sees it.
#[derive(Debug, Clone)]
pub struct Selection<'a> {
    /// The path or pattern.
    pub path: String,
    /// Whether wildcards in `path` are expanded.
    pub wildcard: bool,
    /// Whether a selected path that is a link means its target.
    pub follow: bool,
    /// Paths below the selection (relative to it) that do not count.
    pub exclude: Option<&'a Matcher>,
}

/// Owner seen by the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// As in the tree.
    Kept,
    /// Always 0:0, as a build context is sent.
    Root,
}

/// Returns one digest of everything that `selections` choose, or an error if a path without wildcards
/// chooses nothing.
pub fn digest(tree: &dyn FileTree, selections: &[Selection<'_>], owner: Owner) -> Result<Digest, TreeError> {
    let _ = (tree, selections, owner);
    let _: Option<PathBuf> = None;
    unimplemented!()
}
