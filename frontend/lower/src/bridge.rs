//! What a frontend may ask of its host.

use std::error::Error;

use async_trait::async_trait;
use rbuild_graph::pb;
use rbuild_oci::{Digest, ImageConfig, Platform, Reference};

/// What a frontend may ask of whoever runs it. All questions may be asked at once.
#[async_trait]
pub trait Bridge: Send + Sync {
    /// Returns which image `reference` means for `platform`, and its configuration. `shown` is the
    /// name under which the question appears in the progress of the build.
    async fn resolve_image(
        &self,
        reference: &Reference,
        platform: &Platform,
        mode: ResolveMode,
        shown: &str,
    ) -> Result<ResolvedImage, BridgeError>;

    /// Returns the configuration of the image with `digest` in the OCI layout called `layout`.
    async fn resolve_layout(
        &self,
        layout: &str,
        digest: Digest,
        platform: &Platform,
        shown: &str,
    ) -> Result<ResolvedLayout, BridgeError>;

    /// Returns the patterns of the ignore file of the directory `local`, none if it has no such file.
    /// `context` is the name of the context that it is, as progress shows it.
    async fn ignore_patterns(&self, local: &str, context: &str) -> Result<Vec<String>, BridgeError>;

    /// Returns whether the ignore file of the build context leaves `path` out.
    fn is_ignored(&self, path: &str) -> bool;

    /// Returns the time that a source carries, in seconds since 1970: of a git commit, of the last
    /// modification of an http file, of the newest file in an archive; none if it has none.
    async fn source_time(&self, source: &pb::SourceOp, shown: &str) -> Result<Option<i64>, BridgeError>;
}

/// Where images are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ResolveMode {
    /// At the registry, in the local store if that fails.
    #[default]
    Default,
    /// At the registry.
    Pull,
    /// In the local store, at the registry if it is not there.
    Local,
}

impl ResolveMode {
    /// Returns the value of the source attribute; none for the default.
    pub fn attribute(self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::Pull => Some("pull"),
            Self::Local => Some("local"),
        }
    }
}

/// An image that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedImage {
    /// The image's name with the digest it was found under.
    pub reference: Reference,
    /// The configuration's bytes.
    pub config: Vec<u8>,
    /// The configuration.
    pub image: ImageConfig,
}

/// An image in an OCI layout.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedLayout {
    /// The configuration's bytes.
    pub config: Vec<u8>,
    /// The configuration.
    pub image: ImageConfig,
}

/// Why the host has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// What was asked for does not exist.
    #[error("{0}: not found")]
    NotFound(String),
    /// Something else went wrong.
    #[error(transparent)]
    Failed(#[from] Box<dyn Error + Send + Sync>),
}

impl BridgeError {
    /// Returns an error that is only a sentence.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Failed(text.into().into())
    }

    /// Returns the whole chain of causes in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        text
    }
}
