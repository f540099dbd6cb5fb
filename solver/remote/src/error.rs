//! Why a cache could not be read or written.

use rbuild_oci::Digest;

use crate::backend::BackendError;

/// Why a cache could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Where it is kept did not give or take something.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A document of the cache is malformed.
    #[error("{what} {digest}: {reason}")]
    Document {
        /// Which document.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
    /// A layer or its blob cannot be had.
    #[error(transparent)]
    Images(#[from] rbuild_images::ImagesError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rbuild_store::Error),
    /// The local cache failed.
    #[error(transparent)]
    Cache(#[from] rbuild_solver::CacheError),
    /// A result could not be loaded.
    #[error("loading a result of the cache")]
    Result(#[source] rbuild_solver::OperationError),
    /// A panic in a thread of ours.
    #[error("a thread that handled a cache panicked")]
    Panicked,
}

impl RemoteError {
    pub(crate) fn document(what: &'static str, digest: Digest, reason: impl std::fmt::Display) -> Self {
        Self::Document { what, digest, reason: reason.to_string() }
    }

    /// Returns the error with its causes in one line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// Returns an error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RemoteError> + Send + 'static,
) -> Result<T, RemoteError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| RemoteError::Panicked)?
}
