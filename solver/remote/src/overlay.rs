//! The local cache and imported ones as one: the local is asked first and the only one written to.
//!
//! A result found in an import is loaded as layers that are still where the import keeps them, and recorded
//! locally with all that leads to it: the next build needs no import. Layers that can be fetched from a
//! repository by anybody stay there until somebody looks into them; others are copied at once, as a client's
//! directory may be gone tomorrow.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use futures::future::try_join_all;
use rbuild_events::Reporter;
use rbuild_images::Images;
use rbuild_oci::{DiffId, Digest};
use rbuild_ops::Ref;
use rbuild_registry::{Progress, Sink};
use rbuild_solver::{
    CacheError, CacheStorage, Change, Count, Key, Link, NewRecord, OperationError, Origin, Others, Record, ResultStore,
    Saved, Via,
};
use rbuild_store::{Ingest, LayerId, Remote, Resumable};

use crate::backend::{Backend, BackendError};
use crate::decode::{Graph, ImportedLayer};
use crate::error::{RemoteError, blocking, chain};
use crate::shown::warn;

/// Begins what stands for a result of an import; results of the store begin with a letter or digit.
const MARK: &[u8] = b"\0imported\0";

/// One imported cache.
pub(crate) struct Source {
    pub(crate) graph: Graph,
    pub(crate) backend: Arc<dyn Backend>,
    /// The vertex that shows it.
    pub(crate) vertex: Digest,
}

/// The local cache with imported ones beside it.
pub(crate) struct Overlay {
    local: Arc<dyn CacheStorage>,
    results: Arc<dyn ResultStore<Ref>>,
    images: Images,
    reporter: Arc<dyn Reporter>,
    sources: Vec<Source>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Results that could not be loaded.
    gone: HashSet<(usize, Key)>,
    /// Blobs that were missing or wrong.
    struck: HashSet<Digest>,
    /// Keys of which the local cache knows what leads to them.
    adopted: HashSet<(usize, Key)>,
}

impl Overlay {
    pub(crate) fn new(
        local: Arc<dyn CacheStorage>,
        results: Arc<dyn ResultStore<Ref>>,
        images: Images,
        reporter: Arc<dyn Reporter>,
        sources: Vec<Source>,
    ) -> Self {
        Self { local, results, images, reporter, sources, state: Mutex::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the diff ids of a result of an import, without loading it; none for results of the store.
    pub(crate) fn peek(&self, result: &[u8]) -> Option<Vec<DiffId>> {
        let (index, key) = self.imported(result)?;
        let layers = self.sources[index].graph.results(&key).into_iter().next()?;
        Some(layers.into_iter().map(|layer| layer.diff_id).collect())
    }

    /// Takes back what stands on these layers.
    pub(crate) fn strike(&self, layers: &[LayerId]) -> Result<(), RemoteError> {
        for id in layers {
            let layer = self.images.store().layers().get(*id)?;
            let blobs = layer.blobs.iter().map(|blob| blob.descriptor.digest);
            let remotes = layer.remotes.iter().map(|remote| remote.descriptor.digest);
            self.state().struck.extend(blobs.chain(remotes));
        }
        Ok(())
    }

    /// Returns which import and key a result stands for.
    fn imported(&self, result: &[u8]) -> Option<(usize, Key)> {
        let rest = result.strip_prefix(MARK)?;
        let (index, key) = rest.split_first_chunk::<8>()?;
        let index = usize::try_from(u64::from_be_bytes(*index)).ok().filter(|index| *index < self.sources.len())?;
        Some((index, Key::from_bytes(key.try_into().ok()?)))
    }

    fn stands_for(index: usize, key: &Key) -> Vec<u8> {
        [MARK, &(index as u64).to_be_bytes(), key.as_bytes()].concat()
    }

    async fn load_imported(&self, index: usize, key: Key) -> Result<Option<Ref>, RemoteError> {
        let source = &self.sources[index];
        for layers in source.graph.results(&key) {
            match self.layers(source, &layers, source.graph.name(&key)).await {
                Ok(layers) => {
                    let value = Ref::Layers(layers);
                    self.adopt(index, key, &value).await?;
                    return Ok(Some(value));
                }
                Err(error) => {
                    let name = source.graph.name(&key);
                    let why = format!("a cached result of `{name}` cannot be used: {}", chain(&error));
                    warn(&*self.reporter, source.vertex, why);
                }
            }
        }
        Ok(None)
    }

    /// Returns layers of the store for those of an import.
    async fn layers(&self, source: &Source, layers: &[ImportedLayer], name: &str) -> Result<Vec<LayerId>, RemoteError> {
        let struck = layers.iter().find(|layer| self.state().struck.contains(&layer.descriptor.digest));
        if let Some(layer) = struck {
            let digest = layer.descriptor.digest;
            return Err(BackendError::Mismatch { digest, place: source.backend.place() }.into());
        }
        let missing = self.missing(layers).await?;
        match source.backend.repository() {
            Some(_) => {
                try_join_all(missing.iter().map(|layer| expect(&*source.backend, layer))).await?;
            }
            None => {
                for layer in &missing {
                    self.copy(&*source.backend, layer).await?;
                }
            }
        }
        let (images, layers, name) = (self.images.clone(), layers.to_vec(), name.to_owned());
        let repository = source.backend.repository();
        blocking(move || layers.iter().map(|layer| layer_of(&images, repository.as_deref(), layer, &name)).collect())
            .await
    }

    /// Returns the layers that the store cannot give.
    async fn missing(&self, layers: &[ImportedLayer]) -> Result<Vec<ImportedLayer>, RemoteError> {
        let (images, layers) = (self.images.clone(), layers.to_vec());
        blocking(move || {
            let store = images.store();
            let mut missing = Vec::new();
            for layer in layers {
                let here = store.blobs().hold(&layer.descriptor.digest)?
                    || store.layers().find_verified(layer.diff_id)?.is_some();
                if !here {
                    missing.push(layer);
                }
            }
            Ok(missing)
        })
        .await
    }

    /// Copies a blob into the store.
    async fn copy(&self, backend: &dyn Backend, layer: &ImportedLayer) -> Result<(), RemoteError> {
        let store = self.images.store();
        let mut ingest = match store.blobs().ingest_resumable(&layer.descriptor)? {
            Resumable::Have => return Ok(()),
            Resumable::Resume(ingest) => ingest,
        };
        ingest.restart()?;
        backend.fetch(&layer.descriptor, &mut IngestSink(&mut ingest), Progress::silent()).await?;
        ingest.commit()?;
        Ok(())
    }

    /// Records a result locally, with all that leads to it.
    async fn adopt(&self, index: usize, key: Key, value: &Ref) -> Result<(), RemoteError> {
        let saved = self.results.save(value).await.map_err(RemoteError::Result)?;
        let graph = &self.sources[index].graph;
        let (mut origins, mut links, mut left) = (Vec::new(), Vec::new(), vec![key]);
        {
            let mut state = self.state();
            while let Some(next) = left.pop() {
                if !state.adopted.insert((index, next)) {
                    continue;
                }
                origins.extend(graph.origins.get(&next).map(|origin| (next, *origin)));
                let into = graph.into.get(&next).map_or(&[][..], Vec::as_slice);
                left.extend(into.iter().map(|link| link.source));
                links.extend(into);
            }
        }
        let description = graph.name(&key).to_owned();
        let record = NewRecord { key, result: saved.result, size: saved.size, description };
        let change = Change { origins, links, others: Others::Keep, records: vec![record], at: SystemTime::now() };
        let local = Arc::clone(&self.local);
        blocking(move || Ok(local.commit(&change)?)).await
    }
}

/// Fails if a blob is not where the import keeps it.
async fn expect(backend: &dyn Backend, layer: &ImportedLayer) -> Result<(), RemoteError> {
    match backend.has(&layer.descriptor).await? {
        true => Ok(()),
        false => Err(BackendError::NoBlob { digest: layer.descriptor.digest, place: backend.place() }.into()),
    }
}

fn layer_of(
    images: &Images,
    repository: Option<&str>,
    layer: &ImportedLayer,
    name: &str,
) -> Result<LayerId, RemoteError> {
    let layers = images.store().layers();
    let before = layers.find_by_diff_id(layer.diff_id)?;
    let description = layer.description.clone().unwrap_or_else(|| name.to_owned());
    let descriptor = layer.descriptor.clone();
    let id = match repository {
        Some(repository) => {
            let remote = Remote { reference: repository.to_owned(), descriptor };
            images.lazy_layer(&remote, layer.diff_id, description)?
        }
        None if images.store().blobs().hold(&descriptor.digest)? => {
            images.layer_of_blob(&descriptor, layer.diff_id, description)?
        }
        // It was not copied because a layer of the store is known to be the same.
        None => {
            let verified = layers.find_verified(layer.diff_id)?;
            verified.ok_or(rbuild_store::Error::NoBlob(descriptor.digest))?
        }
    };
    // What is told of the time when an image's layers were made is part of the image.
    if let Some(created) = layer.created.filter(|_| before != Some(id)) {
        layers.set_created(id, created)?;
    }
    Ok(id)
}

/// An ingest as the place where a blob goes.
struct IngestSink<'a>(&'a mut Ingest);

impl Sink for IngestSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    fn restart(&mut self) -> std::io::Result<()> {
        self.0.restart().map_err(std::io::Error::other)
    }
}

#[async_trait]
impl ResultStore<Ref> for Overlay {
    async fn save(&self, value: &Ref) -> Result<Saved, OperationError> {
        self.results.save(value).await
    }

    async fn load(&self, result: &[u8]) -> Result<Option<Ref>, OperationError> {
        match self.imported(result) {
            Some((index, key)) => Ok(self.load_imported(index, key).await?),
            None => self.results.load(result).await,
        }
    }
}

impl CacheStorage for Overlay {
    fn follow(&self, ways: &[(Key, Via)]) -> Result<Vec<Vec<Key>>, CacheError> {
        let mut all = self.local.follow(ways)?;
        for (targets, way) in all.iter_mut().zip(ways) {
            for source in &self.sources {
                let more = source.graph.ways.get(way).map_or(&[][..], Vec::as_slice);
                let new: Vec<Key> = more.iter().filter(|key| !targets.contains(key)).copied().collect();
                targets.extend(new);
            }
        }
        Ok(all)
    }

    fn record(&self, key: &Key) -> Result<Option<Vec<u8>>, CacheError> {
        if let Some(result) = self.local.record(key)? {
            return Ok(Some(result));
        }
        let state = self.state();
        let has =
            |(index, source): &(usize, &Source)| source.graph.has_result(key) && !state.gone.contains(&(*index, *key));
        let found = self.sources.iter().enumerate().find(has);
        Ok(found.map(|(index, _)| Self::stands_for(index, key)))
    }

    fn commit(&self, change: &Change) -> Result<(), CacheError> {
        self.local.commit(change)
    }

    fn forget(&self, key: &Key, result: &[u8]) -> Result<(), CacheError> {
        match self.imported(result) {
            Some(gone) => {
                self.state().gone.insert(gone);
                Ok(())
            }
            None => self.local.forget(key, result),
        }
    }

    fn touch(&self, keys: &[Key], at: SystemTime) -> Result<(), CacheError> {
        self.local.touch(keys, at)
    }

    fn records(&self) -> Result<Vec<Record>, CacheError> {
        self.local.records()
    }

    fn remove(&self, keys: &[Key]) -> Result<usize, CacheError> {
        self.local.remove(keys)
    }

    fn remove_lost(&self, is_lost: &mut dyn FnMut(&Record) -> bool) -> Result<usize, CacheError> {
        self.local.remove_lost(is_lost)
    }

    fn origin(&self, key: &Key) -> Result<Option<Origin>, CacheError> {
        let local = self.local.origin(key)?;
        Ok(local.or_else(|| self.sources.iter().find_map(|source| source.graph.origins.get(key).copied())))
    }

    fn links_to(&self, key: &Key) -> Result<Vec<Link>, CacheError> {
        let mut links = self.local.links_to(key)?;
        for source in &self.sources {
            let more = source.graph.into.get(key).map_or(&[][..], Vec::as_slice);
            let new: Vec<Link> = more.iter().filter(|link| !links.contains(link)).copied().collect();
            links.extend(new);
        }
        Ok(links)
    }

    fn count(&self) -> Result<Count, CacheError> {
        self.local.count()
    }
}
