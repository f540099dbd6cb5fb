//! What a host of a frontend asks of sources besides building upon them: files of a result, times.

use std::io::{BufReader, Read};
use std::path::Path;

use rbuild_graph::{pb, source};
use rbuild_tree::compress::decompress;
use rbuild_tree::select::{Follow, resolve};
use rbuild_tree::tar::newest_file;
use rbuild_tree::{FileTree, Node, TreeError};

use super::GitSource;
use crate::OpsError;
use crate::file::is_archive;
use crate::value::Ref;
use crate::worker::Worker;

impl Worker {
    /// Returns a regular file of a result, at most `limit` bytes and one; none if there is no such path. Links
    /// are followed inside the result. Blocks.
    ///
    /// # Errors
    /// If the path is not a file, or cannot be read.
    pub fn read_file(&self, value: &Ref, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, OpsError> {
        let tree = self.tree(&self.unwatched(), value)?;
        let Some(node) = file(&*tree, path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = tree.open(&node)?.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(TreeError::io("reading", path))?;
        Ok(Some(bytes))
    }

    /// Returns whether a file of a result is a tar, compressed or not. Blocks.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn is_archive(&self, value: &Ref, path: &Path) -> Result<bool, OpsError> {
        let tree = self.tree(&self.unwatched(), value)?;
        match file(&*tree, path)? {
            Some(node) => Ok(is_archive(&*tree, &node)?),
            None => Ok(false),
        }
    }

    /// Returns the time that a downloaded file carries, in seconds since 1970: that of its last modification as the
    /// server said, else of the newest file in it if it is an archive. Blocks.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn file_time(&self, value: &Ref, path: &Path) -> Result<Option<i64>, OpsError> {
        let tree = self.tree(&self.unwatched(), value)?;
        let Some(node) = file(&*tree, path)? else { return Ok(None) };
        if node.metadata.mtime != rbuild_tree::Time::EPOCH {
            return Ok(Some(node.metadata.mtime.seconds));
        }
        if !is_archive(&*tree, &node)? {
            return Ok(None);
        }
        let content = BufReader::with_capacity(64 << 10, tree.open(&node)?);
        let (_, plain) = decompress(content).map_err(TreeError::io("decompressing", path))?;
        Ok(newest_file(plain).map_err(TreeError::from)?)
    }

    /// Returns when the commit of a git source was made, in seconds since 1970; none for other sources.
    ///
    /// # Errors
    /// If the repository cannot be had.
    pub async fn commit_time(self: &std::sync::Arc<Self>, op: &pb::SourceOp) -> Result<Option<i64>, OpsError> {
        if !op.identifier.starts_with(source::GIT) {
            return Ok(None);
        }
        GitSource::new(self.clone(), op)?.commit_time().await.map(Some)
    }
}

fn file(tree: &dyn FileTree, path: &Path) -> Result<Option<Node>, OpsError> {
    let path = match resolve(tree, path, Follow::All) {
        Err(TreeError::NotFound { .. }) => return Ok(None),
        found => found?,
    };
    match tree.node(&path)? {
        None => Ok(None),
        Some(node) if node.metadata.kind.is_file() => Ok(Some(node)),
        Some(_) => Err(TreeError::Kind { path, wanted: "file" }.into()),
    }
}
