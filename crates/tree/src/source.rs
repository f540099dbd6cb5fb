//! Reading a tree wherever it is: the trait that a build context and a chain of layers share.
//!
//! Paths are relative to the tree's root. No method follows a symbolic link; [`crate::select`] does, always
//! within the tree, so that every tree resolves alike.

use std::io::Read;
use std::path::{Path, PathBuf};

use rbuild_oci::Digest;

use crate::entry::Node;

/// Why a tree could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A call on a path failed.
    #[error("{action} `{}`", path.display())]
    Io {
        /// What was attempted, as a participle ("reading").
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The path does not exist.
    #[error("\"/{}\": not found", path.display())]
    NotFound {
        /// The path from the tree's root.
        path: PathBuf,
    },
    /// A chain of symbolic links did not end.
    #[error("too many symbolic links in `{}`", path.display())]
    TooManyLinks {
        /// The path that was resolved.
        path: PathBuf,
    },
    /// A file changed while it was read.
    #[error("file `{}` changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A path is not what the caller needs.
    #[error("`{}` is not a {wanted}", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What was needed.
        wanted: &'static str,
    },
    /// A pattern cannot be understood.
    #[error(transparent)]
    Pattern(#[from] crate::pattern::PatternError),
    /// A tar could not be read.
    #[error(transparent)]
    Tar(#[from] crate::tar::TarError),
}

impl TreeError {
    /// Returns a function for `map_err` that adds what was attempted on what.
    pub fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// The content of a regular file: exactly as many bytes as its metadata says.
pub type Content = Box<dyn Read + Send>;

/// A readable tree of files.
pub trait FileTree: Send + Sync {
    /// Returns what is at `path`, or none; no component is followed, the root is the empty path.
    fn node(&self, path: &Path) -> Result<Option<Node>, TreeError>;

    /// Returns the children of the directory at `path`, sorted by name.
    fn children(&self, path: &Path) -> Result<Vec<Node>, TreeError>;

    /// Opens the content of a regular file of this tree.
    fn open(&self, node: &Node) -> Result<Content, TreeError>;

    /// Returns the digests of regular files of this tree, in order.
    fn file_digests(&self, nodes: &[&Node]) -> Result<Vec<Digest>, TreeError>;
}
