//! What one tree has over another, as a layer: for results that are not built upon each other.
//!
//! A directory is compared by owner, mode and attributes; other things also by size and time and, where the times are
//! whole seconds, by content. The parents of what is different are part of the layer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_tree::{FileTree, LinkId, Metadata, Node, TreeError};

use crate::file::{Body, Draft};

/// Returns a layer that makes `upper` of `lower`; none if they are the same.
pub(super) fn difference(lower: &Arc<dyn FileTree>, upper: &Arc<dyn FileTree>) -> Result<Option<Draft>, TreeError> {
    let draft = Draft::new(lower.clone());
    let (written, groups) = (HashSet::new(), HashMap::new());
    let mut comparison = Comparison { lower, upper, draft, written, groups, todo: vec![PathBuf::new()] };
    while let Some(directory) = comparison.todo.pop() {
        comparison.directory(&directory)?;
    }
    let changed = !comparison.draft.is_empty();
    Ok(changed.then_some(comparison.draft))
}

struct Comparison<'a> {
    lower: &'a Arc<dyn FileTree>,
    upper: &'a Arc<dyn FileTree>,
    draft: Draft,
    /// The directories that the layer has.
    written: HashSet<PathBuf>,
    /// The names of one file, by the file's identity in the upper tree.
    groups: HashMap<LinkId, u64>,
    /// The directories of the upper tree to be compared.
    todo: Vec<PathBuf>,
}

impl Comparison<'_> {
    fn directory(&mut self, path: &Path) -> Result<(), TreeError> {
        let mut entries: BTreeMap<OsString, (Option<Node>, Option<Node>)> = BTreeMap::new();
        let name = |node: &Node| node.path.file_name().unwrap_or_default().to_owned();
        let is_directory = |node: &Node| node.metadata.kind.is_directory();
        if self.lower.node(path)?.is_some_and(|node| is_directory(&node)) {
            for node in self.lower.children(path)? {
                let name = name(&node);
                entries.entry(name).or_default().0 = Some(node);
            }
        }
        for node in self.upper.children(path)? {
            let name = name(&node);
            entries.entry(name).or_default().1 = Some(node);
        }
        for (lower, upper) in entries.into_values() {
            match (lower, upper) {
                (Some(gone), None) => {
                    self.parents(&gone.path)?;
                    self.draft.remove(&gone.path)?;
                }
                (lower, Some(upper)) => self.entry(lower.as_ref(), upper)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn entry(&mut self, lower: Option<&Node>, upper: Node) -> Result<(), TreeError> {
        let is_directory = upper.metadata.kind.is_directory();
        if is_directory {
            self.todo.push(upper.path.clone());
        }
        if lower.map_or(Ok(false), |lower| self.same(lower, &upper))? {
            return Ok(());
        }
        self.parents(&upper.path)?;
        if is_directory {
            self.written.insert(upper.path.clone());
        }
        let is_file = upper.metadata.kind.is_file();
        let draft = &mut self.draft;
        let group = upper.link.filter(|_| is_file);
        let group = group.map(|link| *self.groups.entry(link).or_insert_with(|| draft.new_group()));
        let (path, metadata) = (upper.path.clone(), upper.metadata.clone());
        let body = if is_file { Body::Tree(self.upper.clone(), Box::new(upper)) } else { Body::None };
        self.draft.put(&path, metadata, body, group)
    }

    fn same(&self, lower: &Node, upper: &Node) -> Result<bool, TreeError> {
        if !is_like(&lower.metadata, &upper.metadata) {
            return Ok(false);
        }
        let whole = |node: &Node| node.metadata.mtime.nanoseconds == 0;
        if !(upper.metadata.kind.is_file() && whole(lower) && whole(upper)) {
            return Ok(true);
        }
        Ok(self.lower.file_digests(&[lower])? == self.upper.file_digests(&[upper])?)
    }

    /// Puts the directories above a change into the layer as they are in the upper tree.
    fn parents(&mut self, path: &Path) -> Result<(), TreeError> {
        let above = path.ancestors().skip(1).take_while(|parent| !parent.as_os_str().is_empty());
        let missing: Vec<_> = above.take_while(|parent| !self.written.contains(*parent)).map(Path::to_owned).collect();
        for parent in missing.into_iter().rev() {
            if let Some(node) = self.upper.node(&parent)? {
                self.draft.describe(&parent, node.metadata)?;
            }
            self.written.insert(parent);
        }
        Ok(())
    }
}

fn is_like(a: &Metadata, b: &Metadata) -> bool {
    let attributes = a.kind == b.kind && (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid) && a.xattrs == b.xattrs;
    attributes && (a.kind.is_directory() || (a.size == b.size && a.mtime == b.mtime))
}
