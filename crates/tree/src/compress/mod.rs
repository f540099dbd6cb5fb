//! Compression of layers and its undoing, in this process only: no program of any path is ever run.

mod decode;
mod gzip;

use std::io::{self, Write};

use zstd::stream::raw::CParameter;

pub use decode::{Format, decompress, is_archive};
use gzip::GzipBlocks;

/// How much input makes one independent block.
const BLOCK: usize = 1 << 20;

/// How a layer blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A plain tar.
    None,
    /// Gzip of a level from 0 to 9.
    Gzip(u32),
    /// Zstandard of a level from 1 to 22.
    Zstd(u32),
}

impl Compression {
    /// Gzip at the level that costs least per byte saved.
    pub const GZIP: Self = Self::Gzip(1);
    /// Zstandard at its usual level.
    pub const ZSTD: Self = Self::Zstd(3);

    /// Reads the attributes `compression` and `compression-level` of an output or a cache.
    ///
    /// # Errors
    /// If one of them is wrong.
    pub fn parse(name: Option<&str>, level: Option<&str>) -> Result<Self, InvalidCompression> {
        let invalid =
            |attribute, value: &str, reason| InvalidCompression { attribute, value: value.to_owned(), reason };
        let number = |default: u32, most: u32, reason: &'static str| match level {
            None => Ok(default),
            Some(text) => {
                let level = text.parse().ok().filter(|level| *level <= most);
                level.ok_or_else(|| invalid("compression-level", text, reason))
            }
        };
        match name {
            None | Some("gzip") => Ok(Self::Gzip(number(6, 9, "expected a number from 0 to 9")?)),
            Some("zstd") => Ok(Self::Zstd(number(3, 22, "expected a number from 0 to 22")?.max(1))),
            Some("uncompressed") => Ok(Self::None),
            Some("estargz") => {
                Err(invalid("compression", "estargz", "is not supported yet: gzip, zstd or uncompressed"))
            }
            Some(other) => Err(invalid("compression", other, "unknown: gzip, zstd or uncompressed")),
        }
    }
}

/// An attribute that says how to compress, and cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidCompression {
    /// Its name.
    pub attribute: &'static str,
    /// What it says.
    pub value: String,
    /// Why that cannot be followed.
    pub reason: &'static str,
}

/// Compresses what is written; the bytes depend on input and level only, never on `threads` or on how the
/// input is cut into writes.
///
/// Gzip is written as one member per MiB, which every reader of layers takes as one stream.
pub struct Encoder<W: Write> {
    inner: Inner<W>,
}

enum Inner<W: Write> {
    Plain(W),
    Gzip(GzipBlocks<W>),
    Zstd { encoder: zstd::stream::write::Encoder<'static, W>, pending: Vec<u8> },
}

impl<W: Write> std::fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.inner {
            Inner::Plain(_) => "Encoder(plain)",
            Inner::Gzip(_) => "Encoder(gzip)",
            Inner::Zstd { .. } => "Encoder(zstd)",
        })
    }
}

impl<W: Write> Encoder<W> {
    /// Starts compressing to `out`; a level out of range is an error.
    pub fn new(out: W, compression: Compression, threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let inner = match compression {
            Compression::None => Inner::Plain(out),
            Compression::Gzip(level @ 0..=9) => Inner::Gzip(GzipBlocks::new(out, level.cast_signed(), threads)?),
            Compression::Zstd(level @ 1..=22) => {
                let mut encoder = zstd::stream::write::Encoder::new(out, level.cast_signed())?;
                encoder.include_checksum(true)?;
                // One worker writes the same bytes as many, but other bytes than no worker at all; and the size
                // of a job must not depend on the window, or the highest levels take gigabytes.
                encoder.multithread(u32::try_from(threads).unwrap_or(1))?;
                encoder.set_parameter(CParameter::JobSize(8 << 20))?;
                Inner::Zstd { encoder, pending: Vec::with_capacity(BLOCK) }
            }
            Compression::Gzip(level) | Compression::Zstd(level) => {
                let text = format!("compression level {level} is out of range");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        Ok(Self { inner })
    }

    /// Ends the stream and returns what it was written to, flushed.
    pub fn finish(self) -> io::Result<W> {
        let mut out = match self.inner {
            Inner::Plain(out) => out,
            Inner::Gzip(blocks) => blocks.finish()?,
            Inner::Zstd { mut encoder, pending } => {
                encoder.write_all(&pending)?;
                encoder.finish()?
            }
        };
        out.flush()?;
        Ok(out)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(out) => return out.write(buf),
            Inner::Gzip(blocks) => blocks.push(buf)?,
            Inner::Zstd { encoder, pending } => {
                for chunk in buf.chunks(BLOCK) {
                    pending.extend_from_slice(chunk);
                    if pending.len() >= BLOCK {
                        encoder.write_all(&pending[..BLOCK])?;
                        pending.drain(..BLOCK);
                    }
                }
            }
        }
        Ok(buf.len())
    }

    /// Does nothing: what is not a whole block yet waits for the end, or blocks would depend on flushes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
