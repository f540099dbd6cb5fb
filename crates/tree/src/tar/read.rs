//! Reading tars as Go's archive/tar does, refusing what is malformed.
use std::io::Read;
use std::path::PathBuf;

use super::TarError;
use crate::entry::{Device, Time, Xattrs};

/// What an entry of a tar is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// Another name of an earlier entry, as named in the archive.
    HardLink(PathBuf),
    /// A symbolic link.
    Symlink(PathBuf),
    /// A directory.
    Directory,
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// A run of data in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// An entry's header after all extensions are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name as in the archive: may be absolute, hold `..`, end in a slash. See [`Header::clean_path`].
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits (07777).
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Size of the content once holes are filled.
    pub size: u64,
    /// When the content changed.
    pub mtime: Time,
    /// All `SCHILY.xattr.` records.
    pub xattrs: Xattrs,
    /// The runs of data, if the file has holes.
    pub sparse: Option<Vec<Segment>>,
    /// Where the data begins in the stream.
    pub data_offset: u64,
    /// How many bytes the data takes in the stream.
    pub data_size: u64,
}

/// A tar read as a stream.
#[derive(Debug)]
pub struct Archive<R> {
    input: R,
}

/// An entry whose content can be read, holes as zeros.
#[derive(Debug)]
pub struct Entry<'a, R> {
    /// The header.
    pub header: Header,
    archive: &'a mut Archive<R>,
}

impl<R: Read> Archive<R> {
    /// Starts reading `input`.
    pub fn new(input: R) -> Self {
        Self { input }
    }

    /// Returns the next entry; what is left unread of the last one is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, R>>, TarError> {
        let _ = &self.input;
        unimplemented!()
    }
}

impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let _ = (&self.archive.input, buf);
        unimplemented!()
    }
}
