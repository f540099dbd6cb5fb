//! An image as a source: known by its layers' diff ids, fetched only if somebody looks in.

use std::sync::Arc;

use async_trait::async_trait;
use rbuild_graph::{pb, source};
use rbuild_images::{Mode, Origin, Resolved};
use rbuild_oci::{ChainId, DiffId, Digest, Platform, Reference};
use rbuild_solver::{CacheMap, Context, Operation, OperationError};
use rbuild_store::LayerId;

use super::attributes::Attributes;
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

/// Returns the key of an image's layers, of which `blobs` is what the image says that they are.
///
/// That a blob has the diff id is only the image's word until the blob was unpacked. Were the diff ids alone
/// the key, an image could put its own blobs in the place of another's layers. A plain blob proves itself.
pub(crate) fn key_of(diff_ids: &[DiffId], blobs: &[Option<Digest>]) -> Digest {
    let claims = diff_ids.iter().zip(blobs).map(|(id, blob)| blob.filter(|blob| *blob != id.0));
    let claims: Vec<String> = claims.map(|blob| blob.map(|blob| blob.to_string()).unwrap_or_default()).collect();
    let layers = key(ChainId::of(diff_ids));
    if claims.iter().all(String::is_empty) {
        return layers;
    }
    Digest::of(format!("rbuild.blobs.v1\0{layers}\0{}", claims.join("\0")).as_bytes())
}

/// An image ready to be resolved.
pub(crate) struct ImageSource {
    worker: Arc<Worker>,
    reference: Reference,
    platform: Platform,
    mode: Mode,
    limit: Option<usize>,
    checksum: Option<Digest>,
}

/// Takes the kind of record that the client wants, which is its own affair: what is shown of an image's layers is
/// that they are an image's.
pub(super) fn record_type(attributes: &mut Attributes) -> Result<(), OpsError> {
    match attributes.take(source::attr::IMAGE_RECORD_TYPE).as_deref() {
        None | Some("regular" | "internal" | "frontend") => Ok(()),
        Some(other) => Err(attributes.invalid(format!("invalid record type {}", other.escape_debug()))),
    }
}

impl ImageSource {
    /// Reads the source op.
    pub(crate) fn new(worker: Arc<Worker>, op: &pb::SourceOp, platform: Option<Platform>) -> Result<Self, OpsError> {
        let mut attributes = Attributes::new(op);
        let name = op.identifier.strip_prefix(source::DOCKER_IMAGE).unwrap_or(&op.identifier);
        let reference = Reference::parse(name).map_err(|error| attributes.invalid(error))?;
        let mode = match attributes.take(source::attr::IMAGE_RESOLVE_MODE).as_deref() {
            None | Some("default" | "local") => Mode::Missing,
            Some("pull") => Mode::Always,
            Some(other) => return Err(attributes.invalid(format!("unknown resolve mode `{}`", other.escape_debug()))),
        };
        let limit = attributes.number(source::attr::IMAGE_LAYER_LIMIT)?;
        if limit == Some(0) {
            return Err(attributes.invalid("invalid layer limit 0"));
        }
        let checksum = attributes.take(source::attr::IMAGE_CHECKSUM).map(|text| {
            let parsed = text.parse::<Digest>();
            parsed
                .map_err(|error| attributes.invalid(format!("invalid image checksum {}: {error}", text.escape_debug())))
        });
        let checksum = checksum.transpose()?;
        record_type(&mut attributes)?;
        attributes.end("image.")?;
        let platform = platform.unwrap_or_else(Platform::host);
        Ok(Self { worker, reference, platform, mode, limit: limit.map(|limit| limit as usize), checksum })
    }

    async fn resolved(&self) -> Result<Arc<Resolved>, OpsError> {
        let resolved = self.worker.images().resolve(&self.reference, &self.platform, self.mode).await?;
        if let (Some(wanted), Some(got)) = (self.checksum, resolved.reference.digest)
            && wanted != got
        {
            return Err(OpsError::ImageChecksum { reference: self.reference.to_string(), got, wanted });
        }
        Ok(resolved)
    }

    /// Returns the blobs that layers of the store came as, of those that came from a registry.
    async fn blobs(&self, layers: Vec<LayerId>) -> Result<Vec<Option<Digest>>, OpsError> {
        let worker = self.worker.clone();
        blocking(move || {
            let blob = |id: &LayerId| {
                let layer = worker.store().layers().get(*id)?;
                Ok(layer.remotes.first().map(|remote| remote.descriptor.digest))
            };
            layers.iter().map(blob).collect()
        })
        .await
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
        let blobs: Vec<Option<Digest>> = match &resolved.origin {
            Origin::Registry => resolved.layers.iter().map(|layer| Some(layer.digest)).collect(),
            Origin::Store(layers) => self.blobs(layers.clone()).await?,
        };
        let digest = resolved.target.as_ref().map_or(resolved.config_digest, |target| target.digest);
        Ok(CacheMap::source(key_of(diff_ids, &blobs)).pinned(digest.to_string()))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// X20, X40: an image that claims the diff ids of another must not be taken for it.
    // items: K009
    #[test]
    fn blobs_count_until_they_prove_themselves() {
        let ids = [DiffId(Digest::of(b"a")), DiffId(Digest::of(b"b"))];
        let (plain, good, evil) = (Some(ids[1].0), Some(Digest::of(b"good")), Some(Digest::of(b"evil")));
        let layers = key(ChainId::of(&ids));
        assert_eq!(key_of(&ids, &[None, None]), layers);
        assert_eq!(key_of(&ids, &[None, plain]), layers);
        assert_ne!(key_of(&ids, &[None, good]), layers);
        assert_ne!(key_of(&ids, &[None, good]), key_of(&ids, &[None, evil]));
        assert_ne!(key_of(&ids, &[good, None]), key_of(&ids, &[None, good]));
    }

    #[tokio::test]
    async fn attributes_are_honoured_or_refused() {
        let place = crate::source::testing::Place::new();
        let worker = place.worker(crate::source::testing::Client::default());
        let check = |key: &str, value: &str, expect: &str| {
            let op = crate::source::testing::op("docker-image://docker.io/library/a:1", &[(key, value)]);
            let error = ImageSource::new(worker.clone(), &op, None).err().map(|error| error.to_string());
            let error = error.unwrap_or_default();
            assert!(error.contains(expect) && error.is_empty() == expect.is_empty(), "{key}: {error}");
        };
        for (key, value) in [
            ("image.resolvemode", "pull"),
            ("image.resolvemode", "local"),
            ("image.recordtype", "frontend"),
            ("image.layerlimit", "2"),
            ("image.checksum", &Digest::of(b"").to_string()),
            ("local.unique", "what is no image's is nobody's concern"),
        ] {
            check(key, value, "");
        }
        check("image.resolvemode", "never", "unknown resolve mode `never`");
        check("image.recordtype", "x", "invalid record type x");
        check("image.layerlimit", "0", "invalid layer limit 0");
        check("image.layerlimit", "-1", "is not a number");
        check("image.checksum", "sha256:1", "invalid image checksum sha256:1");
        check("image.future", "1", "attribute `image.future` is not supported");
    }
}
