//! From layers and a configuration to a manifest, byte for byte.

use std::collections::BTreeMap;

use bytes::Bytes;
use rbuild_images::{BlobRequest, Images, MadeBlob};
use rbuild_oci::{Descriptor, DiffId, History, Manifest, Platform, json, media_type};
use rbuild_store::LayerId;
use rbuild_tree::compress::Compression;
use rbuild_tree::spawn_walker;
use time::OffsetDateTime;

use crate::ExportError;
use crate::annotations::Annotated;
use crate::config::{LayerFacts, Patch, default_config, patched, rfc3339};
use crate::layer_type::{layer_type, stays_foreign};
use crate::result::Part;

/// The annotation of a layer whose times were set back, as BuildKit names it.
const REWRITTEN: &str = "buildkit/rewritten-timestamp";

/// How blobs and manifests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssembleOptions {
    /// How new layers are compressed.
    pub compression: Compression,
    /// Whether layers that are there, compressed another way, are compressed anew.
    pub force_compression: bool,
    /// Whether media types are OCI's or Docker's.
    pub oci_media_types: bool,
    /// Whether layers that are not to be distributed stay what they are.
    pub foreign_layers: bool,
    /// Threads that compress.
    pub threads: usize,
}

/// An image ready to leave.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// The platform.
    pub platform: Platform,
    /// The layers' blobs, bottom first.
    pub layers: Vec<(LayerId, MadeBlob)>,
    /// The configuration and its bytes.
    pub config: (Descriptor, Bytes),
    /// The manifest and its bytes.
    pub manifest: (Descriptor, Bytes),
}

impl Part {
    /// Returns how many of the layers are the base image's.
    fn base_layers(&self, images: &Images) -> Result<usize, ExportError> {
        let Some(base) = &self.base else { return Ok(0) };
        let mut count = 0;
        for (id, wanted) in self.layers.iter().zip(&base.rootfs.diff_ids) {
            // A layer whose diff id nobody knows was made here.
            if images.store().layers().get(*id)?.diff_id.as_ref() != Some(wanted) {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    fn base_history(&self) -> &[History] {
        self.base.as_ref().map_or(&[], |base| &base.history)
    }

    /// Returns the configuration's bytes: all diff ids known, all times told. Blocks.
    ///
    /// # Errors
    /// If a layer is gone, or what the client gave is no configuration.
    pub fn configuration(&self, images: &Images, cache: Option<&[u8]>) -> Result<Bytes, ExportError> {
        let diff_ids = diff_ids(images, &self.layers)?;
        let base_layers = self.base_layers(images)?;
        let of_base = self.base_history().iter().rev().find_map(|entry| entry.created.clone());
        let facts = |(position, id): (usize, &LayerId)| {
            let layer = images.store().layers().get(*id)?;
            let created = match position < base_layers {
                true => of_base.clone(),
                false => Some(rfc3339(OffsetDateTime::from(layer.created))),
            };
            Ok(LayerFacts { created, description: layer.description })
        };
        let layers = self.layers.iter().enumerate().map(facts).collect::<Result<Vec<_>, ExportError>>()?;
        let patch = Patch { diff_ids: &diff_ids, layers: &layers, base: self.base_history(), epoch: self.epoch, cache };
        let given = self.config.clone().unwrap_or_else(|| default_config(&self.platform));
        Ok(patched(&given, &patch)?.into())
    }

    /// Returns the part with new layers whose times are `latest` at most; the base image's layers stay. Blocks.
    ///
    /// # Errors
    /// If a layer is gone, or cannot be read.
    pub fn with_times_until(&self, images: &Images, latest: i64) -> Result<Self, ExportError> {
        let positions: Vec<usize> = (self.base_layers(images)?..self.layers.len()).collect();
        let layers = std::sync::Mutex::new(self.layers.clone());
        parallel(&positions, &|position| {
            let rewritten = images.with_times_until(self.layers[position], &self.layers[..position], latest)?;
            layers.lock().expect("no holder of this lock panics")[position] = rewritten;
            Ok(())
        })?;
        let layers = layers.into_inner().expect("no holder of this lock panics");
        Ok(Self { layers, rewritten: Some(latest), ..self.clone() })
    }

    /// Makes the blobs of the layers; all but those that are at a registry lie in the store afterwards. Blocks.
    ///
    /// # Errors
    /// If a layer is gone, or a blob cannot be made.
    pub fn blobs(&self, images: &Images, options: AssembleOptions) -> Result<Vec<(LayerId, MadeBlob)>, ExportError> {
        let made = std::sync::Mutex::new(BTreeMap::new());
        let request = BlobRequest {
            compression: options.compression,
            force: options.force_compression,
            threads: options.threads,
        };
        let rewritten_from = match self.rewritten {
            Some(_) => self.base_layers(images)?,
            None => self.layers.len(),
        };
        let positions: Vec<usize> = (0..self.layers.len()).collect();
        parallel(&positions, &|position| {
            let mut blob = images.blob(self.layers[position], &self.layers[..position], request)?;
            if let Some(latest) = self.rewritten.filter(|_| position >= rewritten_from) {
                blob.descriptor.annotations.insert(REWRITTEN.to_owned(), latest.to_string());
            }
            made.lock().expect("no holder of this lock panics").insert(position, blob);
            Ok(())
        })?;
        let blobs = made.into_inner().expect("no holder of this lock panics").into_values();
        Ok(self.layers.iter().copied().zip(blobs).collect())
    }
}

/// Computes what is missing, a layer a thread.
fn diff_ids(images: &Images, layers: &[LayerId]) -> Result<Vec<DiffId>, ExportError> {
    let compute = |position: usize| images.diff_id(layers[position], &layers[..position]);
    let missing = |position: &usize| match images.store().layers().get(layers[*position]) {
        Ok(layer) => layer.diff_id.is_none(),
        Err(_) => true,
    };
    let missing: Vec<usize> = (0..layers.len()).filter(missing).collect();
    parallel(&missing, &|position| compute(position).map(|_| ()).map_err(ExportError::from))?;
    Ok((0..layers.len()).map(compute).collect::<Result<_, _>>()?)
}

/// Does something for several positions on two threads.
fn parallel(positions: &[usize], work: &(dyn Fn(usize) -> Result<(), ExportError> + Sync)) -> Result<(), ExportError> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let worker = || {
        while let Some(position) = positions.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            work(*position)?;
        }
        Ok(())
    };
    if positions.len() < 2 {
        return worker();
    }
    std::thread::scope(|scope| {
        let threads = [spawn_walker(scope, worker), spawn_walker(scope, worker)];
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| ExportError::Panicked)?)
    })
}

/// Makes the manifest over layers and a configuration, and stores both documents.
///
/// # Errors
/// If the store fails.
pub fn manifest_of(
    images: &Images,
    platform: Platform,
    layers: Vec<(LayerId, MadeBlob)>,
    config: Bytes,
    oci: bool,
) -> Result<Assembled, ExportError> {
    let form = ManifestForm { oci, foreign_layers: false, annotations: BTreeMap::new() };
    manifest_with(images, platform, layers, config, form)
}

/// What a manifest looks like besides what it names.
pub(crate) struct ManifestForm {
    pub(crate) oci: bool,
    pub(crate) foreign_layers: bool,
    pub(crate) annotations: Annotated,
}

/// Makes the manifest in a form.
pub(crate) fn manifest_with(
    images: &Images,
    platform: Platform,
    layers: Vec<(LayerId, MadeBlob)>,
    config: Bytes,
    form: ManifestForm,
) -> Result<Assembled, ExportError> {
    let ManifestForm { oci, foreign_layers, annotations } = form;
    let (manifest_type, config_type) = match oci {
        true => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG),
        false => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
    };
    let config_descriptor = Descriptor::new(config_type, images.store().blobs().put(&config)?, config.len() as u64);
    let descriptor = |blob: &MadeBlob| {
        let foreign = stays_foreign(&blob.descriptor, foreign_layers);
        let media_type = layer_type(&blob.descriptor.media_type, oci, foreign);
        let mut descriptor = Descriptor::new(media_type, blob.descriptor.digest, blob.descriptor.size);
        if foreign {
            descriptor.urls.clone_from(&blob.descriptor.urls);
        }
        // Docker's manifests have no annotations.
        let rewritten = blob.descriptor.annotations.get_key_value(REWRITTEN).filter(|_| oci);
        descriptor.annotations.extend(rewritten.map(|(key, value)| (key.clone(), value.clone())));
        descriptor
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(manifest_type.to_owned()),
        artifact_type: None,
        config: config_descriptor.clone(),
        layers: layers.iter().map(|(_, blob)| descriptor(blob)).collect(),
        subject: None,
        annotations,
    };
    let bytes = Bytes::from(json::to_vec_indented(&manifest));
    let digest = images.store().blobs().put(&bytes)?;
    let manifest_descriptor = Descriptor::new(manifest_type, digest, bytes.len() as u64);
    Ok(Assembled { platform, layers, config: (config_descriptor, config), manifest: (manifest_descriptor, bytes) })
}
