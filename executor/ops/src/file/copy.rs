//! The copy action: files of one tree into a draft, with the rules that COPY and ADD have.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_graph::pb;
use rbuild_tree::pattern::{Matcher, ParentMatch};
use rbuild_tree::select::{self, Follow, resolve};
use rbuild_tree::{FileTree, Kind, LinkId, Metadata, Node, Time, TreeError};

use super::archive;
use super::draft::{Body, Draft, directory};
use super::mode::Mode;
use super::{FileError, Owners, rooted};

/// A copy action with everything looked up.
pub(crate) struct Copy<'a> {
    pub(crate) action: &'a pb::FileActionCopy,
    /// The owner of all that is copied; none keeps the source's.
    pub(crate) owner: Option<(u32, u32)>,
    /// Whether owners of the source count as root: a build context has none.
    pub(crate) source_owners: Owners,
    /// Where archives are unpacked to before they are read.
    pub(crate) scratch: &'a Path,
}

impl Copy<'_> {
    /// Copies from `source` into `draft`.
    pub(crate) fn run(&self, source: &Arc<dyn FileTree>, draft: &mut Draft) -> Result<(), FileError> {
        let action = self.action;
        if !action.create_dest_path {
            let target = resolve(draft, &rooted(&action.dest), Follow::All)?;
            let parent = target.parent().unwrap_or(Path::new("")).to_owned();
            draft.node(&parent)?.ok_or(TreeError::NotFound { path: parent })?;
        }
        let missing = |error| match error {
            FileError::Tree(TreeError::NotFound { path }) => FileError::Missing(path),
            error => error,
        };
        self.copy(source, draft).map_err(missing)
    }

    fn copy(&self, source: &Arc<dyn FileTree>, draft: &mut Draft) -> Result<(), FileError> {
        let action = self.action;
        for path in self.sources(&**source)? {
            if action.attempt_unpack_docker_compatibility && self.unpack(&**source, &path, draft)? {
                continue;
            }
            Walk::new(self, source, draft)?.copy(&path)?;
        }
        Ok(())
    }

    /// Returns the source paths: one, or what the pattern matches.
    fn sources(&self, tree: &dyn FileTree) -> Result<Vec<PathBuf>, FileError> {
        let path = rooted(&self.action.src);
        let text = path.to_string_lossy();
        if !self.action.allow_wildcard || !select::has_wildcard(&text) {
            return Ok(vec![path]);
        }
        let found = select::glob(tree, &text)?;
        if found.is_empty() && !self.action.allow_empty_wildcard {
            return Err(TreeError::NotFound { path }.into());
        }
        Ok(found)
    }

    fn follow(&self) -> Follow {
        if self.action.follow_symlink { Follow::All } else { Follow::Parents }
    }

    /// Unpacks the source if it is an archive; returns whether it was.
    fn unpack(&self, tree: &dyn FileTree, path: &Path, draft: &mut Draft) -> Result<bool, FileError> {
        let path = resolve(tree, path, Follow::All)?;
        let Some(node) = tree.node(&path)?.filter(|node| node.metadata.kind.is_file()) else { return Ok(false) };
        if !archive::is_archive(tree, &node)? {
            return Ok(false);
        }
        let dest = resolve(draft, &rooted(&self.action.dest), Follow::All)?;
        self.make_directories(draft, &dest, 0o755, &node)?;
        archive::unpack(tree, &node, draft, &dest, self.owner, self.scratch)?;
        Ok(true)
    }

    fn made_owner(&self) -> (u32, u32) {
        self.owner.unwrap_or((0, 0))
    }

    /// Makes `path` and its missing parents on the way to the destination of `source`. They take its time:
    /// with the clock's, the same files would give another layer each time they are copied.
    fn make_directories(&self, draft: &mut Draft, path: &Path, mode: u32, source: &Node) -> Result<(), FileError> {
        let time = timestamp(self.action.timestamp).unwrap_or(source.metadata.mtime);
        make_directories(draft, path, &directory(mode, self.made_owner(), time))
    }

    /// The mode of directories made on the way to the destination.
    fn made_mode(&self) -> u32 {
        if self.action.mode_str.is_empty() { u32::try_from(self.action.mode).unwrap_or(0o755) } else { 0o755 }
    }

    /// Makes what the destination's text says is a directory, and resolves it.
    fn destination(&self, draft: &mut Draft, source: &Node) -> Result<PathBuf, FileError> {
        let dest = &self.action.dest;
        let is_directory = dest.ends_with('/') || dest.ends_with("/.") || dest == "." || dest.is_empty();
        let path = rooted(dest);
        let ensured = if is_directory { Some(path.as_path()) } else { path.parent() };
        if let Some(ensured) = ensured {
            let ensured = resolve(draft, ensured, Follow::All)?;
            self.make_directories(draft, &ensured, self.made_mode(), source)?;
        }
        Ok(resolve(draft, &path, Follow::All)?)
    }
}

/// Makes `path` and its missing parents as `metadata` says.
pub(crate) fn make_directories(draft: &mut Draft, path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
        match draft.node(ancestor)? {
            Some(node) if node.metadata.kind.is_directory() => break,
            Some(_) => return Err(FileError::NotDirectory(ancestor.to_owned())),
            None => missing.push(ancestor.to_owned()),
        }
    }
    for ancestor in missing.iter().rev() {
        draft.put(ancestor, metadata.clone(), Body::None, None)?;
    }
    Ok(())
}

/// Returns the time of a timestamp in nanoseconds, of which -1 is none.
pub(crate) fn timestamp(nanoseconds: i64) -> Option<Time> {
    const SECOND: i64 = 1_000_000_000;
    (nanoseconds != -1)
        .then(|| Time { seconds: nanoseconds.div_euclid(SECOND), nanoseconds: nanoseconds.rem_euclid(SECOND) as u32 })
}

/// What the filters say about a path.
#[derive(Clone, Default)]
struct Filtered {
    include: ParentMatch,
    exclude: ParentMatch,
}

/// A directory that is made once something in it is copied.
struct Delayed {
    node: Node,
    target: PathBuf,
    made: bool,
}

/// One source on its way into the draft.
struct Walk<'a> {
    copy: &'a Copy<'a>,
    source: &'a Arc<dyn FileTree>,
    draft: &'a mut Draft,
    mode: Mode,
    include: Option<Matcher>,
    exclude: Option<Matcher>,
    parents: Vec<Delayed>,
    names: HashMap<LinkId, u64>,
}

impl<'a> Walk<'a> {
    fn new(copy: &'a Copy<'a>, source: &'a Arc<dyn FileTree>, draft: &'a mut Draft) -> Result<Self, FileError> {
        let action = copy.action;
        let mode = match (action.mode_str.as_str(), u32::try_from(action.mode)) {
            ("", Ok(bits)) => Mode::Octal(bits & 0o7777),
            ("", Err(_)) => Mode::Kept,
            (text, _) => Mode::symbolic(text).map_err(FileError::Mode)?,
        };
        let matcher = |patterns: &[String]| -> Result<Option<Matcher>, FileError> {
            if patterns.is_empty() { Ok(None) } else { Ok(Some(Matcher::new(patterns).map_err(TreeError::from)?)) }
        };
        let (include, exclude) = (matcher(&action.include_patterns)?, matcher(&action.exclude_patterns)?);
        Ok(Self { copy, source, draft, mode, include, exclude, parents: Vec::new(), names: HashMap::new() })
    }

    fn copy(&mut self, path: &Path) -> Result<(), FileError> {
        let copy = self.copy;
        self.check_required()?;
        let followed = resolve(&**self.source, path, copy.follow())?;
        let node = self.source.node(&followed)?.ok_or_else(|| TreeError::NotFound { path: path.to_owned() })?;
        let mut target = copy.destination(self.draft, &node)?;
        let existing = self.draft.node(&target)?;
        let onto_directory = existing.as_ref().is_some_and(|node| node.metadata.kind.is_directory());
        let is_directory = node.metadata.kind.is_directory();
        if (!copy.action.dir_copy_contents && is_directory && existing.is_some()) || (!is_directory && onto_directory) {
            target.push(path.file_name().unwrap_or_default());
        }
        let contents_only = copy.action.dir_copy_contents && is_directory && existing.is_none();
        let made = if contents_only { Some(target.as_path()) } else { target.parent() };
        if let Some(made) = made {
            copy.make_directories(self.draft, made, copy.made_mode(), &node)?;
        }
        self.entry(&node, Path::new(""), &target, false, &Filtered::default())
    }

    /// `--parents` without wildcards: each path must be there.
    fn check_required(&self) -> Result<(), FileError> {
        for path in &self.copy.action.required_paths {
            let path = rooted(path);
            let found = resolve(&**self.source, &path, Follow::All)?;
            let missing = || FileError::Required(TreeError::NotFound { path: path.clone() });
            self.source.node(&found)?.ok_or_else(missing)?;
        }
        Ok(())
    }

    /// Copies `node` to `target`; `below` is its path from the source that was named.
    fn entry(
        &mut self,
        node: &Node,
        below: &Path,
        target: &Path,
        overwrite: bool,
        parent: &Filtered,
    ) -> Result<(), FileError> {
        let (included, excluded, filtered) = self.filter(below, parent);
        let is_directory = node.metadata.kind.is_directory();
        if !included && (!is_directory || (self.include.is_none() && excluded && self.prunes(below))) {
            return Ok(());
        }
        if included {
            self.make_way(node, target)?;
            self.make_parents(overwrite)?;
        }
        if is_directory {
            return self.directory(node, below, target, overwrite, included, &filtered);
        }
        if self.draft.node(target)?.is_some_and(|node| node.metadata.kind.is_directory()) {
            return Err(FileError::FileOverDirectory(target.to_owned()));
        }
        self.file(node, target)
    }

    fn prunes(&self, below: &Path) -> bool {
        self.exclude.as_ref().is_some_and(|exclude| exclude.prunes(below))
    }

    /// Returns whether a path is copied, whether it is excluded, and what its children inherit.
    fn filter(&self, below: &Path, parent: &Filtered) -> (bool, bool, Filtered) {
        let mut filtered = Filtered::default();
        if below.as_os_str().is_empty() {
            return (true, false, filtered);
        }
        let mut included = true;
        if let Some(include) = &self.include {
            (included, filtered.include) = include.matches_below(below, &parent.include);
        }
        let mut excluded = false;
        if let Some(exclude) = &self.exclude {
            (excluded, filtered.exclude) = exclude.matches_below(below, &parent.exclude);
        }
        (included && !excluded, excluded, filtered)
    }

    /// Removes what is in the way of something of another kind, if the action asks for it.
    fn make_way(&mut self, node: &Node, target: &Path) -> Result<(), FileError> {
        if !self.copy.action.always_replace_existing_dest_paths {
            return Ok(());
        }
        let both = node.metadata.kind.is_directory();
        match self.draft.node(target)? {
            Some(existing) if !(both && existing.metadata.kind.is_directory()) => Ok(self.draft.remove(target)?),
            _ => Ok(()),
        }
    }

    fn make_parents(&mut self, overwrite: bool) -> Result<(), FileError> {
        for index in 0..self.parents.len() {
            let parent = &mut self.parents[index];
            if std::mem::replace(&mut parent.made, true) {
                continue;
            }
            let (node, target) = (parent.node.clone(), parent.target.clone());
            self.make_directory(&node, &target, overwrite, false)?;
        }
        Ok(())
    }

    fn directory(
        &mut self,
        node: &Node,
        below: &Path,
        target: &Path,
        overwrite: bool,
        included: bool,
        filtered: &Filtered,
    ) -> Result<(), FileError> {
        if included {
            self.make_directory(node, target, overwrite, true)?;
        }
        self.parents.push(Delayed { node: node.clone(), target: target.to_owned(), made: included });
        for child in self.source.children(&node.path)? {
            let name = child.path.file_name().unwrap_or_default();
            self.entry(&child, &below.join(name), &target.join(name), true, filtered)?;
        }
        self.parents.pop();
        Ok(())
    }

    /// Makes the directory `target` like `node`, or gives an existing one its metadata.
    fn make_directory(&mut self, node: &Node, target: &Path, overwrite: bool, included: bool) -> Result<(), FileError> {
        let metadata = self.metadata(node);
        match self.draft.node(target)? {
            None => Ok(self.draft.put(target, metadata, Body::None, None)?),
            Some(_) if target.as_os_str().is_empty() => Ok(()),
            Some(existing) if !existing.metadata.kind.is_directory() => Err(FileError::NotDirectory(target.to_owned())),
            Some(_) if overwrite && included => Ok(self.draft.describe(target, metadata)?),
            Some(existing) if included => {
                let kept = Metadata { mtime: metadata.mtime, ..existing.metadata };
                Ok(self.draft.describe(target, kept)?)
            }
            Some(_) => Ok(()),
        }
    }

    fn file(&mut self, node: &Node, target: &Path) -> Result<(), FileError> {
        let mut metadata = self.metadata(node);
        // A socket has no form in a layer; what listened on it does not run in the image either.
        if metadata.kind == Kind::Socket {
            metadata.kind = Kind::File;
        }
        let is_file = node.metadata.kind.is_file();
        let group = node.link.filter(|_| is_file).map(|link| {
            let draft = &mut *self.draft;
            *self.names.entry(link).or_insert_with(|| draft.new_group())
        });
        let body = if is_file { Body::Tree(self.source.clone(), Box::new(node.clone())) } else { Body::None };
        Ok(self.draft.put(target, metadata, body, group)?)
    }

    fn metadata(&self, node: &Node) -> Metadata {
        let mut metadata = node.metadata.clone();
        if self.copy.source_owners == Owners::Root {
            (metadata.uid, metadata.gid) = (0, 0);
        }
        if let Some((uid, gid)) = self.copy.owner {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        if metadata.kind.symlink_target().is_none() {
            metadata.mode = self.mode.apply(metadata.mode, metadata.kind.is_directory());
        }
        if let Some(time) = timestamp(self.copy.action.timestamp) {
            metadata.mtime = time;
        }
        metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Empty;

    #[test]
    fn directories_on_the_way_take_the_time_of_the_source() {
        let time = Time { seconds: 5, nanoseconds: 0 };
        let mut source = Draft::new(Arc::new(Empty));
        source
            .put(Path::new("a"), Metadata { mtime: time, ..Metadata::file(0) }, Body::Bytes(Vec::new().into()), None)
            .unwrap();
        let source: Arc<dyn FileTree> = Arc::new(source);
        let check = |timestamp: i64, expected: i64| {
            let (src, dest) = ("/a".to_owned(), "/x/y/a".to_owned());
            let action =
                pb::FileActionCopy { src, dest, mode: -1, create_dest_path: true, timestamp, ..Default::default() };
            let scratch = Path::new("/nonexistent");
            let copy = Copy { action: &action, owner: None, source_owners: Owners::Kept, scratch };
            let mut draft = Draft::new(Arc::new(Empty));
            copy.run(&source, &mut draft).unwrap();
            for path in ["x", "x/y", "x/y/a"] {
                let node = draft.node(Path::new(path)).unwrap().unwrap();
                assert_eq!(node.metadata.mtime.seconds, expected, "{path}");
            }
        };
        check(-1, 5);
        check(7_000_000_000, 7);
    }
}
