//! Reading caches: a manifest and a configuration each, nothing else.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::join_all;
use rbuild_events::Reporter;
use rbuild_images::Images;
use rbuild_oci::{Descriptor, Digest, Hasher, ImageConfig, Manifest, json, platform};
use rbuild_ops::Ref;
use rbuild_solver::{CacheStorage, Memory, ResultStore};
use rbuild_store::LayerId;

use crate::backend::Backend;
use crate::config::{Config, Record};
use crate::decode::{Graph, ImportedLayer, name_of, of_descriptor, time_of};
use crate::document::{self, Root};
use crate::error::{RemoteError, chain};
use crate::export::INLINE_FIELD;
use crate::overlay::{Overlay, Source};
use crate::shown::{Shown, warn};

/// The most images of an index that are looked into for caches.
const MOST_IMAGES: usize = 64;

/// Caches of others that jobs may look into, beside the local one.
#[derive(Clone)]
pub struct Imports {
    overlay: Arc<Overlay>,
    scope: Digest,
}

/// What was found at one place.
struct Found {
    graphs: Vec<Graph>,
    root: Digest,
}

impl Imports {
    /// Reads the caches in these places. One that cannot be read is shown with the reason and left out.
    ///
    /// `cache` and `results` are the local ones: they are asked first, and what is used of an import is kept
    /// there. The credentials are those of `images`.
    pub async fn read(
        images: &Images,
        places: Vec<Arc<dyn Backend>>,
        reporter: &Arc<dyn Reporter>,
        cache: Arc<dyn CacheStorage>,
        results: Arc<dyn ResultStore<Ref>>,
    ) -> Self {
        let read = join_all(places.into_iter().map(|backend| read_shown(backend, reporter))).await;
        let mut hasher = Hasher::new();
        let mut sources = Vec::new();
        for (backend, vertex, found) in read.into_iter().flatten() {
            hasher.update(found.root.as_bytes());
            hasher.update(backend.place().as_bytes());
            let source = |graph| Source { graph, backend: Arc::clone(&backend), vertex };
            sources.extend(found.graphs.into_iter().map(source));
        }
        let overlay = Overlay::new(cache, results, images.clone(), Arc::clone(reporter), sources);
        Self { overlay: Arc::new(overlay), scope: hasher.finish() }
    }

    /// Whether nothing can be found here.
    pub fn is_empty(&self) -> bool {
        self.overlay.is_empty()
    }

    /// Returns what jobs look into: the local cache, then the imported ones.
    pub fn memory(&self) -> Memory<Ref> {
        Memory { cache: self.overlay.clone(), results: self.overlay.clone(), scope: self.scope }
    }

    pub(crate) fn overlay(&self) -> &Overlay {
        &self.overlay
    }
}

/// Takes back all that stands on layers which turned out to be missing or not what they were taken for
/// ([`Images::take_unusable`]). Returns whether there are any that are not in `known` yet: then a build that failed
/// should be solved once more, and runs the steps instead. Blocks.
///
/// # Errors
/// If the store fails.
pub fn strike(
    images: &Images,
    imports: Option<&Imports>,
    known: &mut BTreeSet<LayerId>,
    reporter: &Arc<dyn Reporter>,
) -> Result<bool, RemoteError> {
    let layers: Vec<LayerId> = images.take_unusable().into_iter().filter(|id| known.insert(*id)).collect();
    for id in &layers {
        let layer = images.store().layers().get(*id)?;
        images.store().results().remove_with_layer(*id)?;
        let name = if layer.description.is_empty() { layer.id.to_string() } else { layer.description };
        let why = format!("a cached layer of `{name}` is missing or damaged where it is kept: the step is run again");
        warn(&**reporter, Digest::of(b"cache"), why);
    }
    if let Some(imports) = imports {
        imports.overlay.strike(&layers)?;
    }
    Ok(!layers.is_empty())
}

/// Reads one cache and shows it.
async fn read_shown(
    backend: Arc<dyn Backend>,
    reporter: &Arc<dyn Reporter>,
) -> Option<(Arc<dyn Backend>, Digest, Found)> {
    let place = backend.place();
    let shown = Shown::begin(reporter, &format!("importing cache manifest from {place}"), &place);
    let vertex = shown.vertex();
    match read(&*backend, &shown).await {
        Ok(mut found) => {
            let foreign: usize = found.graphs.iter().map(|graph| graph.foreign).sum();
            found.graphs.retain(|graph| !graph.is_empty());
            match (found.graphs.is_empty(), foreign) {
                (true, 0) => shown.note("no cache in it"),
                (_, 0) => {}
                (_, foreign) => {
                    shown.note(format!("ignoring {foreign} records that another program or another version wrote"));
                }
            }
            shown.end(None);
            Some((backend, vertex, found))
        }
        Err(error) => {
            shown.end(Some(format!("failed to import the cache of {place}: {}", chain(&error))));
            None
        }
    }
}

async fn read(backend: &dyn Backend, shown: &Shown) -> Result<Found, RemoteError> {
    let (descriptor, bytes) = backend.root().await?;
    let graphs = match document::read(descriptor.digest, &bytes)? {
        Root::Cache { config, layers } => {
            let bytes = backend.small(&config).await?;
            vec![off_thread(move || read_config(config.digest, &bytes, &layers)).await?]
        }
        Root::Image(manifest) => read_image(backend, *manifest).await?.into_iter().collect(),
        Root::Images(manifests) => read_images(backend, &manifests, shown).await?,
    };
    Ok(Found { graphs, root: descriptor.digest })
}

/// Large documents take a while.
async fn off_thread(work: impl FnOnce() -> Result<Graph, RemoteError> + Send + 'static) -> Result<Graph, RemoteError> {
    crate::error::blocking(work).await
}

fn read_config(digest: Digest, bytes: &Bytes, layers: &HashMap<Digest, Descriptor>) -> Result<Graph, RemoteError> {
    let broken = |reason| RemoteError::document("cache configuration", digest, reason);
    let config: Config = json::from_slice(bytes).map_err(|error| broken(chain(&error)))?;
    Graph::read(&config, layers).map_err(broken)
}

async fn read_images(
    backend: &dyn Backend,
    manifests: &[Descriptor],
    shown: &Shown,
) -> Result<Vec<Graph>, RemoteError> {
    let images: Vec<_> = manifests.iter().filter(|entry| !platform::is_attestation(entry)).collect();
    if images.len() > MOST_IMAGES {
        shown.note(format!("only the first {MOST_IMAGES} of {} images are looked into", images.len()));
    }
    let mut graphs = Vec::new();
    for descriptor in images.into_iter().take(MOST_IMAGES) {
        let bytes = backend.manifest(descriptor).await?;
        if let Root::Image(manifest) = document::read(descriptor.digest, &bytes)? {
            graphs.extend(read_image(backend, *manifest).await?);
        }
    }
    Ok(graphs)
}

/// Reads the cache inside of an image, if it has one.
async fn read_image(backend: &dyn Backend, manifest: Manifest) -> Result<Option<Graph>, RemoteError> {
    let digest = manifest.config.digest;
    let bytes = backend.small(&manifest.config).await?;
    let broken = |reason| RemoteError::document("image configuration", digest, reason);
    let config: ImageConfig = json::from_slice(&bytes).map_err(|error| broken(chain(&error)))?;
    let Some(text) = config.extra.get(INLINE_FIELD).and_then(serde_json::Value::as_str) else { return Ok(None) };
    let records = STANDARD.decode(text).map_err(|error| broken(format!("its cache is not base64: {error}")))?;
    let diff_ids = config.rootfs.diff_ids.clone();
    if diff_ids.len() != manifest.layers.len() {
        let (layers, ids) = (manifest.layers.len(), diff_ids.len());
        return Err(broken(format!("{layers} layers have {ids} diff ids")));
    }
    let read = move || {
        let broken = |reason| RemoteError::document("cache of the image", digest, reason);
        let records: Vec<Record> = json::from_slice(&records).map_err(|error| broken(chain(&error)))?;
        let made = config.history.iter().filter(|entry| !entry.empty_layer);
        let told = |text: &str| Some(name_of(text)).filter(|name| !name.is_empty());
        let mut made = made.map(|entry| (entry.created.as_deref().and_then(time_of), told(&entry.created_by)));
        let layers = manifest.layers.iter().zip(&diff_ids).map(|(layer, diff_id)| {
            let (created, description) = made.next().unwrap_or_default();
            let described = |layer| ImportedLayer { description, ..layer };
            of_descriptor(layer, *diff_id, created).map(described)
        });
        Graph::of_image(&records, layers.collect()).map_err(broken)
    };
    off_thread(read).await.map(Some)
}
