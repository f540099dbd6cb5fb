//! Tar archives: a deterministic writer for layers, a strict streaming reader for hostile ones.

pub mod read;
pub mod write;

pub use read::{Archive, Entry, EntryKind, Header, Segment};
pub use write::LayerWriter;

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
    #[error("tar entry exceeds the limit: {what} of {value} is more than {limit}")]
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
