//! Reading tars as a stream.

use std::ffi::OsString;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::block::{self, Block, Dialect};
use super::header::{Header, Merged, entry_kind, xattrs};
use super::input::Input;
use super::pax::{self, Records};
use super::sparse::{self, DataMap, GnuMap, Layout, Segment};
use super::{BLOCK, MAX_EXTENSION, TarError, padding};

/// A tar read as a stream.
pub struct Archive<R> {
    input: Input<R>,
    /// Bytes of the current entry's data not yet read.
    left: u64,
    /// Bytes that fill its last block.
    padding: u64,
    ended: bool,
}

impl<R> std::fmt::Debug for Archive<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("offset", &self.input.offset).field("left", &self.left).finish()
    }
}

/// An entry whose content can be read, holes as zeros.
#[derive(Debug)]
pub struct Entry<'a, R> {
    /// The header.
    pub header: Header,
    archive: &'a mut Archive<R>,
    /// Where in the file the next read is.
    position: u64,
    /// The sparse segment that the next data belongs to.
    segment: usize,
}

/// What extended headers said about the entry that follows them.
#[derive(Debug, Default)]
struct Extensions {
    records: Records,
    name: Option<Vec<u8>>,
    link_name: Option<Vec<u8>>,
}

impl<R: Read> Archive<R> {
    /// Starts reading `input`.
    pub fn new(input: R) -> Self {
        Self::with_input(Input::new(input))
    }

    /// Starts reading `input`, jumping over content that nobody reads.
    pub fn seekable(input: R) -> Result<Self, TarError>
    where
        R: Seek,
    {
        Ok(Self::with_input(Input::seekable(input)?))
    }

    fn with_input(input: Input<R>) -> Self {
        Self { input, left: 0, padding: 0, ended: false }
    }

    /// Returns the next entry; what is left unread of the last one is skipped.
    ///
    /// After an error the archive is at its end: nothing behind a malformed header is believed.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, R>>, TarError> {
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        let Some(header) = self.next_header()? else { return Ok(None) };
        self.ended = false;
        Ok(Some(Entry { header, archive: self, position: 0, segment: 0 }))
    }

    /// Returns what follows the archive's end, beginning with what was read ahead.
    pub fn into_rest(self) -> impl Read {
        self.input.into_rest()
    }

    fn next_header(&mut self) -> Result<Option<Header>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.input.skip(self.left)?;
            self.left = 0;
            // An archive may end within the padding of its last entry.
            self.input.skip_padding(std::mem::take(&mut self.padding))?;
            let Some((block, dialect)) = self.next_block()? else { return Ok(None) };
            let kind = block[block::TYPE];
            match kind {
                b'x' => extensions.records = self.records(&block)?,
                // Global records are read (and refused if malformed) but change nothing, as in Go: they could
                // otherwise rename or resize every entry behind them.
                b'g' => drop(self.records(&block)?),
                b'L' | b'K' => {
                    let text = self.extension_text(&block)?;
                    let text = Some(block::text(&text).to_vec()).filter(|text| !text.is_empty());
                    *(if kind == b'L' { &mut extensions.name } else { &mut extensions.link_name }) = text;
                }
                _ => return self.entry_header(&block, dialect, extensions).map(Some),
            }
        }
    }

    /// Returns the next header block, or none at the archive's end: two zero blocks or no more bytes.
    fn next_block(&mut self) -> Result<Option<(Block, Dialect)>, TarError> {
        let mut block = [0; BLOCK];
        for zeros in 0..2 {
            if !self.input.block(&mut block)? {
                return Ok(None);
            }
            if block.iter().any(|b| *b != 0) {
                if zeros > 0 {
                    return Err(self.malformed("a zero block between entries"));
                }
                let dialect = block::dialect(&block).ok_or_else(|| self.malformed("a header with a wrong checksum"))?;
                return Ok(Some((block, dialect)));
            }
        }
        Ok(None)
    }

    fn records(&mut self, block: &Block) -> Result<Records, TarError> {
        let text = self.extension_text(block)?;
        pax::parse(&text).map_err(|reason| self.malformed(reason))
    }

    /// Reads the content of an extended header.
    fn extension_text(&mut self, block: &Block) -> Result<Vec<u8>, TarError> {
        let size = self.size(block)?;
        if size > MAX_EXTENSION {
            return Err(TarError::Limit { what: "an extended header", value: size, limit: MAX_EXTENSION });
        }
        let mut text = vec![0; size as usize];
        self.input.exact(&mut text)?;
        self.padding = padding(size);
        Ok(text)
    }

    fn size(&self, block: &Block) -> Result<u64, TarError> {
        let size = block::number(&block[block::SIZE]).and_then(|n| u64::try_from(n).ok());
        size.ok_or_else(|| self.malformed("a header with a bad size"))
    }

    fn entry_header(&mut self, block: &Block, dialect: Dialect, extensions: Extensions) -> Result<Header, TarError> {
        let Extensions { records, name, link_name } = extensions;
        let get = |key: &[u8]| records.get(key).filter(|value| !value.is_empty()).map(Vec::as_slice);
        let merged = Merged { block, records: &records };
        let mut path = get(b"path").map_or_else(|| block::name(block, dialect), <[u8]>::to_vec);
        let mut link = get(b"linkpath").unwrap_or_else(|| block::text(&block[block::LINK_NAME])).to_vec();
        path = name.unwrap_or(path);
        link = link_name.unwrap_or(link);
        let bad = |what: &str| self.malformed(what);
        let kind = match block[block::TYPE] {
            0 if path.ends_with(b"/") => b'5',
            0 | b'7' => b'0',
            kind => kind,
        };
        let is_file = matches!(kind, b'0' | b'S');
        let stored = merged.number("size", block::SIZE).and_then(|n| u64::try_from(n).ok());
        let stored = stored.ok_or_else(|| bad("a header with a bad size"))?;
        let size = if is_file { stored } else { 0 };
        let mut header = Header {
            path: PathBuf::new(),
            kind: entry_kind(kind, link, block, dialect).map_err(bad)?,
            mode: block::number(&block[block::MODE]).ok_or_else(|| bad("a header with a bad mode"))? as u32 & 0o7777,
            uid: merged.id("uid", block::UID).ok_or_else(|| bad("an owner out of range"))?,
            gid: merged.id("gid", block::GID).ok_or_else(|| bad("a group out of range"))?,
            size,
            mtime: merged.mtime().ok_or_else(|| bad("a header with a bad time"))?,
            xattrs: xattrs(&records),
            sparse: None,
            data_offset: self.input.offset,
            data_size: size,
        };
        (self.left, self.padding) = (size, padding(size));
        self.merge_sparse(kind, block, dialect, &records, &mut header, &mut path)?;
        header.path = PathBuf::from(OsString::from_vec(path));
        Ok(header)
    }

    fn merge_sparse(
        &mut self,
        kind: u8,
        block: &Block,
        dialect: Dialect,
        records: &Records,
        header: &mut Header,
        path: &mut Vec<u8>,
    ) -> Result<(), TarError> {
        let segments = if kind == b'S' {
            if dialect != Dialect::Gnu {
                return Err(self.malformed("a GNU sparse file without GNU magic"));
            }
            self.gnu_map(block, header)?
        } else if let Some(layout) = sparse::layout(records) {
            if kind != b'0' {
                return Err(self.malformed("a sparse entry that is no file"));
            }
            let get = |key: &[u8]| records.get(key).filter(|value| !value.is_empty());
            if let Some(name) = get(b"GNU.sparse.name") {
                path.clone_from(name);
            }
            if let Some(size) = get(b"GNU.sparse.size").or_else(|| get(b"GNU.sparse.realsize")) {
                let size = pax::integer(size).and_then(|n| u64::try_from(n).ok());
                header.size = size.ok_or_else(|| self.malformed("a sparse file with a bad size"))?;
            }
            match layout {
                Layout::InRecords => sparse::map_in_records(records).map_err(|reason| self.malformed(reason))?,
                Layout::InData => self.data_map(header)?,
            }
        } else {
            return Ok(());
        };
        sparse::validate(&segments, header.size, header.data_size).map_err(|reason| self.malformed(reason))?;
        header.sparse = Some(segments);
        Ok(())
    }

    /// Reads the rest of a GNU map, which stands between header and data.
    fn gnu_map(&mut self, block: &Block, header: &mut Header) -> Result<Vec<Segment>, TarError> {
        let mut map = GnuMap::default();
        let (size, mut more) = map.header(block).map_err(|reason| self.malformed(reason))?;
        while more {
            let mut extension = [0; BLOCK];
            self.input.exact(&mut extension)?;
            more = map.extension(&extension).map_err(|reason| self.malformed(reason))?;
        }
        header.size = size;
        header.data_offset = self.input.offset;
        Ok(map.finish())
    }

    /// Reads the map that begins the data of sparse format 1.0.
    fn data_map(&mut self, header: &mut Header) -> Result<Vec<Segment>, TarError> {
        let mut map = DataMap::default();
        let mut complete = false;
        while !complete {
            let mut block = [0; BLOCK];
            if self.left < BLOCK as u64 {
                return Err(self.malformed("a sparse map longer than its data"));
            }
            self.input.exact(&mut block)?;
            self.left -= BLOCK as u64;
            complete = map.push(&block).map_err(|reason| self.malformed(reason))?;
        }
        header.data_offset = self.input.offset;
        header.data_size = self.left;
        map.finish().map_err(|reason| self.malformed(reason))
    }

    fn malformed(&self, reason: impl Into<String>) -> TarError {
        self.input.malformed(reason)
    }
}

impl<R: Read> Entry<'_, R> {
    /// Reads stored bytes only, without holes; see [`Header::sparse`] for where they belong.
    pub fn read_data(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.archive.left).map_or(buf.len(), |left| left.min(buf.len()));
        if room == 0 {
            return Ok(0);
        }
        let read = self.archive.input.some(&mut buf[..room])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the tar ends within a file"));
        }
        self.archive.left -= read as u64;
        Ok(read)
    }
}

impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(segments) = &self.header.sparse else { return self.read_data(buf) };
        while segments.get(self.segment).is_some_and(|s| s.offset + s.length <= self.position) {
            self.segment += 1;
        }
        let (until, is_data) = match segments.get(self.segment) {
            Some(s) if s.offset <= self.position => (s.offset + s.length, true),
            Some(s) => (s.offset, false),
            None => (self.header.size, false),
        };
        let room = usize::try_from(until - self.position).map_or(buf.len(), |run| run.min(buf.len()));
        let read = if is_data {
            self.read_data(&mut buf[..room])?
        } else {
            buf[..room].fill(0);
            room
        };
        self.position += read as u64;
        Ok(read)
    }
}
