//! Undoing compression, recognised by its first bytes.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use crate::tar::Archive;

/// The largest window a zstd frame may ask for, and the most memory an xz stream may take.
const MAX_WINDOW_LOG: u32 = 27;
const XZ_MEMORY: u64 = 192 << 20;
/// Enough for every magic.
const MAGIC: usize = 6;

/// What a stream begins like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// No known magic: taken as it is.
    Plain,
    /// Gzip, any number of members.
    Gzip,
    /// Zstandard, any number of frames.
    Zstd,
    /// Bzip2.
    Bzip2,
    /// XZ.
    Xz,
}

impl Format {
    /// Returns the format that the first bytes (6 suffice) announce.
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame, which some writers put first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::Plain,
        }
    }
}

/// Returns the format of `input` and a reader of what it holds.
///
/// The reader's memory is bounded whatever the input; how much comes out of it is for the caller to bound.
pub fn decompress<'a, R: Read + Send + 'a>(mut input: R) -> io::Result<(Format, Box<dyn Read + Send + 'a>)> {
    let mut start = Vec::with_capacity(MAGIC);
    input.by_ref().take(MAGIC as u64).read_to_end(&mut start)?;
    let format = Format::sniff(&start);
    let input = BufReader::with_capacity(128 * 1024, Cursor::new(start).chain(input));
    Ok((format, decoder(format, input)?))
}

fn decoder<'a, R: BufRead + Send + 'a>(format: Format, input: R) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match format {
        Format::Plain => Box::new(input),
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Format::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED);
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream.map_err(io::Error::other)?))
        }
    })
}

/// Returns whether `input`, compressed or not, begins with a tar entry.
pub fn is_archive<R: Read + Send>(input: R) -> bool {
    let Ok((_, content)) = decompress(input) else { return false };
    matches!(Archive::new(content).next_entry(), Ok(Some(_)))
}
