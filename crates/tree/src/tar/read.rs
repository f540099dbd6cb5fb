//! Reading tars as a stream.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::block::{self, Block, Dialect};
use super::pax::{self, Records};
use super::sparse::{self, DataMap, GnuMap, Layout, Segment};
use super::{BLOCK, MAX_EXTENSION, TarError, padding};
use crate::entry::{Device, Time, Xattrs};

/// How much is read at once from a stream that cannot seek.
const BUFFER: usize = 128 * 1024;

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

/// An entry's header after all extensions are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name as in the archive: may be absolute, hold `..`, end in a slash. See [`clean`](Self::clean_path).
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits (07777).
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Size of the content once holes are filled; 0 for all but regular files.
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

impl Header {
    /// Returns the path as one inside a root: relative, `.` dropped, `..` resolved by its letters and stopped at
    /// the root; empty for the root itself.
    pub fn clean_path(&self) -> PathBuf {
        clean(&self.path)
    }

    /// Returns the target of a hard link in the same form.
    pub fn clean_link_target(&self) -> Option<PathBuf> {
        match &self.kind {
            EntryKind::HardLink(target) => Some(clean(target)),
            _ => None,
        }
    }
}

fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

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
        Self::with_input(Input::new(input, BUFFER))
    }

    /// Starts reading `input`, jumping over content that nobody reads.
    pub fn seekable(mut input: R) -> Result<Self, TarError>
    where
        R: Seek,
    {
        let start = input.stream_position().map_err(|e| TarError::Io("seeking in", e))?;
        let end = input.seek(SeekFrom::End(0)).map_err(|e| TarError::Io("seeking in", e))?;
        input.seek(SeekFrom::Start(start)).map_err(|e| TarError::Io("seeking in", e))?;
        let mut input = Input::new(input, 8 * BLOCK);
        input.jump = Some((|input, by| input.seek_relative(by), end.saturating_sub(start)));
        Ok(Self::with_input(input))
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
        let Input { inner, buffer, start, end, .. } = self.input;
        io::Cursor::new(buffer[start..end].to_vec()).chain(inner)
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
        header.path = PathBuf::from(std::ffi::OsString::from_vec(path));
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

/// A header block seen through the records before it: a record wins over its field.
struct Merged<'a> {
    block: &'a Block,
    records: &'a Records,
}

impl Merged<'_> {
    fn record(&self, key: &str) -> Option<&[u8]> {
        self.records.get(key.as_bytes()).filter(|value| !value.is_empty()).map(Vec::as_slice)
    }

    fn number(&self, key: &str, field: std::ops::Range<usize>) -> Option<i64> {
        let stored = block::number(&self.block[field])?;
        self.record(key).map_or(Some(stored), pax::integer)
    }

    /// Returns an id; 2^32-1 and what lies beyond would become another id on the way to the kernel.
    fn id(&self, key: &str, field: std::ops::Range<usize>) -> Option<u32> {
        let id = self.number(key, field)?;
        u32::try_from(id).ok().filter(|id| *id != u32::MAX)
    }

    fn mtime(&self) -> Option<Time> {
        let stored = block::number(&self.block[block::MTIME])?;
        // Not kept, but refused by other readers if malformed.
        for key in ["atime", "ctime"] {
            self.record(key).map_or(Some(Time::EPOCH), pax::time)?;
        }
        self.record("mtime").map_or(Some(Time::from_seconds(stored)), pax::time)
    }
}

fn entry_kind(kind: u8, link: Vec<u8>, block: &Block, dialect: Dialect) -> Result<EntryKind, &'static str> {
    let link = PathBuf::from(std::ffi::OsString::from_vec(link));
    let device = || {
        if dialect == Dialect::V7 {
            return Ok(Device::default());
        }
        let number = |field: std::ops::Range<usize>| block::number(&block[field]).and_then(|n| u32::try_from(n).ok());
        let (major, minor) = (number(block::MAJOR), number(block::MINOR));
        major.zip(minor).map(|(major, minor)| Device { major, minor }).ok_or("a bad device number")
    };
    Ok(match kind {
        b'0' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink(link),
        b'2' => EntryKind::Symlink(link),
        b'3' => EntryKind::CharDevice(device()?),
        b'4' => EntryKind::BlockDevice(device()?),
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return Err("an entry of unknown type"),
    })
}

fn xattrs(records: &Records) -> Xattrs {
    let pairs = records.iter().filter_map(|(key, value)| Some((key.strip_prefix(pax::XATTR)?, value)));
    pairs.filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.to_vec(), value.clone())).collect()
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

/// The stream with its read-ahead and the number of bytes taken from it.
struct Input<R> {
    inner: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    jump: Option<(Jump<R>, u64)>,
}

/// Seeks forward; beside it stands the stream's length.
type Jump<R> = fn(&mut R, i64) -> io::Result<()>;

impl<R: Read> Input<R> {
    fn new(inner: R, capacity: usize) -> Self {
        Self { inner, buffer: vec![0; capacity], start: 0, end: 0, offset: 0, jump: None }
    }

    /// Reads up to `buf.len()` bytes; 0 only at the end.
    fn some(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            if buf.len() >= self.buffer.len() {
                let read = read_retrying(&mut self.inner, buf)?;
                self.offset += read as u64;
                return Ok(read);
            }
            self.start = 0;
            self.end = 0;
            self.end = read_retrying(&mut self.inner, &mut self.buffer)?;
        }
        let take = buf.len().min(self.end - self.start);
        buf[..take].copy_from_slice(&self.buffer[self.start..self.start + take]);
        self.start += take;
        self.offset += take as u64;
        Ok(take)
    }

    /// Fills `buf` as far as the stream goes.
    fn fill(&mut self, buf: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.some(&mut buf[filled..]).map_err(|e| TarError::Io("reading", e))? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn exact(&mut self, buf: &mut [u8]) -> Result<(), TarError> {
        if self.fill(buf)? < buf.len() { Err(self.malformed("the stream ends within an entry")) } else { Ok(()) }
    }

    /// Reads a header block; false if the stream ends right before it.
    fn block(&mut self, block: &mut Block) -> Result<bool, TarError> {
        match self.fill(block)? {
            0 => Ok(false),
            BLOCK => Ok(true),
            _ => Err(self.malformed("the stream ends within a header")),
        }
    }

    fn skip(&mut self, count: u64) -> Result<(), TarError> {
        if self.skip_some(count)? < count { Err(self.malformed("the stream ends within a file")) } else { Ok(()) }
    }

    fn skip_padding(&mut self, count: u64) -> Result<(), TarError> {
        self.skip_some(count).map(drop)
    }

    fn skip_some(&mut self, count: u64) -> Result<u64, TarError> {
        let ahead = (self.end - self.start) as u64;
        let from_buffer = count.min(ahead);
        self.start += from_buffer as usize;
        self.offset += from_buffer;
        let mut left = count - from_buffer;
        if let Some((jump, length)) = self.jump {
            let within = left.min(length.saturating_sub(self.offset));
            jump(&mut self.inner, within.cast_signed()).map_err(|e| TarError::Io("seeking in", e))?;
            self.offset += within;
            return Ok(from_buffer + within);
        }
        while left > 0 {
            (self.start, self.end) = (0, 0);
            let read = read_retrying(&mut self.inner, &mut self.buffer).map_err(|e| TarError::Io("reading", e))?;
            if read == 0 {
                break;
            }
            let take = left.min(read as u64);
            (self.start, self.end) = (take as usize, read);
            self.offset += take;
            left -= take;
        }
        Ok(count - left)
    }

    fn malformed(&self, reason: impl Into<String>) -> TarError {
        TarError::Malformed { offset: self.offset, reason: reason.into() }
    }
}

fn read_retrying(input: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
