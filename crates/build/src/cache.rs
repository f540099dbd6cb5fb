//! Caches of others: looked into before steps are run, and written after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rbuild_events::Reporter;
use rbuild_export::InlineCache;
use rbuild_images::{Images, MadeBlob};
use rbuild_lower::Lowered;
use rbuild_ops::{LayerResults, Ref};
use rbuild_remote::{
    Backend, Directory, ExportSpec, Exports, ImportSpec, Imports, Local, Place, Registry, Solution, strike,
};
use rbuild_solver::{Job, Solver};
use rbuild_store::LayerId;

use crate::error::BuildError;
use crate::request::BuildRequest;

/// What a build does with caches of others.
pub(crate) struct Caches {
    images: Images,
    reporter: Arc<dyn Reporter>,
    from: Vec<ImportSpec>,
    to: Vec<ExportSpec>,
    imports: Option<Imports>,
    struck: BTreeSet<LayerId>,
}

impl Caches {
    /// Reads what is asked for.
    pub(crate) fn parse(
        request: &BuildRequest,
        images: &Images,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Self, BuildError> {
        let from = request.cache_from.iter().map(ImportSpec::parse).collect::<Result<_, _>>();
        let to = request.cache_to.iter().map(ExportSpec::parse).collect::<Result<_, _>>();
        Ok(Self {
            images: images.clone(),
            reporter: reporter.clone(),
            from: from.map_err(BuildError::input)?,
            to: to.map_err(BuildError::input)?,
            imports: None,
            struck: BTreeSet::new(),
        })
    }

    /// Reads the caches to look into. Those that cannot be read are told and left out.
    pub(crate) async fn import(&mut self, solver: &Solver<Ref>) -> Result<(), BuildError> {
        if self.from.is_empty() {
            return Ok(());
        }
        let places = self.from.iter().map(|spec| self.backend(&spec.place)).collect::<Result<_, _>>()?;
        let results = Arc::new(LayerResults(self.images.store().clone()));
        let read = Imports::read(&self.images, places, &self.reporter, solver.cache().clone(), results).await;
        self.imports = Some(read).filter(|imports| !imports.is_empty());
        Ok(())
    }

    /// Begins a job that looks into them.
    pub(crate) fn job(&self, solver: &Solver<Ref>) -> Job<Ref> {
        match &self.imports {
            Some(imports) => solver.job_with(self.reporter.clone(), &imports.memory()),
            None => solver.job(self.reporter.clone()),
        }
    }

    /// Returns whether a build that failed may succeed at another attempt, in which steps are run whose cached
    /// results turned out to be missing or wrong.
    pub(crate) fn strike(&mut self) -> Result<bool, BuildError> {
        let (images, imports) = (&self.images, self.imports.as_ref());
        strike(images, imports, &mut self.struck, &self.reporter).map_err(BuildError::engine)
    }

    /// Returns the caches that images carry with them, if that was asked for.
    pub(crate) async fn inline(
        &self,
        solver: &Solver<Ref>,
        lowered: &[&Lowered],
        solutions: &[Solution],
    ) -> Result<Option<Arc<dyn InlineCache>>, BuildError> {
        let Some(spec) = self.to.iter().find(|spec| spec.is_inline()) else { return Ok(None) };
        let exports = self.exports(solver);
        let mut entries = BTreeMap::new();
        for (lowered, solution) in lowered.iter().zip(solutions) {
            match exports.inline(solution).await {
                Ok(entry) => entries.extend(entry.map(|entry| (lowered.platform.to_string(), entry))),
                Err(_) if spec.ignore_error => {}
                Err(error) => return Err(BuildError::engine(error)),
            }
        }
        Ok(Some(Arc::new(Entries(entries))))
    }

    /// Writes the other caches; returns what is told of them.
    pub(crate) async fn export(
        &self,
        solver: &Solver<Ref>,
        solutions: &[Solution],
    ) -> Result<BTreeMap<String, String>, BuildError> {
        let mut exports = Vec::new();
        for spec in &self.to {
            if let Some(place) = &spec.place {
                exports.push((spec.clone(), self.backend_for(place, spec.reset)?));
            }
        }
        if exports.is_empty() {
            return Ok(BTreeMap::new());
        }
        let told: Result<BTreeMap<_, _>, _> = self.exports(solver).export(solutions, &exports).await;
        told.map_err(|error| BuildError::Input(format!("failed to export the cache: {}", error.chain())))
    }

    fn exports(&self, solver: &Solver<Ref>) -> Exports {
        let results = Arc::new(LayerResults(self.images.store().clone()));
        let (images, reporter) = (self.images.clone(), self.reporter.clone());
        Exports::new(images, reporter, solver.cache().clone(), results, self.imports.clone())
    }

    fn backend(&self, place: &Place) -> Result<Arc<dyn Backend>, BuildError> {
        self.backend_for(place, false)
    }

    fn backend_for(&self, place: &Place, alone: bool) -> Result<Arc<dyn Backend>, BuildError> {
        Ok(match place {
            Place::Registry { reference, insecure } => {
                Arc::new(Registry::new(&self.images, reference, *insecure).map_err(BuildError::engine)?)
            }
            Place::Local { directory, tag, digest } => {
                let shown = format!("local:{}", directory.display());
                let store = Arc::new(Directory::new(directory.clone()));
                Arc::new(Local::new(store, shown, tag.clone(), *digest).alone(alone))
            }
        })
    }
}

/// Caches for images, by platform.
struct Entries(BTreeMap<String, Vec<u8>>);

impl InlineCache for Entries {
    fn entry(
        &self,
        platform: &str,
        _: &[(LayerId, MadeBlob)],
    ) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.get(platform).cloned())
    }
}
