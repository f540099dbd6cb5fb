//! The build context read in place: a filtered listing and the memory of content digests.
//!
//! [`scan`] walks the directory once with getdents and statx, [`ContextIndex`] says what the unchanged files
//! held, and [`Listing`] hands out contents. A file is opened without following anything, must be the one that
//! was listed, and must not have changed when its last byte was read: what is built is one consistent state or
//! an error.

mod index;
mod read;
mod scan;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rbuild_oci::Digest;
use rbuild_sys::root::Root;

pub use index::ContextIndex;
use index::{Known, State};

use crate::entry::{Metadata, Node, Time};
use crate::pattern::Matcher;
use crate::source::{Content, FileTree, TreeError};

/// The entries of a context, sorted so that a directory stands right before what it holds.
#[derive(Debug)]
pub struct Listing {
    root: Root,
    path: PathBuf,
    root_node: Node,
    entries: Vec<Node>,
    states: Vec<State>,
    /// Directories that may not be read.
    closed: Vec<PathBuf>,
    /// For each entry, the first one behind it that does not lie below it.
    ends: Vec<usize>,
    threads: usize,
    memory: Mutex<Memory>,
}

/// What is known of contents, growing as files are read.
#[derive(Debug)]
struct Memory {
    known: Vec<Option<Known>>,
    index: ContextIndex,
    changed: bool,
    /// When the listing began: files changed after it are not remembered.
    began: Time,
}

/// Lists `root` without what `ignore` matches.
///
/// Owners are those on disk; that a context is copied as 0:0 is the copying step's business. Pipes and devices
/// are listed but never opened; a socket counts as an empty file. A directory that may not be read is an error for
/// those only who ask what is in it.
pub fn scan(root: &Path, ignore: &Matcher, index: ContextIndex, threads: usize) -> Result<Listing, TreeError> {
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let began = Time { seconds: began.as_secs().cast_signed(), nanoseconds: began.subsec_nanos() };
    let open = Root::open(root).map_err(TreeError::io("opening the context", root))?;
    let dir = open.dir().map_err(TreeError::io("opening the context", root))?;
    let own = dir.stat_self().map_err(TreeError::io("reading the state of", root))?;
    let scan::Scan { found, closed } = scan::scan(dir, ignore, &index, threads)?;
    let mtime = Time { seconds: own.mtime.seconds, nanoseconds: own.mtime.nanoseconds };
    // The root itself is no part of a context: its mode and owner are those of an empty root.
    let metadata = Metadata { mtime, ..Metadata::directory() };
    let root_node = Node { path: PathBuf::new(), metadata, link: None, handle: u64::MAX };
    let mut listing = Listing {
        root: open,
        path: root.to_owned(),
        root_node,
        entries: Vec::with_capacity(found.len()),
        states: Vec::with_capacity(found.len()),
        closed,
        ends: vec![found.len(); found.len()],
        threads: threads.max(1),
        memory: Mutex::new(Memory { known: Vec::with_capacity(found.len()), index, changed: false, began }),
    };
    listing.fill(found);
    Ok(listing)
}

impl Listing {
    fn fill(&mut self, found: Vec<scan::Found>) {
        let memory = self.memory.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (at, mut found) in found.into_iter().enumerate() {
            let depth = found.node.path.components().count();
            while let Some((before, _)) = open.pop_if(|(_, open_depth)| *open_depth >= depth) {
                self.ends[before] = at;
            }
            open.push((at, depth));
            found.node.handle = at as u64;
            self.entries.push(found.node);
            self.states.push(found.state);
            memory.known.push(found.known);
        }
    }

    /// Returns all entries; the root is not among them.
    pub fn entries(&self) -> &[Node] {
        &self.entries
    }

    /// Writes what is now known of digests to `path`, atomically, if that is more or other than before.
    pub fn save_index(&self, path: &Path) -> Result<(), TreeError> {
        let memory = self.memory();
        if !memory.changed {
            return Ok(());
        }
        let mut index = ContextIndex::default();
        let mut seen = HashSet::new();
        for (state, known) in self.states.iter().zip(&memory.known) {
            let is_first = seen.insert((state.device, state.inode));
            if let Some(known) = known.as_ref().filter(|_| is_first && state.is_settled(memory.began)) {
                index.insert(*state, known.clone());
            }
        }
        // Files that this listing ignores may matter to the next one; they may also be long gone.
        let unseen = memory.index.records().filter(|(state, _)| !seen.contains(&(state.device, state.inode)));
        for (state, known) in unseen.take(self.entries.len()) {
            index.insert(*state, known.clone());
        }
        index.save(path)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn position(&self, path: &Path) -> Option<usize> {
        self.entries.binary_search_by(|entry| scan::tree_order(&entry.path, path)).ok()
    }

    /// Fails if `path` lies in a directory that may not be read.
    fn check_open(&self, path: &Path) -> Result<(), TreeError> {
        match self.closed.iter().find(|closed| path.starts_with(closed)) {
            Some(closed) => {
                let path = self.path.join(closed);
                Err(TreeError::Io { action: "opening", path, source: io::ErrorKind::PermissionDenied.into() })
            }
            None => Ok(()),
        }
    }

    /// Returns the position of a node of this listing.
    fn own(&self, node: &Node) -> Result<usize, TreeError> {
        let at = usize::try_from(node.handle).ok().filter(|at| *at < self.entries.len());
        let at = at.filter(|at| self.entries[*at].path == node.path).or_else(|| self.position(&node.path));
        at.ok_or_else(|| TreeError::NotFound { path: node.path.clone() })
    }
}

impl FileTree for Listing {
    fn node(&self, path: &Path) -> Result<Option<Node>, TreeError> {
        if path.as_os_str().is_empty() {
            return Ok(Some(self.root_node.clone()));
        }
        match self.position(path) {
            Some(at) => Ok(Some(self.entries[at].clone())),
            None => self.check_open(path).map(|()| None),
        }
    }

    fn children(&self, path: &Path) -> Result<Vec<Node>, TreeError> {
        self.check_open(path)?;
        let (mut at, end) = if path.as_os_str().is_empty() {
            (0, self.entries.len())
        } else {
            let own = self.position(path).ok_or_else(|| TreeError::NotFound { path: path.to_owned() })?;
            (own + 1, self.ends[own])
        };
        let mut children = Vec::new();
        while at < end {
            children.push(self.entries[at].clone());
            at = self.ends[at];
        }
        Ok(children)
    }

    fn open(&self, node: &Node) -> Result<Content, TreeError> {
        let at = self.own(node)?;
        self.open_at(at)
    }

    fn file_digests(&self, nodes: &[&Node]) -> Result<Vec<Digest>, TreeError> {
        let positions: Result<Vec<usize>, TreeError> = nodes.iter().map(|node| self.own(node)).collect();
        let positions = positions?;
        self.learn(&positions)?;
        let memory = self.memory();
        let digests = positions.iter().map(|at| memory.known[*at].as_ref().map(|known| known.digest));
        Ok(digests.collect::<Option<Vec<Digest>>>().expect("all positions were learned"))
    }
}

#[cfg(test)]
mod tests;
