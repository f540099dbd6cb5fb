//! From a registry into the store: as rows only, or with all blobs.

use std::sync::Arc;
use std::time::SystemTime;

use rbuild_events::Reporter;
use rbuild_oci::{Descriptor, DiffId, Digest, Platform, Reference};
use rbuild_store::{ImageId, Layer, LayerBlob, LayerId, NewImage, NewLayer, Remote};

use crate::form::{PLAIN, variant_of};
use crate::resolve::{Mode, Origin, Resolved};
use crate::{Images, ImagesError};

/// What a pull did.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub id: ImageId,
    /// The digest that the name means at the registry.
    pub digest: Digest,
    /// Whether the store had this very image under this name before.
    pub up_to_date: bool,
}

impl Images {
    /// Returns the layers of an image, bottom first, as rows of the store; fetches nothing.
    ///
    /// # Errors
    /// If the store fails.
    pub fn layers(&self, image: &Resolved) -> Result<Vec<LayerId>, ImagesError> {
        if let Origin::Store(layers) = &image.origin
            && self.store().layers().hold(layers)?
        {
            return Ok(layers.clone());
        }
        let mut layers = Vec::with_capacity(image.layers.len());
        for (descriptor, diff_id) in image.layers.iter().zip(&image.config.rootfs.diff_ids) {
            let remote = Remote { reference: image.reference.name(), descriptor: descriptor.clone() };
            layers.push(self.lazy_layer(&remote, *diff_id, format!("layer of {}", image.reference))?);
        }
        Ok(layers)
    }

    /// Returns the layer that a registry is said to have as this blob, as a row of the store; fetches nothing.
    ///
    /// # Errors
    /// If the store fails.
    pub fn lazy_layer(&self, remote: &Remote, diff_id: DiffId, description: String) -> Result<LayerId, ImagesError> {
        let layer = self.layer_of(&remote.descriptor, diff_id, description)?;
        // Of a layer known otherwise, this blob has yet to prove that it has the diff id.
        let is_its = !layer.is_available() || layer.is_of(&remote.descriptor.digest);
        if is_its && !layer.remotes.contains(remote) {
            self.store().layers().add_remote(layer.id, remote)?;
        }
        Ok(layer.id)
    }

    /// Returns the layer with this blob, which lies in the store.
    ///
    /// # Errors
    /// If the store fails, or the blob cannot have the diff id.
    pub fn layer_of_blob(
        &self,
        blob: &Descriptor,
        diff_id: DiffId,
        description: String,
    ) -> Result<LayerId, ImagesError> {
        let variant = variant_of(&blob.media_type);
        if variant == PLAIN && diff_id.0 != blob.digest {
            let reason = format!("it is plain, and said to have the diff id {diff_id}");
            return Err(ImagesError::Document { what: "layer", digest: blob.digest, name: description, reason });
        }
        let layer = self.layer_of(blob, diff_id, description)?;
        if !layer.is_available() || layer.is_of(&blob.digest) {
            self.store().layers().add_blob(layer.id, &LayerBlob { descriptor: blob.clone(), variant })?;
        }
        Ok(layer.id)
    }

    fn layer_of(&self, blob: &Descriptor, diff_id: DiffId, description: String) -> Result<Layer, ImagesError> {
        let new = NewLayer { description, diff_id: Some(diff_id), ..NewLayer::default() };
        let id = self.store().layers().find_or_create(diff_id, &blob.digest, &new)?;
        Ok(self.store().layers().get(id)?)
    }

    /// Pulls an image: all its blobs are in the store afterwards, and the name is its.
    ///
    /// # Errors
    /// If the registry or the store fails.
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        reporter: &Arc<dyn Reporter>,
        vertex: Digest,
    ) -> Result<Pulled, ImagesError> {
        let image = self.resolve(reference, platform, Mode::Always).await?;
        let layers = self.layers(&image)?;
        let fetches = layers.iter().map(|id| self.fetch_if_missing(*id, reporter, vertex));
        for fetched in futures_unordered(fetches).await {
            fetched?;
        }
        let id = ImageId(image.config_digest);
        let before = self.store().images().get(&id)?.is_some_and(|image| image.names.contains(reference));
        self.record(&image, layers, std::slice::from_ref(reference))?;
        let digest = image.target.as_ref().map_or(image.config_digest, |target| target.digest);
        Ok(Pulled { id, digest, up_to_date: before })
    }

    async fn fetch_if_missing(
        &self,
        id: LayerId,
        reporter: &Arc<dyn Reporter>,
        vertex: Digest,
    ) -> Result<(), ImagesError> {
        let layer = self.store().layers().get(id)?;
        if layer.tree.is_none() && layer.blobs.is_empty() {
            self.fetch_layer(&layer, reporter, vertex).await?;
        }
        Ok(())
    }

    /// Records a resolved image under names.
    ///
    /// # Errors
    /// If the store fails.
    pub fn record(&self, image: &Resolved, layers: Vec<LayerId>, names: &[Reference]) -> Result<ImageId, ImagesError> {
        let id = ImageId(image.config_digest);
        let manifest = image.manifest.as_ref().map(|(descriptor, _)| descriptor.clone());
        let target = image.target.clone().filter(|target| manifest.as_ref().is_none_or(|m| m.digest != target.digest));
        let new = NewImage {
            id,
            target: manifest,
            layers,
            blobs: target.iter().map(|target| target.digest).collect(),
            platform: platform_of(image),
            created: created(image.config.created.as_deref()),
        };
        let names: Vec<_> = names.iter().map(|name| Reference { digest: None, ..name.clone() }).collect();
        let tagged: Vec<_> = names.iter().filter(|name| name.tag.is_some()).cloned().collect();
        self.store().images().record(&new, &tagged)?;
        if let Some(target) = &image.target {
            for name in &names {
                self.store().images().add_digest(&id, name, &target.digest)?;
            }
        }
        Ok(id)
    }
}

fn platform_of(image: &Resolved) -> Platform {
    let config = &image.config;
    Platform {
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        os_version: config.os_version.clone(),
        os_features: config.os_features.clone(),
        variant: config.variant.clone(),
    }
}

/// Returns the moment that a configuration tells; the epoch if it tells none.
pub(crate) fn created(text: Option<&str>) -> SystemTime {
    let parse = |text: &str| time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok();
    text.and_then(parse).map_or(SystemTime::UNIX_EPOCH, SystemTime::from)
}

/// Awaits all futures at once.
pub(crate) async fn futures_unordered<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    futures::future::join_all(futures).await
}
