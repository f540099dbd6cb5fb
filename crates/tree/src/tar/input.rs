//! The byte stream under a tar.

use std::io::{self, Read, Seek, SeekFrom};

use super::block::Block;
use super::{BLOCK, TarError};

/// How much is read at once from a stream that cannot seek.
const BUFFER: usize = 128 * 1024;

/// The stream with its read-ahead and the number of bytes taken from it.
pub(super) struct Input<R> {
    inner: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    pub(super) offset: u64,
    jump: Option<(Jump<R>, u64)>,
}

/// Seeks forward; beside it stands the stream's length.
type Jump<R> = fn(&mut R, i64) -> io::Result<()>;

impl<R: Read> Input<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, buffer: vec![0; BUFFER], start: 0, end: 0, offset: 0, jump: None }
    }

    /// Takes a stream that can seek; little is read ahead of what is asked for.
    pub(super) fn seekable(mut inner: R) -> Result<Self, TarError>
    where
        R: Seek,
    {
        let failed = |error| TarError::Io("seeking in", error);
        let start = inner.stream_position().map_err(failed)?;
        let end = inner.seek(SeekFrom::End(0)).map_err(failed)?;
        inner.seek(SeekFrom::Start(start)).map_err(failed)?;
        let jump: Jump<R> = |inner, by| inner.seek_relative(by);
        let buffer = vec![0; 8 * BLOCK];
        Ok(Self { inner, buffer, start: 0, end: 0, offset: 0, jump: Some((jump, end.saturating_sub(start))) })
    }

    /// Returns what was not taken, beginning with what was read ahead.
    pub(super) fn into_rest(self) -> impl Read {
        let Self { inner, buffer, start, end, .. } = self;
        io::Cursor::new(buffer[start..end].to_vec()).chain(inner)
    }

    /// Reads up to `buf.len()` bytes; 0 only at the end.
    pub(super) fn some(&mut self, buf: &mut [u8]) -> io::Result<usize> {
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

    pub(super) fn exact(&mut self, buf: &mut [u8]) -> Result<(), TarError> {
        if self.fill(buf)? < buf.len() { Err(self.malformed("the stream ends within an entry")) } else { Ok(()) }
    }

    /// Reads a header block; false if the stream ends right before it.
    pub(super) fn block(&mut self, block: &mut Block) -> Result<bool, TarError> {
        match self.fill(block)? {
            0 => Ok(false),
            BLOCK => Ok(true),
            _ => Err(self.malformed("the stream ends within a header")),
        }
    }

    pub(super) fn skip(&mut self, count: u64) -> Result<(), TarError> {
        if self.skip_some(count)? < count { Err(self.malformed("the stream ends within a file")) } else { Ok(()) }
    }

    pub(super) fn skip_padding(&mut self, count: u64) -> Result<(), TarError> {
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

    pub(super) fn malformed(&self, reason: impl Into<String>) -> TarError {
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
