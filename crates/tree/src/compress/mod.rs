//! Compression of layers and its undoing, in this process only.
use std::io::{BufRead, Read, Write};

/// How a layer blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// Gzip of a level from 0 to 9.
    Gzip(u32),
    /// Zstandard of a level from 1 to 22.
    Zstd(u32),
}

/// Compresses what is written; the bytes depend on input and level only, never on `threads`.
pub struct Encoder<W: Write> {
    out: W,
}

impl<W: Write> Encoder<W> {
    /// Starts compressing to `out`.
    pub fn new(out: W, compression: Compression, threads: usize) -> std::io::Result<Self> {
        let _ = (compression, threads);
        Ok(Self { out })
    }

    /// Ends the stream and returns what it was written to.
    pub fn finish(self) -> std::io::Result<W> {
        Ok(self.out)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.out.write(buf)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// What a stream begins like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// No known magic: taken as it is.
    Plain,
    /// Gzip, any number of members.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Bzip2.
    Bzip2,
    /// XZ.
    Xz,
}

impl Format {
    /// Returns the format that the first bytes (6 suffice) announce.
    pub fn sniff(start: &[u8]) -> Self {
        let _ = start;
        unimplemented!()
    }
}

/// Returns the format of `input` and a reader of what it holds.
pub fn decompress<'a, R: BufRead + Send + 'a>(input: R) -> std::io::Result<(Format, Box<dyn Read + Send + 'a>)> {
    let _ = input;
    unimplemented!()
}
