//! A received tree on its way to the disk: compares what is announced with what is there, asks for what is
//! missing, writes it, removes the rest.
//!
//! Names are compared directory by directory, as both lists are sorted. Files are written under their own names and
//! get their time last, so what a killed transfer leaves is seen to be unfinished by the next one. Other names of
//! files, and what directories should be like, come when all files are there.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use rbuild_tree::pattern::Matcher;

use super::entry::{Entry, Kind};
use super::existing::Tree;
use super::order::Order;
use super::receive::{Differ, ReceiveOptions};
use super::{Stat, TransferError};

/// The most names of a tree.
const MOST_ENTRIES: u32 = 4_000_000;
/// The most files that may arrive at the same time; senders send four.
const MOST_ARRIVING: usize = 256;
/// The most metadata that is kept of files whose contents are not wanted.
const MOST_METADATA: usize = 256 << 20;
/// Where that is kept.
const METADATA_FILE: &str = ".fsutil-metadata";

/// A tree that is being received.
pub(super) struct Disk {
    tree: Tree,
    order: Order,
    options: ReceiveOptions,
    metadata: Option<Metadata>,
    /// The directories that are gone through, outermost first.
    frames: Vec<Frame>,
    entries: u32,
    complete: bool,
    wanted: HashMap<u32, Entry>,
    arriving: HashMap<u32, File>,
    links: Vec<(PathBuf, PathBuf)>,
    directories: Vec<Entry>,
}

/// A directory and the names in it that were there before and were not announced yet, the last first.
struct Frame {
    path: PathBuf,
    before: Vec<OsString>,
}

/// What is kept of files whose contents are not wanted.
struct Metadata {
    exceptions: Matcher,
    bytes: Vec<u8>,
    /// Directories that are made only if something in them is wanted.
    pending: Vec<Entry>,
}

impl Disk {
    /// Begins to receive into a directory.
    pub(super) fn open(path: &Path, mut options: ReceiveOptions) -> Result<Self, TransferError> {
        let mut tree = Tree::open(path)?;
        let before = if options.merge { Vec::new() } else { tree.names(Path::new(""))? };
        let frames = vec![Frame { path: PathBuf::new(), before }];
        let metadata = options.metadata_only.take().map(|exceptions| Metadata {
            exceptions,
            bytes: Vec::new(),
            pending: Vec::new(),
        });
        Ok(Self {
            tree,
            order: Order::default(),
            options,
            metadata,
            frames,
            entries: 0,
            complete: false,
            wanted: HashMap::new(),
            arriving: HashMap::new(),
            links: Vec::new(),
            directories: Vec::new(),
        })
    }

    /// Takes the next name, or the end of all; returns the number of the file whose content is wanted.
    pub(super) fn announce(&mut self, stat: Option<Stat>) -> Result<Option<u32>, TransferError> {
        if self.complete {
            return Err(TransferError::Protocol("a name after the end of all names"));
        }
        let Some(stat) = stat else {
            self.complete = true;
            while !self.frames.is_empty() {
                self.leave()?;
            }
            return Ok(None);
        };
        let id = self.entries;
        if id >= MOST_ENTRIES {
            return Err(TransferError::Limit("4,000,000 names"));
        }
        self.entries += 1;
        if self.metadata.is_some() && stat.path == METADATA_FILE.as_bytes() {
            return Ok(None);
        }
        let encoded = self.metadata.as_ref().map(|_| stat.encode_to_vec());
        let mut entry = Entry::read(stat)?;
        if let Some(owner) = self.options.owner {
            (entry.meta.uid, entry.meta.gid) = owner;
        }
        let place = self.order.accept(entry.path.as_os_str().as_bytes(), entry.kind == Kind::Directory)?;
        let Some(encoded) = encoded else { return self.place(entry, id, place.depth) };
        self.note(entry, &encoded, id)
    }

    /// Notes metadata; returns as [`Self::announce`].
    fn note(&mut self, entry: Entry, encoded: &[u8], id: u32) -> Result<Option<u32>, TransferError> {
        let Some(metadata) = &mut self.metadata else { return Ok(None) };
        if metadata.bytes.len() + encoded.len() > MOST_METADATA {
            return Err(TransferError::Limit("256 MiB of metadata"));
        }
        let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
        metadata.bytes.extend_from_slice(&length.to_le_bytes());
        metadata.bytes.extend_from_slice(encoded);
        metadata.pending.retain(|directory| entry.path.starts_with(&directory.path));
        if !metadata.exceptions.matches(&entry.path) {
            if entry.kind == Kind::Directory {
                metadata.pending.push(entry);
            }
            return Ok(None);
        }
        for directory in std::mem::take(&mut metadata.pending) {
            let depth = directory.path.components().count() - 1;
            self.place(directory, id, depth)?;
        }
        let depth = entry.path.components().count() - 1;
        self.place(entry, id, depth)
    }

    /// Compares a name with what is there, and makes what can be made without content.
    fn place(&mut self, entry: Entry, id: u32, depth: usize) -> Result<Option<u32>, TransferError> {
        while self.frames.len() > depth + 1 {
            self.leave()?;
        }
        let was_there = self.options.merge || self.advance(&entry.path)?;
        let stat = if was_there { self.tree.stat(&entry.path)? } else { None };
        let same = match &stat {
            Some(stat) => self.tree.is_same(&entry, stat)?,
            None => false,
        };
        let was_there = was_there && stat.is_some();
        if let Kind::HardLink(target) = entry.kind {
            self.links.push((entry.path, target));
            return Ok(None);
        }
        if entry.kind == Kind::Directory {
            return self.enter(entry, stat.filter(|_| same).as_ref(), was_there && !same).map(|()| None);
        }
        let again = self.options.merge || self.options.differ == Differ::Never;
        if same && !(again && matches!(entry.kind, Kind::File(_))) {
            return Ok(None);
        }
        if stat.is_some() {
            self.tree.remove(&entry.path)?;
        }
        if matches!(entry.kind, Kind::File(_)) {
            self.wanted.insert(id, entry);
            return Ok(Some(id));
        }
        self.tree.make_special(&entry)?;
        Ok(None)
    }

    /// Removes what was there before `path` in its directory and was not announced; returns whether `path` is there.
    fn advance(&mut self, path: &Path) -> Result<bool, TransferError> {
        let Some(frame) = self.frames.last_mut() else { return Ok(false) };
        let name = path.file_name().unwrap_or_default();
        while let Some(before) = frame.before.last() {
            match before.as_bytes().cmp(name.as_bytes()) {
                std::cmp::Ordering::Less => self.tree.remove(&frame.path.join(before))?,
                std::cmp::Ordering::Equal => {
                    frame.before.pop();
                    return Ok(true);
                }
                std::cmp::Ordering::Greater => return Ok(false),
            }
            frame.before.pop();
        }
        Ok(false)
    }

    fn enter(
        &mut self,
        entry: Entry,
        there: Option<&rbuild_sys::dir::Stat>,
        in_the_way: bool,
    ) -> Result<(), TransferError> {
        if in_the_way {
            self.tree.remove(&entry.path)?;
        }
        self.tree.make_directory(&entry.path, entry.meta.mode, there)?;
        let before = if there.is_some() && !self.options.merge { self.tree.names(&entry.path)? } else { Vec::new() };
        self.frames.push(Frame { path: entry.path.clone(), before });
        self.directories.push(entry);
        Ok(())
    }

    /// Leaves a directory: what is left in it was not announced.
    fn leave(&mut self) -> Result<(), TransferError> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        frame.before.iter().try_for_each(|name| self.tree.remove(&frame.path.join(name)))
    }

    /// Takes a part of a file's content; nothing is its end.
    pub(super) fn data(&mut self, id: u32, data: &Bytes) -> Result<(), TransferError> {
        let unknown = || TransferError::Protocol("content of a file that was not asked for");
        if data.is_empty() {
            let entry = self.wanted.remove(&id).ok_or_else(unknown)?;
            let file = match self.arriving.remove(&id) {
                Some(file) => file,
                None => create(&mut self.tree, &entry.path)?,
            };
            let dressed = self.tree.dress_file(&file, &entry.meta);
            return dressed.map_err(TransferError::io("finishing", &entry.path));
        }
        let entry = self.wanted.get(&id).ok_or_else(unknown)?;
        if !self.arriving.contains_key(&id) {
            if self.arriving.len() >= MOST_ARRIVING {
                return Err(TransferError::Limit("256 files that arrive at once"));
            }
            self.arriving.insert(id, create(&mut self.tree, &entry.path)?);
        }
        let Some(file) = self.arriving.get_mut(&id) else { return Err(unknown()) };
        file.write_all(data).map_err(TransferError::io("writing", &entry.path))
    }

    /// Whether everything was announced and is there.
    pub(super) fn is_complete(&self) -> bool {
        self.complete && self.wanted.is_empty()
    }

    /// Does what can only be done when all files are there.
    pub(super) fn finish(&mut self) -> Result<(), TransferError> {
        for (path, target) in std::mem::take(&mut self.links) {
            self.tree.make_hard_link(&path, &target)?;
        }
        if let Some(metadata) = &self.metadata {
            let path = Path::new(METADATA_FILE);
            let mut file = create(&mut self.tree, path)?;
            file.write_all(&metadata.bytes).map_err(TransferError::io("writing", path))?;
        }
        // What lies deepest first: a directory's time changes with what is in it.
        for directory in std::mem::take(&mut self.directories).iter().rev() {
            self.tree.dress_directory(directory)?;
        }
        Ok(())
    }
}

fn create(tree: &mut Tree, path: &Path) -> Result<File, TransferError> {
    let (dir, name) = tree.parent(path)?;
    dir.create(name, 0o600).map_err(TransferError::io("making file", path))
}
