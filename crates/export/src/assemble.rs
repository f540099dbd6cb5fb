//! From layers and a configuration to a manifest, byte for byte.

use std::collections::BTreeMap;

use bytes::Bytes;
use rbuild_images::{BlobRequest, Images, MadeBlob};
use rbuild_oci::{Descriptor, DiffId, Digest, History, ImageConfig, Index, Manifest, Platform, json, media_type};
use rbuild_store::LayerId;
use rbuild_tree::compress::Compression;
use rbuild_tree::spawn_walker;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ExportError;

/// The annotation of a layer whose times were set back, as BuildKit names it.
const REWRITTEN: &str = "buildkit/rewritten-timestamp";

/// A result of a build, for one platform.
#[derive(Debug, Clone)]
pub struct Built {
    /// The platform.
    pub platform: Platform,
    /// The layers, bottom first.
    pub layers: Vec<LayerId>,
    /// How many of them are the base image's.
    pub base_layers: usize,
    /// How many entries of the history are the base image's.
    pub base_history: usize,
    /// The configuration; diff ids and the times of new history entries are filled in here.
    pub config: ImageConfig,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub epoch: Option<i64>,
    /// The time that the new layers were rewritten to; see [`with_times_until`].
    pub rewritten: Option<i64>,
}

/// How blobs and manifests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssembleOptions {
    /// How new layers are compressed.
    pub compression: Compression,
    /// Whether layers that are there, compressed another way, are compressed anew.
    pub force_compression: bool,
    /// Whether media types are OCI's or Docker's.
    pub oci_media_types: bool,
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

/// Returns the configuration's bytes of what was built: all diff ids known, all times told. Blocks.
///
/// # Errors
/// If a layer is gone, or the history does not fit the layers.
pub fn configuration(images: &Images, built: &Built) -> Result<(ImageConfig, Bytes), ExportError> {
    let mut config = built.config.clone();
    config.rootfs.diff_ids = diff_ids(images, &built.layers)?;
    fill_history(&mut config, built, &made_layers(images, built)?);
    config.created = config_time(&config).or(config.created);
    let bytes = json::to_vec(&config);
    Ok((config, bytes.into()))
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

/// What a layer adds to a history that does not tell of it.
struct MadeLayer {
    created: Option<String>,
    description: String,
}

/// Returns when and by what the layers were made; those of the base are as old as it says.
fn made_layers(images: &Images, built: &Built) -> Result<Vec<MadeLayer>, ExportError> {
    let epoch = built.epoch.and_then(|epoch| OffsetDateTime::from_unix_timestamp(epoch).ok());
    let made = |(position, id): (usize, &LayerId)| {
        let layer = images.store().layers().get(*id)?;
        let created = match position < built.base_layers {
            true => config_time(&built.config),
            false => Some(clamped(&rfc3339(OffsetDateTime::from(layer.created)), epoch)),
        };
        Ok(MadeLayer { created, description: layer.description })
    };
    built.layers.iter().enumerate().map(made).collect()
}

/// New entries get the time of their layer; those without one that of the entry before, or of the
/// first layer after.
fn fill_history(config: &mut ImageConfig, built: &Built, made: &[MadeLayer]) {
    fit_history(&mut config.history, made);
    let epoch = built.epoch.and_then(|epoch| OffsetDateTime::from_unix_timestamp(epoch).ok());
    let first = made.get(built.base_layers).and_then(|made| made.created.clone());
    let before = || config_time(&built.config).map(|told| clamped(&told, epoch));
    let mut current = first.or_else(before).or_else(|| epoch.map(rfc3339));
    let mut layers = made.iter();
    for (position, entry) in config.history.iter_mut().enumerate() {
        let layer = if entry.empty_layer { None } else { layers.next() };
        if position < built.base_history {
            continue;
        }
        if let Some(layer) = layer {
            current.clone_from(&layer.created);
        }
        entry.created = entry.created.as_deref().map(|told| clamped(told, epoch)).or_else(|| current.clone());
    }
}

/// Makes history and layers agree, as BuildKit does: an entry that no layer is left for has none; a layer that no
/// entry tells of (of a base that is a context, or an image without history) gets one at the end.
fn fit_history(history: &mut Vec<History>, made: &[MadeLayer]) {
    let mut told = 0;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        entry.empty_layer = told == made.len();
        told += usize::from(!entry.empty_layer);
    }
    history.extend(made.iter().skip(told).map(|layer| History {
        created: layer.created.clone(),
        created_by: layer.description.clone(),
        comment: "buildkit.exporter.image.v0".to_owned(),
        ..History::default()
    }));
}

/// Returns a time, or `latest` if that is earlier.
fn clamped(told: &str, latest: Option<OffsetDateTime>) -> String {
    let parsed = OffsetDateTime::parse(told, &Rfc3339).ok();
    match latest.filter(|latest| parsed.is_some_and(|at| at > *latest)) {
        Some(latest) => rfc3339(latest),
        None => told.to_owned(),
    }
}

fn config_time(config: &ImageConfig) -> Option<String> {
    config.history.iter().rev().find_map(|entry| entry.created.clone())
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

/// Returns what was built with new layers whose times are `latest` at most; the base image's layers stay.
/// Blocks.
///
/// # Errors
/// If a layer is gone, or cannot be read.
pub fn with_times_until(images: &Images, built: &Built, latest: i64) -> Result<Built, ExportError> {
    let positions: Vec<usize> = (built.base_layers..built.layers.len()).collect();
    let layers = std::sync::Mutex::new(built.layers.clone());
    parallel(&positions, &|position| {
        let rewritten = images.with_times_until(built.layers[position], &built.layers[..position], latest)?;
        layers.lock().expect("no holder of this lock panics")[position] = rewritten;
        Ok(())
    })?;
    let layers = layers.into_inner().expect("no holder of this lock panics");
    Ok(Built { layers, rewritten: Some(latest), ..built.clone() })
}

/// Makes blobs, configuration and manifest of what was built; all but layers that are at a registry
/// lie in the store afterwards. Blocks.
///
/// # Errors
/// If a layer is gone, or a blob cannot be made.
pub fn assemble(images: &Images, built: &Built, options: AssembleOptions) -> Result<Assembled, ExportError> {
    let made = std::sync::Mutex::new(BTreeMap::new());
    let request =
        BlobRequest { compression: options.compression, force: options.force_compression, threads: options.threads };
    let positions: Vec<usize> = (0..built.layers.len()).collect();
    parallel(&positions, &|position| {
        let mut blob = images.blob(built.layers[position], &built.layers[..position], request)?;
        if let Some(latest) = built.rewritten.filter(|_| position >= built.base_layers) {
            blob.descriptor.annotations.insert(REWRITTEN.to_owned(), latest.to_string());
        }
        made.lock().expect("no holder of this lock panics").insert(position, blob);
        Ok(())
    })?;
    let blobs = made.into_inner().expect("no holder of this lock panics").into_values();
    let layers: Vec<_> = built.layers.iter().copied().zip(blobs).collect();
    let (_, config) = configuration(images, built)?;
    manifest_of(images, built.platform.clone(), layers, config, options.oci_media_types)
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
    let (manifest_type, config_type) = match oci {
        true => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG),
        false => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
    };
    let config_descriptor = Descriptor::new(config_type, images.store().blobs().put(&config)?, config.len() as u64);
    let descriptor = |blob: &MadeBlob| {
        let media_type = layer_type(&blob.descriptor.media_type, oci);
        let mut descriptor = Descriptor::new(media_type, blob.descriptor.digest, blob.descriptor.size);
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
        annotations: BTreeMap::new(),
    };
    let bytes = Bytes::from(json::to_vec_indented(&manifest));
    let digest = images.store().blobs().put(&bytes)?;
    let manifest_descriptor = Descriptor::new(manifest_type, digest, bytes.len() as u64);
    Ok(Assembled { platform, layers, config: (config_descriptor, config), manifest: (manifest_descriptor, bytes) })
}

/// Returns a layer's media type in the family that the manifest has.
fn layer_type(media_type: &str, oci: bool) -> String {
    use rbuild_oci::media_type as m;
    let translated = match (media_type, oci) {
        (m::DOCKER_LAYER_GZIP, true) => m::OCI_LAYER_GZIP,
        (m::DOCKER_LAYER, true) => m::OCI_LAYER,
        (m::DOCKER_LAYER_ZSTD, true) => m::OCI_LAYER_ZSTD,
        (m::OCI_LAYER_GZIP, false) => m::DOCKER_LAYER_GZIP,
        (m::OCI_LAYER, false) => m::DOCKER_LAYER,
        (m::OCI_LAYER_ZSTD, false) => m::DOCKER_LAYER_ZSTD,
        (other, _) => other,
    };
    translated.to_owned()
}

/// Makes the index over the images of several platforms, and stores it.
///
/// # Errors
/// If the store fails.
pub fn index_of(images: &Images, assembled: &[Assembled], oci: bool) -> Result<(Descriptor, Bytes), ExportError> {
    let index_type = if oci { media_type::OCI_INDEX } else { media_type::DOCKER_LIST };
    let entry = |image: &Assembled| {
        let mut descriptor = image.manifest.0.clone();
        descriptor.platform = Some(image.platform.clone());
        descriptor
    };
    let index = Index {
        schema_version: 2,
        media_type: Some(index_type.to_owned()),
        manifests: assembled.iter().map(entry).collect(),
        annotations: BTreeMap::new(),
    };
    let bytes = Bytes::from(json::to_vec_indented(&index));
    let digest: Digest = images.store().blobs().put(&bytes)?;
    Ok((Descriptor::new(index_type, digest, bytes.len() as u64), bytes))
}
