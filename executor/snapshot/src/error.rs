//! What can go wrong with layers and roots.
use std::path::PathBuf;

/// Why a layer or root could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A call on a path failed.
    #[error("{action} `{}`", path.display())]
    Io {
        /// What was attempted, as a participle.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A tar is malformed or could not be written.
    #[error(transparent)]
    Tar(#[from] rbuild_tree::tar::TarError),
    /// A tree could not be read.
    #[error(transparent)]
    Tree(#[from] rbuild_tree::TreeError),
    /// A layer holds something that is refused.
    #[error("layer entry `{path}` is refused: {reason}")]
    Refused {
        /// The entry, escaped.
        path: String,
        /// Why.
        reason: String,
    },
}
