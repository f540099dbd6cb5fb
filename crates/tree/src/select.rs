//! Choosing paths of a tree: resolution of links within the root, wildcards.

use std::path::{Path, PathBuf};

use crate::source::{FileTree, TreeError};

/// Whether the last component of a path is followed if it is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Only the components before the last.
    Parents,
    /// All components.
    All,
}

/// Returns the path without links that `path` means inside `tree`.
///
/// Absolute link targets start at the tree's root, `..` stops there. Components that do not exist are kept as
/// they are, so the result can name something yet to be made.
pub fn resolve(tree: &dyn FileTree, path: &Path, follow: Follow) -> Result<PathBuf, TreeError> {
    let _ = (tree, path, follow);
    unimplemented!()
}

/// Returns whether `text` holds a wildcard of Go's `filepath.Match`.
pub fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Returns the paths of `tree` that `pattern` matches segment by segment, sorted; links in parents are
/// followed, the matches themselves are not.
pub fn glob(tree: &dyn FileTree, pattern: &str) -> Result<Vec<PathBuf>, TreeError> {
    let _ = (tree, pattern);
    unimplemented!()
}
