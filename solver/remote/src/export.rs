//! Writing caches: which results, their layers as blobs, then configuration and manifest. The manifest comes
//! last, so that an export that is cut off leaves what was there before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use rbuild_events::Reporter;
use rbuild_images::{BlobRequest, Images, MadeBlob, PushLayer};
use rbuild_oci::{Descriptor, DiffId, Digest, json};
use rbuild_ops::Ref;
use rbuild_registry::Progress;
use rbuild_solver::{CacheStorage, Edge, Explanation, Origin, ResultStore};
use rbuild_store::LayerId;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::backend::Backend;
use crate::collect::{Collected, Target};
use crate::config::{CREATED, Config, MEDIA_TYPE, UNCOMPRESSED};
use crate::document;
use crate::encode::{Layers, add_positions, records};
use crate::error::{RemoteError, blocking, chain};
use crate::import::Imports;
use crate::shown::{Shown, warn};
use crate::spec::{ExportSpec, Place};

/// The key of what a client is told of an exported cache: the descriptor of its root, as JSON.
pub const CACHE_MANIFEST: &str = "cache.manifest";
/// The field of an image's configuration that holds its cache, in base64.
pub const INLINE_FIELD: &str = "moby.buildkit.cache.v0";

/// Threads that compress.
const THREADS: usize = 2;
/// Blobs written at once.
const AT_ONCE: usize = 4;

/// What was solved by one job.
#[derive(Debug, Clone)]
pub struct Solution {
    /// How the answers came about ([`Job::explanations`](rbuild_solver::Job::explanations)).
    pub explanations: Vec<Explanation>,
    /// The results.
    pub targets: Vec<Target>,
}

/// Writes caches of what was solved.
#[derive(Clone)]
pub struct Exports {
    images: Images,
    reporter: Arc<dyn Reporter>,
    cache: Arc<dyn CacheStorage>,
    results: Arc<dyn ResultStore<Ref>>,
    imports: Option<Imports>,
}

/// The steps of a build with the layers of their results.
struct Gathered {
    collected: Collected,
    /// The layers of each step's result, bottom first, if it has one to export.
    chains: Vec<Option<Vec<LayerId>>>,
    /// The steps of the targets, and those whose layers are all the targets'.
    of_targets: BTreeSet<usize>,
}

/// A layer's blob and what is said of it.
struct Blob {
    layer: PushLayer,
    descriptor: Descriptor,
}

impl Exports {
    /// Joins what an export needs: the images with the credentials of whoever asks, and the memory that the jobs
    /// looked into, that of `imports` if there were any.
    pub fn new(
        images: Images,
        reporter: Arc<dyn Reporter>,
        cache: Arc<dyn CacheStorage>,
        results: Arc<dyn ResultStore<Ref>>,
        imports: Option<Imports>,
    ) -> Self {
        let memory = imports.as_ref().map(Imports::memory);
        let (cache, results) = memory.map_or((cache, results), |memory| (memory.cache, memory.results));
        Self { images, reporter, cache, results, imports }
    }

    /// Writes caches of all that was solved, one after the other; returns what a client is told.
    ///
    /// # Errors
    /// If one cannot be written whose errors are not to be ignored.
    pub async fn export(
        &self,
        solutions: &[Solution],
        exports: &[(ExportSpec, Arc<dyn Backend>)],
    ) -> Result<BTreeMap<String, String>, RemoteError> {
        let mut told = BTreeMap::new();
        let mut gathered: BTreeMap<bool, Gathered> = BTreeMap::new();
        for (spec, backend) in exports {
            let name = match spec.place {
                Some(Place::Local { .. }) => "exporting cache to client directory",
                _ => "exporting cache to registry",
            };
            let shown = Shown::begin(&self.reporter, name, &backend.place());
            let exported = self.export_one(solutions, &mut gathered, spec, backend, &shown).await;
            match exported {
                Ok(manifest) => {
                    shown.end(None);
                    told.extend(manifest.map(|manifest| (CACHE_MANIFEST.to_owned(), json_text(&manifest))));
                }
                Err(error) => {
                    let message = format!("failed to export the cache to {}: {}", backend.place(), chain(&error));
                    let vertex = shown.vertex();
                    shown.end(Some(message.clone()));
                    if !spec.ignore_error {
                        return Err(error);
                    }
                    warn(&*self.reporter, vertex, message);
                }
            }
        }
        Ok(told)
    }

    #[allow(clippy::map_entry, reason = "an entry cannot be held while others work")]
    async fn export_one(
        &self,
        solutions: &[Solution],
        gathered: &mut BTreeMap<bool, Gathered>,
        spec: &ExportSpec,
        backend: &Arc<dyn Backend>,
        shown: &Shown,
    ) -> Result<Option<Descriptor>, RemoteError> {
        let preparing = shown.part("preparing build cache for export");
        if !gathered.contains_key(&spec.all_results) {
            gathered.insert(spec.all_results, self.gather(solutions, spec.all_results).await?);
        }
        let gathered = &gathered[&spec.all_results];
        let blobs = self.blobs(gathered, spec, shown).await?;
        let (config, layers) = self.configuration(gathered, &blobs)?;
        preparing.end();
        if config.layers.is_empty() {
            shown.note("skipping cache export for empty result");
            return Ok(None);
        }
        self.write_layers(&blobs, &layers, &**backend, shown).await?;
        write_documents(&config, &layers, spec, &**backend, shown).await.map(Some)
    }

    /// Returns the cache that goes into the image of a target: JSON, for [`INLINE_FIELD`]; none if there is
    /// nothing to say.
    ///
    /// # Errors
    /// If the local cache or the store fails.
    pub async fn inline(&self, solution: &Solution) -> Result<Option<Vec<u8>>, RemoteError> {
        let Some(target) = solution.targets.first().filter(|target| !target.layers.is_empty()) else { return Ok(None) };
        let shown = Shown::begin(&self.reporter, "exporting inline cache", "");
        let gathered = self.gather(std::slice::from_ref(solution), false).await?;
        let mut records = records(&gathered.collected);
        let mut any = false;
        for (record, chain) in records.iter_mut().zip(&gathered.chains) {
            let Some(chain) = chain else { continue };
            let place = |id: &LayerId| target.layers.iter().position(|other| other == id);
            if let Some(positions) = chain.iter().map(place).collect::<Option<Vec<usize>>>() {
                add_positions(record, &positions, self.created(chain)?);
                any |= !positions.is_empty();
            }
        }
        shown.end(None);
        Ok(any.then(|| json::to_vec(&records)))
    }

    /// Gathers steps and the layers of their results.
    async fn gather(&self, solutions: &[Solution], all_results: bool) -> Result<Gathered, RemoteError> {
        let mut collected = Collected::default();
        for solution in solutions {
            let edges: Vec<Edge> = solution.targets.iter().filter_map(|target| target.edge).collect();
            collected.add(&solution.explanations, &edges, &*self.cache)?;
        }
        let targets: Vec<&Target> = solutions.iter().flat_map(|solution| &solution.targets).collect();
        let layers: BTreeSet<LayerId> = targets.iter().flat_map(|target| target.layers.iter().copied()).collect();
        let diff_ids = if all_results { BTreeSet::new() } else { self.diff_ids(&targets).await? };
        let mut gathered =
            Gathered { chains: vec![None; collected.steps.len()], collected, of_targets: BTreeSet::new() };
        for target in targets {
            if let Some(step) = target.edge.and_then(|edge| gathered.collected.step_of(&edge)) {
                gathered.chains[step] = Some(target.layers.clone());
                gathered.of_targets.insert(step);
            }
        }
        for index in 0..gathered.chains.len() {
            if gathered.chains[index].is_some() {
                continue;
            }
            let wanted = if all_results { None } else { Some(&diff_ids) };
            let chain = self.layers_of(&gathered.collected, index, wanted).await?;
            let chain = chain.filter(|chain| all_results || chain.iter().all(|id| layers.contains(id)));
            gathered.chains[index] = chain;
        }
        Ok(gathered)
    }

    async fn diff_ids(&self, targets: &[&Target]) -> Result<BTreeSet<DiffId>, RemoteError> {
        let chains: Vec<Vec<LayerId>> = targets.iter().map(|target| target.layers.clone()).collect();
        let images = self.images.clone();
        blocking(move || {
            let mut ids = BTreeSet::new();
            for chain in &chains {
                for (position, id) in chain.iter().enumerate() {
                    ids.insert(images.diff_id(*id, &chain[..position])?);
                }
            }
            Ok(ids)
        })
        .await
    }

    /// Returns the layers of a step's result, if it is recorded and not just a source; `wanted` is what all of
    /// them must be among.
    async fn layers_of(
        &self,
        collected: &Collected,
        index: usize,
        wanted: Option<&BTreeSet<DiffId>>,
    ) -> Result<Option<Vec<LayerId>>, RemoteError> {
        let step = &collected.steps[index];
        if !matches!(step.origin, Origin::Derived { .. }) {
            return Ok(None);
        }
        for key in &step.keys {
            // A record of the store whose result is gone may have stood before one of an import.
            while let Some(result) = self.cache.record(key)? {
                let imported = self.imports.as_ref().and_then(|imports| imports.overlay().peek(&result));
                if let (Some(wanted), Some(diff_ids)) = (wanted, imported)
                    && !diff_ids.iter().all(|id| wanted.contains(id))
                {
                    break;
                }
                match self.results.load(&result).await.map_err(RemoteError::Result)? {
                    Some(Ref::Layers(layers)) => return Ok(Some(layers)),
                    Some(Ref::Local(_)) => break,
                    None => self.cache.forget(key, &result)?,
                }
            }
        }
        Ok(None)
    }

    /// Makes the blobs of all layers. A result of some step whose layers are gone is left out; one of the
    /// targets is a failure.
    async fn blobs(
        &self,
        gathered: &Gathered,
        spec: &ExportSpec,
        shown: &Shown,
    ) -> Result<HashMap<LayerId, Blob>, RemoteError> {
        let request = BlobRequest { compression: spec.compression, force: spec.force_compression, threads: THREADS };
        let mut blobs: HashMap<LayerId, Blob> = HashMap::new();
        for (index, layers) in gathered.chains.iter().enumerate() {
            for (position, id) in layers.iter().flatten().enumerate() {
                if blobs.contains_key(id) {
                    continue;
                }
                let (images, below) = (self.images.clone(), layers.as_ref().map_or(&[][..], |all| &all[..position]));
                let (id, below) = (*id, below.to_vec());
                match blocking(move || blob(&images, id, &below, request)).await {
                    Ok(blob) => {
                        blobs.insert(id, blob);
                    }
                    Err(error) if gathered.of_targets.contains(&index) => return Err(error),
                    Err(error) => {
                        let name = &gathered.collected.steps[index].name;
                        let why = format!("the result of `{name}` is not exported: {}", chain(&error));
                        warn(&**shown.reporter(), shown.vertex(), why);
                        break;
                    }
                }
            }
        }
        Ok(blobs)
    }

    fn configuration(
        &self,
        gathered: &Gathered,
        blobs: &HashMap<LayerId, Blob>,
    ) -> Result<(Config, Layers), RemoteError> {
        let mut records = records(&gathered.collected);
        let mut layers = Layers::default();
        for (record, chain) in records.iter_mut().zip(&gathered.chains) {
            let Some(chain) = chain else { continue };
            let descriptors = chain.iter().map(|id| Some(blobs.get(id)?.descriptor.clone()));
            if let Some(descriptors) = descriptors.collect::<Option<Vec<Descriptor>>>() {
                layers.add(record, &descriptors, self.created(chain)?);
            }
        }
        Ok((Config { layers: layers.list.clone(), records }, layers))
    }

    /// Returns when a result was made.
    fn created(&self, layers: &[LayerId]) -> Result<String, RemoteError> {
        match layers.last() {
            Some(id) => Ok(rfc3339(self.images.store().layers().get(*id)?.created)),
            None => Ok(rfc3339(std::time::SystemTime::UNIX_EPOCH)),
        }
    }

    async fn write_layers(
        &self,
        blobs: &HashMap<LayerId, Blob>,
        layers: &Layers,
        backend: &dyn Backend,
        shown: &Shown,
    ) -> Result<(), RemoteError> {
        let named: BTreeSet<Digest> = layers.descriptors.iter().map(|descriptor| descriptor.digest).collect();
        let by_digest: BTreeMap<Digest, &Blob> = blobs.values().map(|blob| (blob.descriptor.digest, blob)).collect();
        let wanted = by_digest.into_iter().filter(|(digest, _)| named.contains(digest));
        let mut writes = Vec::new();
        for (digest, blob) in wanted {
            let write = async move {
                let writing = shown.part(format!("writing layer {digest}"));
                let source = self.images.source_of(&blob.layer);
                let remotes = &blob.layer.blob.remotes;
                backend.put(&blob.layer.blob.descriptor, source, remotes, Progress::silent()).await?;
                writing.end();
                Ok::<_, RemoteError>(())
            };
            writes.push(write.boxed());
        }
        futures::stream::iter(writes).buffer_unordered(AT_ONCE).try_collect().await
    }
}

/// Makes one layer's blob.
fn blob(images: &Images, id: LayerId, below: &[LayerId], request: BlobRequest) -> Result<Blob, RemoteError> {
    let blob: MadeBlob = images.blob(id, below, request)?;
    let created = images.store().layers().get(id)?.created;
    let plain = &blob.descriptor;
    let mut descriptor = Descriptor::new(plain.media_type.clone(), plain.digest, plain.size);
    descriptor.annotations.insert(UNCOMPRESSED.to_owned(), blob.diff_id.0.to_string());
    descriptor.annotations.insert(CREATED.to_owned(), rfc3339(created));
    Ok(Blob { layer: PushLayer { id, blob }, descriptor })
}

async fn write_documents(
    config: &Config,
    layers: &Layers,
    spec: &ExportSpec,
    backend: &dyn Backend,
    shown: &Shown,
) -> Result<Descriptor, RemoteError> {
    let bytes = Bytes::from(json::to_vec(config));
    let descriptor = Descriptor::new(MEDIA_TYPE, Digest::of(&bytes), bytes.len() as u64);
    let writing = shown.part(format!("writing config {}", descriptor.digest));
    backend.put(&descriptor, Arc::new(bytes), &[], Progress::silent()).await?;
    writing.end();
    let (root, bytes) = document::write(&layers.descriptors, descriptor, spec.oci_media_types, spec.image_manifest);
    let kind = if spec.image_manifest { "cache image manifest" } else { "cache manifest" };
    let writing = shown.part(format!("writing {kind} {}", root.digest));
    backend.put_root(&root, bytes).await?;
    writing.end();
    Ok(root)
}

fn json_text(descriptor: &Descriptor) -> String {
    String::from_utf8(json::to_vec(descriptor)).unwrap_or_default()
}

fn rfc3339(time: std::time::SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}
