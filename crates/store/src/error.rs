//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use rbuild_oci::{Digest, JsonError};

use crate::LayerId;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{action} `{}`", path.display())]
    File {
        /// What was attempted, such as `creating`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The disk or a quota is full.
    #[error("no space left on device: {action} `{}`", path.display())]
    NoSpace {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The index refused a statement.
    #[error("{action} in the index `{}`", path.display())]
    Database {
        /// What was attempted.
        action: &'static str,
        /// The index's file.
        path: PathBuf,
        /// SQLite's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// The store was made by a newer program.
    #[error(
        "store `{}` has {what} version {found}, but this program knows only up to {known}; \
         use a newer rbuild or another --root", root.display()
    )]
    Newer {
        /// The store.
        root: PathBuf,
        /// What has a newer version.
        what: String,
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The directory is not a store and not empty, or its marker is unreadable.
    #[error("`{}` is not an rbuild store: {reason}", root.display())]
    NotAStore {
        /// The directory.
        root: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A blob is not in the store.
    #[error("blob {0} is not in the store")]
    NoBlob(Digest),
    /// A blob's file is not what its digest says; it has been taken out of the store.
    #[error("blob {digest} is corrupt ({reason}) and was removed from the store")]
    Corrupt {
        /// The blob.
        digest: Digest,
        /// What differs.
        reason: String,
    },
    /// Content that was written has another digest than expected.
    #[error("content has digest {got}, but {want} was expected")]
    DigestMismatch {
        /// The digest expected.
        want: Digest,
        /// The digest of what came.
        got: Digest,
    },
    /// Content that was written has another size than expected.
    #[error("content of {want} has {got} bytes, but {size} were expected")]
    SizeMismatch {
        /// The digest expected.
        want: Digest,
        /// The size expected.
        size: u64,
        /// The bytes that came, at least.
        got: u64,
    },
    /// A blob is larger than its reader allows.
    #[error("blob {digest} has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A blob is not the JSON it should be.
    #[error("reading blob {digest}")]
    Json {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: JsonError,
    },
    /// A layer is not in the store (any more).
    #[error("layer {0} is not in the store")]
    NoLayer(LayerId),
    /// No image has this name or id.
    #[error("no such image: `{0}`")]
    NoImage(String),
    /// An id prefix belongs to several images.
    #[error("image id `{0}` is ambiguous: several images begin with it")]
    Ambiguous(String),
    /// A prune filter is malformed or not supported.
    #[error("filter `{0}` is not supported: {1}")]
    Filter(String, &'static str),
}

impl Error {
    /// Wraps an IO error, telling a full disk apart.
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { action, path, source },
            _ => Self::File { action, path, source },
        }
    }

    /// Whether the disk or a quota is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }
}

/// Adds what was attempted on what to an IO result.
pub(crate) trait Context<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::file(action, path, source))
    }
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|errno| Error::file(action, path, errno.into()))
    }
}
