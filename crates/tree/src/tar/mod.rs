//! Tar archives: a deterministic writer for layers, a strict streaming reader for hostile ones.
//!
//! What a tar means is what Go's archive/tar says it means, because that is what reads the same layers
//! elsewhere: one size decides where the next header is (PAX before the header block), extended headers
//! are bounded, and what is malformed ends the reading.

mod block;
mod clamp;
mod header;
mod index;
mod input;
mod newest;
mod pax;
mod read;
mod sparse;
mod write;

#[cfg(test)]
mod tests;

pub use clamp::clamp_times;
pub use header::{EntryKind, Header};
pub use index::{IndexedEntry, TarIndex, read_segments};
pub use newest::newest_file;
pub use read::{Archive, Entry};
pub use sparse::Segment;
pub use write::LayerWriter;

/// Bytes in a block.
pub(crate) const BLOCK: usize = 512;
/// The most bytes that an extended header or a sparse map may take.
pub(crate) const MAX_EXTENSION: u64 = 1 << 20;

/// Why a tar is refused or cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// Reading or writing the stream failed.
    #[error("{0} a tar stream")]
    Io(&'static str, #[source] std::io::Error),
    /// The archive is malformed.
    #[error("malformed tar at byte {offset}: {reason}")]
    Malformed {
        /// Where in the uncompressed stream.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A limit is exceeded.
    #[error("tar entry exceeds a limit: {what} of {value} is more than {limit}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// What the archive says.
        value: u64,
        /// What is allowed.
        limit: u64,
    },
    /// An entry has no form in a layer tar.
    #[error("cannot write `{path}` to a tar: {reason}")]
    Unwritable {
        /// The entry, escaped.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file's content was shorter than its size.
    #[error("file `{path}` ended after {written} of {size} bytes")]
    Short {
        /// The entry, escaped.
        path: String,
        /// Bytes written.
        written: u64,
        /// Bytes promised by the header.
        size: u64,
    },
}

/// Returns how many bytes follow `size` bytes to fill the last block.
pub(crate) const fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// Returns `bytes` for people: control characters and what is not UTF-8 escaped.
pub(crate) fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
