//! What can go wrong with layers and roots.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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
        source: io::Error,
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
    /// An entry of a layer could not be made.
    #[error("{action} layer entry `{path}`")]
    Entry {
        /// What was attempted, as a participle.
        action: &'static str,
        /// The entry, escaped.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// An owner of a layer has no id on this side of the user namespace.
    #[error(
        "layer entry `{path}` belongs to {uid}:{gid}, which the user namespace does not map (add ranges to /etc/subuid and /etc/subgid)"
    )]
    Unmapped {
        /// The entry, escaped.
        path: String,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// A layer is larger than allowed.
    #[error("layer takes more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The fuse-overlayfs program did not do its work.
    #[error("fuse-overlayfs on `{}`: {reason}", path.display())]
    Fuse {
        /// Where it should have mounted.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

pub(crate) type Result<T> = std::result::Result<T, SnapshotError>;

impl SnapshotError {
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn entry<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Entry { action, path: shown(path.as_os_str()), source }
    }

    pub(crate) fn refused(path: &Path, reason: impl Into<String>) -> Self {
        Self::Refused { path: shown(path.as_os_str()), reason: reason.into() }
    }
}

/// Returns a name for people, whatever bytes it has.
pub(crate) fn shown(name: &OsStr) -> String {
    name.as_bytes().escape_ascii().to_string()
}
