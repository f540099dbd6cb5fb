//! What a chain of layers shows, made as one directory.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rbuild_sys::root::{Dir, Root};
use rbuild_tree::{FileTree, Kind, LinkId, Node, TreeError};

use crate::attributes::{Attributes, Ids};
use crate::error::{Result, SnapshotError};
use crate::make::{self, Made, finish_file, node_of};
use crate::view::MergedView;

/// How files get into the new directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// As further names of the layers' own files, for reading only; copied where that cannot be.
    Linked,
    /// As copies that may be written.
    Copied,
}

/// Fills the empty directory `dest` with what `view` shows.
pub(crate) fn materialize(view: &MergedView, dest: &Path, files: Files, ids: Ids) -> Result<()> {
    let root = Root::open(dest).map_err(SnapshotError::io("opening", dest))?;
    let mut making = Making { view, root: &root, files, ids, first: HashMap::new() };
    let mut directories = Vec::new();
    let mut todo = vec![view.node(Path::new(""))?.expect("a view always has a root")];
    while let Some(directory) = todo.pop() {
        making.directory(&directory.path, &mut todo)?;
        directories.push(directory);
    }
    // A directory's time is set when nothing more is made in it.
    for Node { path, metadata, .. } in directories {
        let dir = root.open_dir_exact(&path).map_err(SnapshotError::entry("opening", &path))?;
        Attributes::from(&metadata).set_directory(ids, &dir, &path)?;
    }
    Ok(())
}

struct Making<'a> {
    view: &'a MergedView,
    root: &'a Root,
    files: Files,
    ids: Ids,
    /// The first name of each file with several.
    first: HashMap<LinkId, PathBuf>,
}

impl Making<'_> {
    fn directory(&mut self, path: &Path, todo: &mut Vec<Node>) -> Result<()> {
        let dir = self.root.open_dir_exact(path).map_err(SnapshotError::entry("opening", path))?;
        for node in self.view.children(path)? {
            let name = node.path.file_name().expect("children have names");
            if node.metadata.kind.is_directory() {
                dir.mkdir(name, 0o700).map_err(SnapshotError::entry("making", &node.path))?;
                todo.push(node);
            } else if !self.link(&dir, &node)? {
                self.make(&dir, &node)?;
            }
        }
        Ok(())
    }

    /// Makes another name of a file that is already here, or in its layer.
    fn link(&mut self, dir: &Dir, node: &Node) -> Result<bool> {
        let name = node.path.file_name().expect("children have names");
        if self.files == Files::Linked
            && let Some(layer) = self.view.tree_layer(node)
        {
            let own = layer.root().lookup_exact(&node.path).map_err(SnapshotError::entry("opening", &node.path))?;
            if dir.hard_link_fd(name, own.as_fd()).is_ok() {
                return Ok(true);
            }
        }
        let Some(link) = node.link else { return Ok(false) };
        let Some(first) = self.first.get(&link) else {
            self.first.insert(link, node.path.clone());
            return Ok(false);
        };
        let (parent, first_name) = (first.parent().unwrap_or(Path::new("")), first.file_name());
        let parent = self.root.open_dir_exact(parent).map_err(SnapshotError::entry("opening", first))?;
        let first_name = first_name.expect("files have names");
        dir.hard_link(name, &parent, first_name).map_err(SnapshotError::entry("linking", &node.path))?;
        Ok(true)
    }

    fn make(&self, dir: &Dir, node: &Node) -> Result<()> {
        let (path, metadata) = (&node.path, &node.metadata);
        let name = path.file_name().expect("children have names");
        let attributes = Attributes::from(metadata);
        let made = match &metadata.kind {
            Kind::File => return self.copy(dir, node, &attributes),
            Kind::Symlink(target) => make::symlink(dir, name, target, &attributes, self.ids, path)?,
            kind => match node_of(kind) {
                Some(node) => make::node(dir, name, node, &attributes, self.ids, path)?,
                None => return Ok(()),
            },
        };
        if made == Made::Taken {
            return Err(SnapshotError::refused(path, "its name is taken"));
        }
        Ok(())
    }

    fn copy(&self, dir: &Dir, node: &Node, attributes: &Attributes) -> Result<()> {
        let (path, name) = (&node.path, node.path.file_name().expect("children have names"));
        let mut file = dir.create(name, 0o600).map_err(SnapshotError::entry("making", path))?;
        let mut content = self.view.open(node)?;
        let copied = io::copy(&mut content, &mut file).map_err(TreeError::io("copying", path))?;
        if copied != node.metadata.size {
            return Err(TreeError::Changed { path: path.clone() }.into());
        }
        finish_file(&file, attributes, self.ids, path).map(drop)
    }
}
