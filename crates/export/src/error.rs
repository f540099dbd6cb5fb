//! What can go wrong on the way out.

use std::path::PathBuf;

/// Why a result could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A layer or image cannot be had, or the registry does not take it.
    #[error(transparent)]
    Images(#[from] rbuild_images::ImagesError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rbuild_store::Error),
    /// Reading the result failed.
    #[error(transparent)]
    Tree(#[from] rbuild_tree::TreeError),
    /// Writing the tar failed.
    #[error(transparent)]
    Tar(#[from] rbuild_tree::tar::TarError),
    /// Writing the destination failed.
    #[error("{action} `{}`: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// An attribute of `--output` cannot be used.
    #[error("output attribute `{name}={value}`: {reason}")]
    Attribute {
        /// The attribute.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// Docker's archive holds one platform.
    #[error("docker exporter does not support exporting manifest lists: build one platform, or use type=oci")]
    ManifestList,
    /// An archive cannot be read.
    #[error("`{}` is not an image archive: {reason}", path.display())]
    NotAnArchive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Work in a thread panicked.
    #[error("a thread that exported a layer panicked")]
    Panicked,
}

impl ExportError {
    pub(crate) fn io<'a>(action: &'static str, path: &'a std::path::Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
