//! What is in a result, as frontends ask: a file, a part of it, a list of names.

use std::io::Read;
use std::path::{Path, PathBuf};

use rbuild_tree::pattern::Matcher;
use rbuild_tree::select::{Follow, resolve};
use rbuild_tree::{FileTree, Node, TreeError};

use crate::OpsError;
use crate::value::Ref;
use crate::worker::Worker;

/// A part of a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRange {
    /// Where it begins.
    pub offset: u64,
    /// How long it is at most; the result is shorter where the file ends.
    pub length: u64,
}

impl Worker {
    /// Returns a regular file of a result or a part of it, at most `limit` bytes and one. Links are followed inside
    /// the result. Blocks.
    ///
    /// # Errors
    /// If there is no such path, if it is not a file, or cannot be read.
    pub fn read_range(
        &self,
        value: &Ref,
        path: &Path,
        range: Option<FileRange>,
        limit: u64,
    ) -> Result<Vec<u8>, OpsError> {
        read_range(&*self.tree(&self.unwatched(), value)?, path, range, limit)
    }

    /// Returns what is at a path of a result; links are followed inside the result. Blocks.
    ///
    /// # Errors
    /// If there is no such path.
    pub fn stat(&self, value: &Ref, path: &Path) -> Result<Node, OpsError> {
        stat(&*self.tree(&self.unwatched(), value)?, path)
    }

    /// Returns what is in a directory of a result, those names that match the pattern if there is one. Blocks.
    ///
    /// # Errors
    /// If there is no such directory, or the pattern is malformed.
    pub fn list(&self, value: &Ref, path: &Path, pattern: Option<&str>) -> Result<Vec<Node>, OpsError> {
        list(&*self.tree(&self.unwatched(), value)?, path, pattern)
    }
}

/// Returns a regular file of a tree or a part of it, at most `limit` bytes and one.
pub(crate) fn read_range(
    tree: &dyn FileTree,
    path: &Path,
    range: Option<FileRange>,
    limit: u64,
) -> Result<Vec<u8>, OpsError> {
    let node = find(tree, path, Follow::All)?;
    if !node.metadata.kind.is_file() {
        return Err(TreeError::Kind { path: path.to_owned(), wanted: "file" }.into());
    }
    let mut content = tree.open(&node)?;
    let mut bytes = Vec::new();
    let read = match range {
        None => content.take(limit.saturating_add(1)).read_to_end(&mut bytes),
        Some(range) => std::io::copy(&mut content.by_ref().take(range.offset), &mut std::io::sink())
            .and_then(|_| content.take(range.length.min(limit.saturating_add(1))).read_to_end(&mut bytes)),
    };
    read.map_err(TreeError::io("reading", path))?;
    Ok(bytes)
}

/// Returns what is in a directory of a tree, those names that match the pattern if there is one.
pub(crate) fn list(tree: &dyn FileTree, path: &Path, pattern: Option<&str>) -> Result<Vec<Node>, OpsError> {
    let directory = find(tree, path, Follow::All)?;
    if !directory.metadata.kind.is_directory() {
        return Err(TreeError::Kind { path: path.to_owned(), wanted: "directory" }.into());
    }
    let matcher = pattern.map(|pattern| Matcher::new(&[pattern.to_owned()]).map_err(TreeError::from)).transpose()?;
    let named = |node: &Node| node.path.file_name().map(PathBuf::from).unwrap_or_default();
    let nodes = tree.children(&directory.path)?.into_iter();
    Ok(nodes.filter(|node| matcher.as_ref().is_none_or(|matcher| matcher.matches(&named(node)))).collect())
}

/// Returns what is at a path of a tree.
pub(crate) fn stat(tree: &dyn FileTree, path: &Path) -> Result<Node, OpsError> {
    find(tree, path, Follow::All)
}

fn find(tree: &dyn FileTree, path: &Path, follow: Follow) -> Result<Node, OpsError> {
    let missing = || OpsError::from(TreeError::NotFound { path: path.to_owned() });
    let found = resolve(tree, path, follow)?;
    tree.node(&found)?.ok_or_else(missing)
}
