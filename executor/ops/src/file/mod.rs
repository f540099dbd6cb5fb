//! File actions: copy, make, remove. They look into trees without mounting anything, and give a
//! layer in blob form.

pub(crate) mod action;
mod archive;
mod copy;
mod draft;
mod mode;
mod op;
mod owner;

use std::path::{Component, Path, PathBuf};

use rbuild_tree::TreeError;

pub(crate) use archive::is_archive;
pub(crate) use draft::{Body, Draft, Empty};
pub(crate) use op::FileOperation;
pub use owner::OwnerError;

/// Whose owners the files of a source have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// Those on disk: another stage or an image.
    Kept,
    /// Root: a build context.
    Root,
}

/// Why a file action failed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Something is not a directory that must be one.
    #[error("cannot copy to non-directory: /{}", .0.display())]
    NotDirectory(PathBuf),
    /// What is to be copied does not exist.
    #[error("lstat /{}: no such file or directory", .0.display())]
    Missing(PathBuf),
    /// A file cannot take a directory's place.
    #[error("cannot replace to directory /{} with file", .0.display())]
    FileOverDirectory(PathBuf),
    /// A directory exists already.
    #[error("`/{}` exists already", .0.display())]
    Exists(PathBuf),
    /// An archive's entry leads out of the directory it is unpacked to.
    #[error("archive entry `{}` leads out of the destination", .0.display())]
    Breakout(PathBuf),
    /// A symbolic mode cannot be understood.
    #[error("{0}")]
    Mode(String),
    /// The path to be removed is the root.
    #[error("the root directory cannot be removed")]
    RemoveRoot,
    /// The owner could not be found.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// A path that must be there is not.
    #[error("failed to calculate checksum of ref")]
    Required(#[source] TreeError),
    /// Reading or writing a tree failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Returns a path of a message relative to the root, `..` stopping there; never fails.
pub(crate) fn rooted(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// Returns a draft that holds what `tree` has at `selector`, at the same path.
pub(crate) fn copy_all(
    tree: &std::sync::Arc<dyn rbuild_tree::FileTree>,
    selector: &str,
    source_owners: Owners,
    scratch: &Path,
) -> Result<Draft, FileError> {
    let mut draft = Draft::new(std::sync::Arc::new(Empty));
    let action = crate::worker::whole(&rooted(selector).to_string_lossy());
    let copy = copy::Copy { action: &action, owner: None, source_owners, scratch };
    copy.run(tree, &mut draft)?;
    Ok(draft)
}
