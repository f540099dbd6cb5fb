//! Writing layer tars: the same tree always gives the same bytes.
//!
//! The bytes are those that containerd's and BuildKit's differ produce with Go's archive/tar when it is asked for
//! PAX: plain ustar as long as everything fits (long ASCII names are split into prefix and name), else an
//! extended header with just the records that do not fit, sorted. Times are whole seconds, owners are numbers
//! only.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use super::block::{self, Block};
use super::pax::{self, Records};
use super::{BLOCK, MAX_EXTENSION, TarError, padding, shown};
use crate::entry::{Kind, Metadata, Time, WHITEOUT_PREFIX};

/// How much is gathered before it is written.
const BUFFER: usize = 256 * 1024;

/// Writes the entries of a layer in the order they are given.
///
/// Paths are relative. What is written is gathered into large writes, so `out` needs no buffer of its own.
#[derive(Debug)]
pub struct LayerWriter<W> {
    out: W,
    buffer: Vec<u8>,
    written: u64,
}

/// The fields of one header.
struct Fields<'a> {
    type_flag: u8,
    name: Vec<u8>,
    link_name: &'a [u8],
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: Time,
    device: (u32, u32),
}

impl<W: Write> LayerWriter<W> {
    /// Starts a layer on `out`.
    pub fn new(out: W) -> Self {
        Self { out, buffer: Vec::with_capacity(BUFFER), written: 0 }
    }

    /// Writes an entry that is not a regular file; a socket is an error.
    pub fn entry(&mut self, path: &Path, metadata: &Metadata) -> Result<(), TarError> {
        let mut fields = Fields::new(path, metadata)?;
        match &metadata.kind {
            Kind::Directory => {
                fields.type_flag = b'5';
                fields.name.push(b'/');
            }
            Kind::Symlink(target) => {
                fields.type_flag = b'2';
                fields.link_name = target.as_os_str().as_bytes();
            }
            Kind::CharDevice(device) => (fields.type_flag, fields.device) = (b'3', (device.major, device.minor)),
            Kind::BlockDevice(device) => (fields.type_flag, fields.device) = (b'4', (device.major, device.minor)),
            Kind::Fifo => fields.type_flag = b'6',
            Kind::File => return Err(unwritable(path, "a regular file needs its content")),
            Kind::Socket => return Err(unwritable(path, "a socket has no form in a tar")),
        }
        self.header(path, &fields, metadata)
    }

    /// Writes a regular file of exactly `metadata.size` bytes.
    pub fn file(&mut self, path: &Path, metadata: &Metadata, content: &mut dyn Read) -> Result<(), TarError> {
        let size = metadata.size;
        self.header(path, &Fields { size, ..Fields::new(path, metadata)? }, metadata)?;
        let mut left = size;
        while left > 0 {
            if self.buffer.len() >= BUFFER {
                self.drain()?;
            }
            let room = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER - self.buffer.len()));
            let start = self.buffer.len();
            self.buffer.resize(start + room, 0);
            let read = read_some(content, &mut self.buffer[start..]);
            self.buffer.truncate(start + read.as_ref().copied().unwrap_or(0));
            match read.map_err(|e| TarError::Io("reading a file for", e))? {
                0 => return Err(TarError::Short { path: show(path), written: size - left, size }),
                read => left -= read as u64,
            }
        }
        self.pad(size)
    }

    /// Writes another name of an earlier entry.
    pub fn hard_link(&mut self, path: &Path, target: &Path, metadata: &Metadata) -> Result<(), TarError> {
        let target = relative(target)?;
        let mut fields = Fields::new(path, metadata)?;
        fields.type_flag = b'1';
        fields.link_name = &target;
        self.header(path, &fields, metadata)
    }

    /// Writes the removal of `path`.
    pub fn whiteout(&mut self, path: &Path) -> Result<(), TarError> {
        let name = path.file_name().ok_or_else(|| unwritable(path, "a removal needs a name"))?;
        let marker = [WHITEOUT_PREFIX, name.as_bytes()].concat();
        let marker = path.with_file_name(std::ffi::OsStr::from_bytes(&marker));
        let metadata = Metadata::new(Kind::File, 0);
        self.header(path, &Fields::new(&marker, &metadata)?, &metadata)
    }

    /// Returns how many bytes the archive has so far, without its end.
    pub fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Writes the end of the archive and returns the stream, flushed.
    pub fn finish(mut self) -> Result<W, TarError> {
        self.buffer.resize(self.buffer.len() + 2 * BLOCK, 0);
        self.drain()?;
        self.out.flush().map_err(|e| TarError::Io("writing", e))?;
        Ok(self.out)
    }

    fn header(&mut self, path: &Path, fields: &Fields<'_>, metadata: &Metadata) -> Result<(), TarError> {
        let mut records = fields.records();
        let split = split_name(&fields.name);
        // A path that can be split needs no record by itself, but has one next to others, as in Go.
        let only_path = records.len() == 1 && records.contains_key(&b"path"[..]);
        let ustar = metadata.xattrs.is_empty() && (records.is_empty() || (only_path && split.is_some()));
        if ustar {
            let (prefix, name) = split.unwrap_or((b"", &fields.name));
            let mut block = fields.block(path, name)?;
            block::put_text(&mut block[block::PREFIX], prefix);
            return self.seal(block);
        }
        for (name, value) in &metadata.xattrs {
            records.insert([pax::XATTR, name].concat(), value.clone());
        }
        self.extension(path, &fields.name, &records)?;
        let block = fields.block(path, &ascii(&fields.name))?;
        self.seal(block)
    }

    fn extension(&mut self, path: &Path, name: &[u8], records: &Records) -> Result<(), TarError> {
        if let Some((key, _)) = records.iter().find(|(key, value)| !pax::is_valid(key, value)) {
            return Err(unwritable(path, &format!("`{}` cannot be a record", shown(key))));
        }
        let text = pax::format(records);
        if text.len() as u64 > MAX_EXTENSION {
            return Err(unwritable(path, "its name and attributes take more than 1 MiB"));
        }
        let mut block = [0; BLOCK];
        let name = extension_name(name);
        block::put_text(&mut block[block::NAME], &name);
        for field in [block::MODE, block::UID, block::GID, block::MTIME] {
            block::put_octal(&mut block[field], 0);
        }
        block::put_octal(&mut block[block::SIZE], text.len() as i64);
        block[block::TYPE] = b'x';
        self.seal(block)?;
        self.buffer.extend_from_slice(&text);
        self.pad(text.len() as u64)
    }

    fn seal(&mut self, mut block: Block) -> Result<(), TarError> {
        block::seal(&mut block);
        if self.buffer.len() + BLOCK > BUFFER {
            self.drain()?;
        }
        self.buffer.extend_from_slice(&block);
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<(), TarError> {
        self.buffer.resize(self.buffer.len() + padding(size) as usize, 0);
        if self.buffer.len() >= BUFFER {
            self.drain()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), TarError> {
        self.out.write_all(&self.buffer).map_err(|e| TarError::Io("writing", e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl<'a> Fields<'a> {
    fn new(path: &Path, metadata: &'a Metadata) -> Result<Self, TarError> {
        Ok(Self {
            type_flag: b'0',
            name: relative(path)?,
            link_name: b"",
            mode: metadata.mode & 0o7777,
            uid: metadata.uid,
            gid: metadata.gid,
            size: 0,
            mtime: metadata.mtime,
            device: (0, 0),
        })
    }

    /// Returns the records for what a header block cannot hold.
    fn records(&self) -> Records {
        let mut records = Records::new();
        let mut add = |key: &[u8], value: Vec<u8>| drop(records.insert(key.to_vec(), value));
        if self.name.len() > block::NAME.len() || !is_ascii(&self.name) {
            add(b"path", self.name.clone());
        }
        if self.link_name.len() > block::LINK_NAME.len() || !is_ascii(self.link_name) {
            add(b"linkpath", self.link_name.to_vec());
        }
        let size = i64::try_from(self.size).unwrap_or(i64::MAX);
        let numbers = [
            (&b"uid"[..], i64::from(self.uid), block::UID),
            (b"gid", i64::from(self.gid), block::GID),
            (b"size", size, block::SIZE),
            (b"mtime", self.mtime.seconds, block::MTIME),
        ];
        for (key, value, field) in numbers {
            if !block::fits_octal(field.len(), value) {
                add(key, value.to_string().into_bytes());
            }
        }
        records
    }

    fn block(&self, path: &Path, name: &[u8]) -> Result<Block, TarError> {
        let mut block = [0; BLOCK];
        block::put_text(&mut block[block::NAME], name);
        block::put_text(&mut block[block::LINK_NAME], &ascii(self.link_name));
        block[block::TYPE] = self.type_flag;
        let numbers = [
            (block::MODE, i64::from(self.mode)),
            (block::UID, i64::from(self.uid)),
            (block::GID, i64::from(self.gid)),
            (block::SIZE, i64::try_from(self.size).unwrap_or(i64::MAX)),
            (block::MTIME, self.mtime.seconds),
        ];
        for (field, value) in numbers {
            block::put_octal(&mut block[field], value);
        }
        for (field, value) in [(block::MAJOR, self.device.0), (block::MINOR, self.device.1)] {
            if !block::fits_octal(field.len(), i64::from(value)) {
                return Err(unwritable(path, "its device number is too large"));
            }
            block::put_octal(&mut block[field], i64::from(value));
        }
        Ok(block)
    }
}

/// Splits a long ASCII name at a slash into prefix and name, if it fits a ustar header that way.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name_size, prefix_size) = (block::NAME.len(), block::PREFIX.len());
    if name.len() <= name_size || !is_ascii(name) {
        return None;
    }
    let end = if name.len() > prefix_size + 1 {
        prefix_size + 1
    } else if name.ends_with(b"/") {
        name.len() - 1
    } else {
        name.len()
    };
    let slash = name[..end].iter().rposition(|b| *b == b'/').filter(|at| *at > 0)?;
    let rest = &name[slash + 1..];
    (!rest.is_empty() && rest.len() <= name_size && slash <= prefix_size).then_some((&name[..slash], rest))
}

/// The name of an extended header: the entry's, with a directory put before its last part.
fn extension_name(name: &[u8]) -> Vec<u8> {
    let slash = name.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    let (directory, file) = name.split_at(slash);
    let mut full = [directory, b"PaxHeaders.0"].concat();
    if !file.is_empty() {
        full.push(b'/');
        full.extend_from_slice(file);
    }
    let mut full = ascii(&full);
    full.truncate(block::NAME.len());
    let end = full.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
    full.truncate(end);
    full
}

fn is_ascii(text: &[u8]) -> bool {
    text.iter().all(|b| (1..0x80).contains(b))
}

fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|b| (1..0x80).contains(b)).collect()
}

fn relative(path: &Path) -> Result<Vec<u8>, TarError> {
    let mut name = Vec::with_capacity(path.as_os_str().len() + 1);
    for component in path.components() {
        let Component::Normal(part) = component else {
            return Err(unwritable(path, "the path is not a plain relative one"));
        };
        if !name.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(part.as_bytes());
    }
    if name.is_empty() || name.contains(&0) {
        return Err(unwritable(path, "the path is empty or holds a NUL"));
    }
    Ok(name)
}

fn read_some(content: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match content.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn show(path: &Path) -> String {
    shown(path.as_os_str().as_bytes())
}

fn unwritable(path: &Path, reason: &str) -> TarError {
    TarError::Unwritable { path: show(path), reason: reason.to_owned() }
}
