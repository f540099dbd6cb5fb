//! The headers of an uncompressed tar that lies in a file, for reading entries in any order.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::TarError;
use super::header::Header;
use super::read::Archive;
use super::sparse::Segment;

/// All headers of a tar and the open file to read contents from.
#[derive(Debug)]
pub struct TarIndex {
    file: Arc<File>,
    entries: Vec<IndexedEntry>,
}

/// An entry and where its data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedEntry {
    /// Its header.
    pub header: Header,
}

impl TarIndex {
    /// Reads the headers of `file`, an uncompressed tar from its first byte.
    pub fn read(file: File) -> Result<Self, TarError> {
        let mut entries = Vec::new();
        let mut archive = Archive::seekable(&file)?;
        while let Some(entry) = archive.next_entry()? {
            entries.push(IndexedEntry { header: entry.header });
        }
        drop(archive);
        Ok(Self { file: Arc::new(file), entries })
    }

    /// Returns the entries in the order of the archive.
    pub fn entries(&self) -> &[IndexedEntry] {
        &self.entries
    }

    /// Returns a reader of an entry's content, holes as zeros.
    pub fn open(&self, entry: &IndexedEntry) -> impl Read + Send + use<> {
        let Header { data_offset, size, sparse, .. } = &entry.header;
        read_segments(Arc::clone(&self.file), *data_offset, *size, sparse.clone())
    }
}

/// Returns a reader of a file's content that lies in a tar at `data_offset`, holes as zeros.
pub fn read_segments(
    file: Arc<File>,
    data_offset: u64,
    size: u64,
    sparse: Option<Vec<Segment>>,
) -> impl Read + Send + use<> {
    let segments = sparse.unwrap_or_else(|| vec![Segment { offset: 0, length: size }]);
    IndexedContent { file, data: data_offset, size, segments, position: 0, segment: 0 }
}

/// The content of one entry.
struct IndexedContent {
    file: Arc<File>,
    /// Where the data of the current segment begins in the tar.
    data: u64,
    size: u64,
    segments: Vec<Segment>,
    position: u64,
    segment: usize,
}

impl Read for IndexedContent {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(segment) = self.segments.get(self.segment) {
            if segment.offset + segment.length > self.position {
                break;
            }
            self.data += segment.length;
            self.segment += 1;
        }
        let (until, data) = match self.segments.get(self.segment) {
            Some(s) if s.offset <= self.position => (s.offset + s.length, Some(self.data + self.position - s.offset)),
            Some(s) => (s.offset, None),
            None => (self.size, None),
        };
        let room = usize::try_from(until - self.position).map_or(buf.len(), |run| run.min(buf.len()));
        let read = match data {
            Some(offset) if room > 0 => match self.file.read_at(&mut buf[..room], offset)? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the tar ends within a file")),
                read => read,
            },
            _ => {
                buf[..room].fill(0);
                room
            }
        };
        self.position += read as u64;
        Ok(read)
    }
}
