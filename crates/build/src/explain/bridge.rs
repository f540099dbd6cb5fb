//! What the frontend may ask when nothing is to be done.

use async_trait::async_trait;
use rbuild_graph::pb;
use rbuild_lower::{Bridge, BridgeError, ResolveMode, ResolvedImage, ResolvedLayout};
use rbuild_oci::{Digest, History, ImageConfig, Platform, Reference};

use crate::bridge::Host;

/// Answers as the host of a build does, as long as nothing has to be fetched for it.
pub(crate) struct Onlooker<'a> {
    pub(crate) host: &'a Host,
    /// Whether images are not looked up.
    pub(crate) offline: bool,
}

#[async_trait]
impl Bridge for Onlooker<'_> {
    async fn resolve_image(
        &self,
        reference: &Reference,
        platform: &Platform,
        mode: ResolveMode,
        shown: &str,
    ) -> Result<ResolvedImage, BridgeError> {
        if self.offline {
            return Ok(unconfigured(reference, platform));
        }
        self.host.resolve_image(reference, platform, mode, shown).await
    }

    async fn resolve_layout(
        &self,
        layout: &str,
        digest: Digest,
        platform: &Platform,
        shown: &str,
    ) -> Result<ResolvedLayout, BridgeError> {
        self.host.resolve_layout(layout, digest, platform, shown).await
    }

    async fn ignore_patterns(&self, local: &str, context: &str) -> Result<Vec<String>, BridgeError> {
        self.host.ignore_patterns(local, context).await
    }

    fn is_ignored(&self, path: &str) -> bool {
        self.host.is_ignored(path)
    }

    async fn source_time(&self, source: &pb::SourceOp, _: &str) -> Result<Option<i64>, BridgeError> {
        Err(BridgeError::message(format!(
            "the time of `{}` is known once it is fetched: give SOURCE_DATE_EPOCH as a number",
            source.identifier
        )))
    }
}

/// Returns an image that says nothing of itself but that it has a layer.
fn unconfigured(reference: &Reference, platform: &Platform) -> ResolvedImage {
    let layer = History { created_by: reference.to_string(), ..History::default() };
    let image = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        history: vec![layer],
        ..ImageConfig::default()
    };
    ResolvedImage { reference: reference.clone(), config: Vec::new(), image }
}
