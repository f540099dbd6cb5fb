//! What can keep a daemon from working.

use std::io;
use std::path::PathBuf;

/// Why the daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// An address cannot be listened at.
    #[error("listening at `{address}`: {reason}")]
    Listen {
        /// The address as it was given.
        address: String,
        /// What is in the way, and what helps.
        reason: String,
    },
    /// The system refused a step on the way to a listening socket.
    #[error("listening at `{address}`: {action}")]
    Socket {
        /// The address as it was given.
        address: String,
        /// What was attempted.
        action: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file of a certificate or key is of no use.
    #[error("TLS file `{}`: {reason}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Connections could not be served.
    #[error("serving `{address}`")]
    Serve {
        /// The address as it was given.
        address: String,
        /// The reason.
        #[source]
        source: tonic::transport::Error,
    },
    /// A configuration file is at fault.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rbuild_store::Error),
    /// The cache or the history cannot be opened.
    #[error("opening the store's memory")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl DaemonError {
    pub(crate) fn engine(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Engine(Box::new(error))
    }
}
