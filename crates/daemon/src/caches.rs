//! Caches of others in a client's build: looked into before steps are run, written after.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rbuild_buildkit_api::control::CacheOptionsEntry;
use rbuild_events::Reporter;
use rbuild_export::InlineCache;
use rbuild_images::{Images, MadeBlob};
use rbuild_oci::{Descriptor, Digest};
use rbuild_ops::{LayerResults, Ref};
use rbuild_registry::Source;
use rbuild_remote::{
    Backend, BoxError, CacheSpec, ContentStore, ExportSpec, Exports, ImportSpec, Imports, Local, Place as CachePlace,
    Registry, Solution, strike,
};
use rbuild_session::{ClientContent, LOOKUP, Sessions};
use rbuild_solver::{Edge, Explanation, Job, Solver};
use rbuild_store::LayerId;
use tokio::sync::{Mutex, OnceCell};

use crate::attest;
use crate::fault::Fault;
use crate::lazy::Lazy;

/// The most caches that a build looks into or writes.
const MAX_CACHES: usize = 100;

/// The caches that a build looks into, and the jobs that do.
pub(crate) struct Caches {
    images: Images,
    solver: Solver<Ref>,
    reporter: Arc<dyn Reporter>,
    sessions: Sessions,
    session: String,
    jobs: Mutex<HashMap<Vec<Asked>, Place>>,
    struck: std::sync::Mutex<BTreeSet<LayerId>>,
}

/// A cache as a client asks for it: its type, and attributes.
pub(crate) type Asked = (String, BTreeMap<String, String>);

/// The place of the one job that looks into some caches.
type Place = Arc<OnceCell<Arc<Looking>>>;

/// A job and the caches it looks into.
pub(crate) struct Looking {
    pub(crate) job: Job<Ref>,
    imports: Option<Imports>,
}

/// Reads caches that a client asks for.
pub(crate) fn asked(entries: impl IntoIterator<Item = CacheOptionsEntry>) -> Result<Vec<Asked>, Fault> {
    let asked: Vec<Asked> = entries.into_iter().map(|entry| (entry.r#type, entry.attrs)).collect();
    if asked.len() > MAX_CACHES {
        return Err(Fault::new(format!("a build may have {MAX_CACHES} caches")));
    }
    Ok(asked)
}

/// Reads the caches that a client wants written, before anything is built.
pub(crate) fn exports(asked: &[Asked]) -> Result<Vec<ExportSpec>, Fault> {
    let unique: BTreeSet<_> = asked.iter().collect();
    if unique.len() < asked.len() {
        let kinds: Vec<_> = asked.iter().map(|(kind, _)| kind.as_str()).collect();
        return Err(Fault::new(format!("duplicate cache exports [{}]", kinds.join(" "))));
    }
    let spec = |(kind, attributes): &Asked| {
        let spec = CacheSpec { kind: kind.clone(), attributes: attributes.clone() };
        ExportSpec::parse(&spec).map_err(|error| Fault::of(&error))
    };
    asked.iter().map(spec).collect()
}

impl Caches {
    pub(crate) fn new(
        images: Images,
        solver: Solver<Ref>,
        reporter: Arc<dyn Reporter>,
        sessions: Sessions,
        session: String,
    ) -> Self {
        Self {
            images,
            solver,
            reporter,
            sessions,
            session,
            jobs: Mutex::default(),
            struck: std::sync::Mutex::default(),
        }
    }

    /// Returns whether the build looks into caches of its client's choice.
    pub(crate) fn has_imports(&self) -> bool {
        self.jobs.try_lock().map_or(true, |jobs| jobs.keys().any(|imports| !imports.is_empty()))
    }

    /// Returns the job that looks into these caches, reading them at the first call. What cannot be read is told and
    /// left out.
    pub(crate) fn looking<'a>(&'a self, imports: &'a [Asked]) -> BoxFuture<'a, Arc<Looking>> {
        async move {
            let place = self.jobs.lock().await.entry(imports.to_vec()).or_default().clone();
            place.get_or_init(|| async { Arc::new(self.look(imports).await) }).await.clone()
        }
        .boxed()
    }

    async fn look(&self, imports: &[Asked]) -> Looking {
        let mut backends = Vec::new();
        for (kind, attributes) in imports {
            let spec = CacheSpec { kind: kind.clone(), attributes: attributes.clone() };
            let backend = match ImportSpec::parse(&spec) {
                Ok(spec) => self.backend(&spec.place, false).await,
                Err(error) => Err(Fault::of(&error)),
            };
            match backend {
                Ok(backend) => backends.push(backend),
                Err(fault) => self.refused(&spec, fault).await,
            }
        }
        let imports = if backends.is_empty() { None } else { Some(self.read(backends).await) };
        let imports = imports.filter(|imports| !imports.is_empty());
        let job = match &imports {
            Some(imports) => self.solver.job_with(self.reporter.clone(), &imports.memory()),
            None => self.solver.job(self.reporter.clone()),
        };
        Looking { job, imports }
    }

    async fn read(&self, backends: Vec<Arc<dyn Backend>>) -> Imports {
        let results = Arc::new(LayerResults(self.images.store().clone()));
        Imports::read(&self.images, backends, &self.reporter, self.solver.cache().clone(), results).await
    }

    async fn refused(&self, spec: &CacheSpec, fault: Fault) {
        let place = spec.attributes.get("ref").or_else(|| spec.attributes.get("src")).unwrap_or(&spec.kind);
        let name = format!("importing cache manifest from {place}");
        let _ = crate::shown::shown(&*self.reporter, &name, "", async { Err::<(), _>(fault) }).await;
    }

    async fn backend(&self, place: &CachePlace, alone: bool) -> Result<Arc<dyn Backend>, Fault> {
        Ok(match place {
            CachePlace::Registry { reference, insecure } => {
                let registry = Registry::new(&self.images, reference, *insecure);
                Arc::new(registry.map_err(|error| Fault::of(&error))?)
            }
            CachePlace::Local { directory, tag, digest } => {
                let session = self.sessions.get(&self.session, LOOKUP).await.map_err(|error| Fault::of(&error))?;
                let name = format!("local:{}", directory.display());
                let content = session.content(&name).map_err(|error| Fault::of(&error))?;
                let shown = place.to_string();
                Arc::new(Local::new(Arc::new(ClientStore(content)), shown, tag.clone(), *digest).alone(alone))
            }
        })
    }

    /// Returns whether a solve that failed may succeed at another attempt, in which steps are run whose cached
    /// results turned out to be missing or wrong.
    pub(crate) fn strike(&self, looking: &Looking) -> Result<bool, Fault> {
        let mut struck = self.struck.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        strike(&self.images, looking.imports.as_ref(), &mut struck, &self.reporter).map_err(|error| Fault::of(&error))
    }

    /// Returns the layers of the steps that a result stands on, as far as they are kept.
    pub(crate) async fn layers(&self, lazy: &Lazy) -> Result<BTreeMap<Edge, Vec<LayerId>>, Fault> {
        let looking = self.looking(lazy.imports()).await;
        let is_of = |explanation: &Explanation| lazy.graph().vertex(&explanation.vertex).is_some();
        let explanations: Vec<_> = looking.job.explanations().into_iter().filter(is_of).collect();
        attest::layers(self.images.store(), &**self.solver.cache(), &explanations).await
    }

    fn exports(&self, looking: &Looking) -> Exports {
        let results = Arc::new(LayerResults(self.images.store().clone()));
        let (images, reporter) = (self.images.clone(), self.reporter.clone());
        Exports::new(images, reporter, self.solver.cache().clone(), results, looking.imports.clone())
    }

    /// Returns the caches that images carry with them, by platform.
    pub(crate) async fn inline(
        &self,
        specs: &[ExportSpec],
        looking: &Looking,
        solutions: &BTreeMap<String, Solution>,
    ) -> Result<Option<Arc<dyn InlineCache>>, Fault> {
        let Some(spec) = specs.iter().find(|spec| spec.is_inline()) else { return Ok(None) };
        let exports = self.exports(looking);
        let mut entries = BTreeMap::new();
        for (platform, solution) in solutions {
            match exports.inline(solution).await {
                Ok(entry) => entries.extend(entry.map(|entry| (platform.clone(), entry))),
                Err(_) if spec.ignore_error => {}
                Err(error) => return Err(Fault::of(&error)),
            }
        }
        Ok(Some(Arc::new(Entries(entries))))
    }

    /// Writes the other caches; returns what the client is told of them.
    pub(crate) async fn export(
        &self,
        specs: &[ExportSpec],
        looking: &Looking,
        solutions: Vec<Solution>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        let mut wanted = Vec::new();
        for spec in specs {
            if let Some(place) = &spec.place {
                match self.backend(place, spec.reset).await {
                    Ok(backend) => wanted.push((spec.clone(), backend)),
                    Err(_) if spec.ignore_error => {}
                    Err(fault) => return Err(fault),
                }
            }
        }
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.exports(looking).export(&solutions, &wanted).await.map_err(|error| Fault::of(&error))
    }
}

/// Caches for images, by platform; a result without one has the empty name.
struct Entries(BTreeMap<String, Vec<u8>>);

impl InlineCache for Entries {
    fn entry(&self, platform: &str, _: &[(LayerId, MadeBlob)]) -> Result<Option<Vec<u8>>, BoxError> {
        Ok(self.0.get(platform).or_else(|| self.0.get("")).cloned())
    }
}

/// A client's directory as a content store.
struct ClientStore(ClientContent);

#[async_trait]
impl ContentStore for ClientStore {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, BoxError> {
        Ok(self.0.size(digest).await?)
    }

    async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Bytes, BoxError> {
        let reader = self.0.reader(digest, offset).await?;
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.take(length).read_to_end(&mut bytes).map(|_| bytes)
        });
        Ok(read.await??.into())
    }

    async fn write(&self, descriptor: &Descriptor, source: Arc<dyn Source>) -> Result<(), BoxError> {
        let name = format!("rbuild-{}", descriptor.digest);
        let Some(mut writer) = self.0.writer(&name, &descriptor.digest, descriptor.size).await? else { return Ok(()) };
        let written = tokio::task::spawn_blocking(move || -> Result<(), BoxError> {
            std::io::copy(&mut source.open(0)?, &mut writer)?;
            Ok(writer.commit()?)
        });
        written.await?
    }
}
