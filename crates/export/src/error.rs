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
    /// An attribute of an output cannot be used.
    #[error("output type={kind}: `{name}={value}`: {reason}")]
    Attribute {
        /// The output's type.
        kind: String,
        /// The attribute.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// Attributes of an output that cannot be had together, or an output that cannot be made.
    #[error("{0}")]
    Output(String),
    /// An annotation cannot be put where it is wanted.
    #[error("annotation `{name}`: {reason}")]
    Annotation {
        /// The annotation as it was asked for.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// What a build returned is not what an exporter can take.
    #[error("{0}")]
    Result(String),
    /// An attestation cannot be had or is not what it should be.
    #[error("attestation `{path}`: {reason}")]
    Attestation {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The destination does not take what it is given.
    #[error(transparent)]
    Destination(Box<dyn std::error::Error + Send + Sync>),
    /// A registry does not take the image.
    #[error("failed to push {name}: {source}")]
    Push {
        /// The name.
        name: String,
        /// Why.
        source: rbuild_images::ImagesError,
    },
    /// Docker's archive holds one platform.
    #[error("docker exporter does not currently support exporting manifest lists: build one platform, or use type=oci")]
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
