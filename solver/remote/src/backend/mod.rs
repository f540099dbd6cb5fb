//! Where caches are kept, behind one trait.
//!
//! A backend is a place for blobs, named by digest, and for one root document (a manifest or index). What is
//! in them is none of its business. There is one for repositories ([`Registry`]) and one for directories and whatever
//! else holds blobs by digest ([`Local`] upon a [`ContentStore`]); those of S3, GitHub's cache and Azure will have their
//! place beside them. A cache inside of an image needs none of its own: it travels with the image.

mod content;
mod directory;
mod registry;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rbuild_oci::{Descriptor, Digest};
use rbuild_registry::{Progress, Sink, Source};

pub use content::{ContentStore, Local};
pub use directory::Directory;
pub use registry::Registry;

/// Whatever went wrong inside a backend.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The largest manifest, index or configuration that is read, in bytes.
pub const MOST_DOCUMENT_BYTES: u64 = rbuild_oci::json::MAX_DOCUMENT as u64;

/// Why a backend did not give or take something.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// There is no cache.
    #[error("{0}: not found")]
    Missing(String),
    /// A blob is not there.
    #[error("{digest} is not in {place}")]
    NoBlob {
        /// The blob.
        digest: Digest,
        /// Where it was looked for.
        place: String,
    },
    /// Something has other bytes than its digest says.
    #[error("{place} has other bytes than those of {digest}")]
    Mismatch {
        /// What was wanted.
        digest: Digest,
        /// Where it was looked for.
        place: String,
    },
    /// Something is larger than what is read.
    #[error("{digest} has {size} bytes, at most {limit} are read")]
    TooLarge {
        /// What it is.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// The registry did not give or take something.
    #[error(transparent)]
    Registry(#[from] rbuild_registry::Error),
    /// The place failed.
    #[error("{action}")]
    Failed {
        /// What was attempted.
        action: String,
        /// Why it failed.
        #[source]
        source: BoxError,
    },
}

/// What became of a blob that was to be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It was there already, or could be taken from beside.
    Existed,
    /// It was written.
    Written,
}

/// A place that keeps a cache.
///
/// Whatever is returned has the digest and size that was asked for.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Returns what the place is called before people.
    fn place(&self) -> String;

    /// Returns the root document.
    async fn root(&self) -> Result<(Descriptor, Bytes), BackendError>;

    /// Returns another manifest.
    async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes, BackendError>;

    /// Returns a small blob, of at most [`MOST_DOCUMENT_BYTES`].
    async fn small(&self, descriptor: &Descriptor) -> Result<Bytes, BackendError>;

    /// Whether a blob is there; fetches nothing.
    async fn has(&self, descriptor: &Descriptor) -> Result<bool, BackendError>;

    /// Writes a blob to `sink`.
    async fn fetch(&self, descriptor: &Descriptor, sink: &mut dyn Sink, progress: Progress)
    -> Result<(), BackendError>;

    /// Makes a blob be there. `beside` are repositories that it can be taken from if they are of the same
    /// registry.
    async fn put(
        &self,
        descriptor: &Descriptor,
        source: Arc<dyn Source>,
        beside: &[rbuild_store::Remote],
        progress: Progress,
    ) -> Result<Put, BackendError>;

    /// Makes a document the root.
    async fn put_root(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), BackendError>;

    /// Returns the repository from which layers can be fetched later by whoever knows its name, if any.
    fn repository(&self) -> Option<String>;
}
