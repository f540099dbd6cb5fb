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
    /// A path is longer than any system call takes (`PATH_MAX`): no other tool could make the file.
    #[error("`{}…` is longer than the limit of {LONGEST_PATH} bytes for paths", path.display().to_string().chars().take(60).collect::<String>())]
    TooLong {
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

/// The longest path that is walked, in bytes: it also bounds how deep directories may lie in each other.
pub const LONGEST_PATH: usize = 4096;

/// The stack of a thread that walks trees, in bytes: enough for directories as deep as paths are long.
pub const WALK_STACK: usize = 16 << 20;

/// Starts a thread that walks trees.
///
/// # Panics
/// If the system has no thread left, as [`std::thread::Scope::spawn`] does.
pub fn spawn_walker<'scope, T: Send + 'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> std::thread::ScopedJoinHandle<'scope, T> {
    let thread = std::thread::Builder::new().stack_size(WALK_STACK).spawn_scoped(scope, work);
    thread.expect("the system has a thread left")
}

/// Refuses a path that is too long to be walked.
///
/// # Errors
/// If it is longer than [`LONGEST_PATH`].
pub fn check_length(path: &Path) -> Result<(), TreeError> {
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(TreeError::TooLong { path: path.to_owned() });
    }
    Ok(())
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
