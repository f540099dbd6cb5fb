//! What the frontend asks of whoever runs it.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use rbuild_graph::{Definition, pb};
use rbuild_lower::{ResolveMode, ResolvedImage, ResolvedLayout};
use rbuild_oci::{Digest, Platform, Reference};

/// Why the host has no answer. Shared, because one answer may serve several askers.
pub type HostError = Arc<dyn Error + Send + Sync>;

/// What the frontend asks of whoever runs it. All questions may be asked at once, and are about one build.
#[async_trait]
pub trait Host: Send + Sync {
    /// Evaluates a graph; its vertices are shown under the names that it gives them.
    async fn solve(&self, definition: &Definition) -> Result<Arc<dyn Files>, HostError>;

    /// Returns which image `reference` means for `platform`, and its configuration. `shown` is the name under
    /// which the question appears in the progress of the build.
    async fn resolve_image(
        &self,
        reference: &Reference,
        platform: &Platform,
        mode: ResolveMode,
        shown: &str,
    ) -> Result<ResolvedImage, HostError>;

    /// Returns the configuration of the image with `digest` in an OCI layout of the client's, called `store`
    /// in the session of the build.
    async fn resolve_layout(
        &self,
        store: &str,
        digest: Digest,
        platform: &Platform,
        shown: &str,
    ) -> Result<ResolvedLayout, HostError>;

    /// Returns the time that a source carries, in seconds since 1970: of a git commit, of the last modification of
    /// an http file, of the newest file in an archive; none if it has none.
    async fn source_time(&self, source: &pb::SourceOp, shown: &str) -> Result<Option<i64>, HostError>;

    /// Tells a warning.
    fn warn(&self, warning: Warning);
}

/// The files of a result. Links are followed inside of it.
#[async_trait]
pub trait Files: Send + Sync {
    /// Returns a regular file, cut after `limit` bytes; none if there is nothing at `path`.
    async fn read_file(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, HostError>;

    /// Returns whether a regular file is a tar, compressed or not; not if there is nothing at `path`.
    async fn is_archive(&self, path: &str) -> Result<bool, HostError>;
}

/// What a lint rule has to say, on the vertex that loaded the Dockerfile.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// The vertex.
    pub vertex: Digest,
    /// How loud: always 1.
    pub level: i64,
    /// One line, with the rule and the line of the file.
    pub short: String,
    /// What the rule is about.
    pub detail: Vec<String>,
    /// The rule's help page; empty if it has none.
    pub url: String,
    /// The file.
    pub source: Arc<pb::SourceInfo>,
    /// The areas of the file.
    pub ranges: Vec<pb::Range>,
}
