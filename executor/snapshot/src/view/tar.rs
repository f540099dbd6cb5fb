//! A layer that lies as an uncompressed tar: its headers as a tree in memory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use rbuild_tree::entry::is_layer_xattr;
use rbuild_tree::tar::{Archive, Entry, EntryKind, Header, Segment, read_segments};
use rbuild_tree::{Content, Kind, Metadata};

use crate::apply::{Slot, Target, apply};
use crate::error::{Result, SnapshotError};
use crate::overlay::Found;

/// An open tar layer.
#[derive(Debug)]
pub(crate) struct TarLayer {
    file: std::sync::Arc<File>,
    headers: Headers,
}

/// The tree of headers; directories and inodes are numbered.
#[derive(Debug, Default)]
struct Headers {
    directories: Vec<Directory>,
    inodes: Vec<Inode>,
}

#[derive(Debug, Default)]
struct Directory {
    names: BTreeMap<OsString, Name>,
    /// None as long as no entry described it.
    metadata: Option<Metadata>,
    opaque: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Whiteout,
    Directory(usize),
    Inode(usize),
}

#[derive(Debug)]
struct Inode {
    metadata: Metadata,
    links: u32,
    data_offset: u64,
    sparse: Option<Vec<Segment>>,
}

impl TarLayer {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(SnapshotError::io("opening the layer", path))?;
        let mut headers = Headers { directories: vec![Directory::default()], inodes: Vec::new() };
        let mut archive = Archive::seekable(&file)?;
        while let Some(mut entry) = archive.next_entry()? {
            apply(&mut headers, &mut entry)?;
        }
        drop(archive);
        Ok(Self { file: std::sync::Arc::new(file), headers })
    }

    pub(crate) fn find(&self, path: &Path) -> Option<Found> {
        let mut name = Name::Directory(0);
        for part in path.components() {
            let Name::Directory(directory) = name else { return None };
            name = *self.headers.directories[directory].names.get(part.as_os_str())?;
        }
        Some(self.headers.found(name))
    }

    pub(crate) fn list(&self, path: &Path) -> Vec<(OsString, Found)> {
        let Some(directory) = self.headers.shortcut_to(path) else { return Vec::new() };
        let names = self.headers.directories[directory].names.iter();
        names.map(|(name, what)| (name.clone(), self.headers.found(*what))).collect()
    }

    /// Returns the content of the regular file at `path`.
    pub(crate) fn content(&self, path: &Path) -> Option<Content> {
        let Found::Entry { metadata, inode, .. } = self.find(path)? else { return None };
        let inode = self.headers.inodes.get(usize::try_from(inode.1).ok()?).filter(|_| metadata.kind.is_file())?;
        let file = std::sync::Arc::clone(&self.file);
        Some(Box::new(read_segments(file, inode.data_offset, inode.metadata.size, inode.sparse.clone())))
    }
}

impl Headers {
    fn shortcut_to(&self, path: &Path) -> Option<usize> {
        path.components().try_fold(0, |directory, part| match self.directories[directory].names.get(part.as_os_str()) {
            Some(Name::Directory(below)) => Some(*below),
            _ => None,
        })
    }

    fn found(&self, name: Name) -> Found {
        match name {
            Name::Whiteout => Found::Whiteout,
            Name::Directory(number) => {
                let directory = &self.directories[number];
                Found::Entry {
                    metadata: directory.metadata.clone().unwrap_or_else(Metadata::directory),
                    opaque: directory.opaque,
                    implied: directory.metadata.is_none(),
                    inode: (0, number as u64),
                    links: 1,
                }
            }
            Name::Inode(number) => {
                let Inode { metadata, links, .. } = &self.inodes[number];
                let inode = (0, number as u64);
                Found::Entry { metadata: metadata.clone(), opaque: false, implied: false, inode, links: *links }
            }
        }
    }
}

fn metadata(header: &Header) -> Metadata {
    let (kind, mode) = match &header.kind {
        EntryKind::Directory => (Kind::Directory, header.mode),
        // The mode of a link is always this one, whatever a tar says.
        EntryKind::Symlink(target) => (Kind::Symlink(target.clone()), 0o777),
        EntryKind::CharDevice(device) => (Kind::CharDevice(*device), header.mode),
        EntryKind::BlockDevice(device) => (Kind::BlockDevice(*device), header.mode),
        EntryKind::Fifo => (Kind::Fifo, header.mode),
        EntryKind::File | EntryKind::HardLink(_) => (Kind::File, header.mode),
    };
    let keeps = |name: &[u8]| {
        is_layer_xattr(name) && (matches!(kind, Kind::File | Kind::Directory) || !name.starts_with(b"user."))
    };
    let xattrs = header.xattrs.iter().filter(|(name, _)| keeps(name));
    let xattrs = xattrs.map(|(name, value)| (name.clone(), value.clone())).collect();
    let (uid, gid, size, mtime) = (header.uid, header.gid, header.size, header.mtime);
    Metadata { kind, mode, uid, gid, size, mtime, xattrs }
}

impl Target for Headers {
    type Directory = usize;

    fn root(&mut self) -> usize {
        0
    }

    fn shortcut(&mut self, path: &Path) -> Option<usize> {
        self.shortcut_to(path)
    }

    fn look(&mut self, dir: &usize, name: &OsStr) -> Result<Slot> {
        Ok(match self.directories[*dir].names.get(name) {
            None => Slot::Empty,
            Some(Name::Whiteout) => Slot::Whiteout,
            Some(Name::Directory(_)) => Slot::Directory,
            Some(Name::Inode(number)) => match &self.inodes[*number].metadata.kind {
                Kind::Symlink(target) => Slot::Symlink(target.clone()),
                _ => Slot::Other,
            },
        })
    }

    fn enter(&mut self, dir: &usize, name: &OsStr) -> Result<usize> {
        match self.directories[*dir].names.get(name) {
            Some(Name::Directory(number)) => Ok(*number),
            _ => Err(SnapshotError::refused(Path::new(name), "it is not a directory")),
        }
    }

    fn make_directory(&mut self, dir: &usize, name: &OsStr) -> Result<usize> {
        let number = self.directories.len();
        self.directories.push(Directory::default());
        self.directories[*dir].names.insert(name.to_owned(), Name::Directory(number));
        Ok(number)
    }

    fn describe(&mut self, dir: &usize, header: &Header) -> Result<()> {
        self.directories[*dir].metadata = Some(metadata(header));
        Ok(())
    }

    fn set_opaque(&mut self, dir: &usize) -> Result<()> {
        self.directories[*dir].opaque = true;
        Ok(())
    }

    fn whiteout(&mut self, dir: &usize, name: &OsStr) -> Result<()> {
        self.directories[*dir].names.insert(name.to_owned(), Name::Whiteout);
        Ok(())
    }

    fn remove(&mut self, dir: &usize, name: &OsStr) -> Result<()> {
        let mut removed: Vec<Name> = self.directories[*dir].names.remove(name).into_iter().collect();
        while let Some(name) = removed.pop() {
            match name {
                Name::Inode(number) => self.inodes[number].links -= 1,
                Name::Directory(number) => {
                    removed.extend(std::mem::take(&mut self.directories[number].names).into_values());
                }
                Name::Whiteout => {}
            }
        }
        Ok(())
    }

    fn create<R: Read>(&mut self, dir: &usize, name: &OsStr, entry: &mut Entry<'_, R>) -> Result<bool> {
        if self.directories[*dir].names.contains_key(name) {
            return Ok(false);
        }
        let header = &entry.header;
        let (data_offset, sparse) = (header.data_offset, header.sparse.clone());
        self.directories[*dir].names.insert(name.to_owned(), Name::Inode(self.inodes.len()));
        self.inodes.push(Inode { metadata: metadata(header), links: 1, data_offset, sparse });
        Ok(true)
    }

    fn link(&mut self, dir: &usize, name: &OsStr, target: (&usize, &OsStr), header: &Header) -> Result<bool> {
        if self.directories[*dir].names.contains_key(name) {
            return Ok(false);
        }
        let number = match self.directories[*target.0].names.get(target.1) {
            Some(Name::Inode(number)) => *number,
            _ => return Err(SnapshotError::refused(Path::new(name), "it is a hard link to no file")),
        };
        self.directories[*dir].names.insert(name.to_owned(), Name::Inode(number));
        let inode = &mut self.inodes[number];
        inode.links += 1;
        // The last header of a file counts for all its names.
        let Metadata { mode, uid, gid, mtime, .. } = metadata(header);
        let is_link = matches!(inode.metadata.kind, Kind::Symlink(_));
        inode.metadata.mode = if is_link { 0o777 } else { mode };
        (inode.metadata.uid, inode.metadata.gid, inode.metadata.mtime) = (uid, gid, mtime);
        Ok(true)
    }
}
