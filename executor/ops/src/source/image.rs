//! An image as a source: known by its layers' diff ids, fetched only if somebody looks in.

use std::sync::Arc;

use async_trait::async_trait;
use rbuild_graph::{pb, source};
use rbuild_images::{Mode, Resolved};
use rbuild_oci::{ChainId, Digest, Platform, Reference};
use rbuild_solver::{CacheMap, Context, Operation, OperationError};

use crate::value::Ref;
use crate::worker::Worker;
use crate::{OpsError, blocking};

/// Returns the key of layers: the same layers are the same file system, wherever they come from and whatever
/// they are called.
pub(crate) fn key(chain: Option<ChainId>) -> Digest {
    let key = match chain {
        Some(chain) => format!("rbuild.layers.v1\0{chain}"),
        None => "rbuild.layers.v1\0".to_owned(),
    };
    Digest::of(key.as_bytes())
}

/// An image ready to be resolved.
pub(crate) struct ImageSource {
    worker: Arc<Worker>,
    reference: Reference,
    platform: Platform,
    mode: Mode,
    limit: Option<usize>,
}

impl ImageSource {
    /// Reads the source op.
    pub(crate) fn new(worker: Arc<Worker>, op: &pb::SourceOp, platform: Option<Platform>) -> Result<Self, OpsError> {
        let invalid = |reason: String| OpsError::Source { identifier: op.identifier.clone(), reason };
        let name = op.identifier.strip_prefix(source::DOCKER_IMAGE).unwrap_or(&op.identifier);
        let reference = Reference::parse(name).map_err(|error| invalid(error.to_string()))?;
        let mode = match op.attrs.get(source::attr::IMAGE_RESOLVE_MODE).map(String::as_str) {
            None | Some("" | "default" | "local") => Mode::Missing,
            Some("pull") => Mode::Always,
            Some(other) => return Err(invalid(format!("unknown resolve mode `{other}`"))),
        };
        let limit = op.attrs.get(source::attr::IMAGE_LAYER_LIMIT);
        let limit = limit.map(|limit| limit.parse().map_err(|_| invalid(format!("layer limit `{limit}` is no number"))));
        let platform = platform.unwrap_or_else(Platform::host);
        Ok(Self { worker, reference, platform, mode, limit: limit.transpose()? })
    }

    async fn resolved(&self) -> Result<Arc<Resolved>, OpsError> {
        Ok(self.worker.images().resolve(&self.reference, &self.platform, self.mode).await?)
    }

    fn layers(&self, resolved: &Resolved) -> usize {
        let all = resolved.config.rootfs.diff_ids.len();
        self.limit.map_or(all, |limit| limit.min(all))
    }
}

#[async_trait]
impl Operation<Ref> for ImageSource {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        let resolved = self.resolved().await?;
        let diff_ids = &resolved.config.rootfs.diff_ids[..self.layers(&resolved)];
        Ok(CacheMap::source(key(ChainId::of(diff_ids))))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, _: &Context, _: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let resolved = self.resolved().await?;
        let count = self.layers(&resolved);
        let images = self.worker.images().clone();
        let mut layers = blocking(move || Ok(images.layers(&resolved)?)).await?;
        layers.truncate(count);
        Ok(vec![Ref::Layers(layers)])
    }
}
