//! Carries outputs out.

mod archive;
mod files;
mod image;

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_events::{Parts, Reporter, Track};
use rbuild_images::Images;
use rbuild_oci::{Descriptor, Digest, Reference};
use rbuild_tree::spawn_walker;
use time::OffsetDateTime;

use crate::ExportError;
use crate::annotations::Annotations;
use crate::commit::CommitOptions;
use crate::destination::Destination;
use crate::inline::InlineCache;
use crate::output::{Output, OutputKind};
use crate::response::Response;
use crate::result::{BuildResult, IMAGE_NAME, Part};

pub use image::Push;

/// What an output of `type=image` leaves in the local store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredImages {
    /// The image; its blobs and manifest are made when somebody asks for them.
    Lazy,
    /// The image with its blobs and manifest.
    Whole,
    /// Blobs and manifest, but no image: names mean nothing without a registry.
    Nothing,
}

/// Carries outputs of one build out.
#[derive(Clone)]
pub struct Exporter {
    /// Store and registries.
    pub images: Images,
    /// Who hears of progress.
    pub reporter: Arc<dyn Reporter>,
    /// What the local store keeps.
    pub stored: StoredImages,
    /// The build cache that images carry with them.
    pub inline_cache: Option<Arc<dyn InlineCache>>,
}

/// What an output made.
#[derive(Default)]
pub struct Exported {
    /// What the client hears.
    pub response: Response,
    /// The manifest or index, if one was made.
    pub descriptor: Option<Descriptor>,
    /// The digest of the configuration of the first platform's image.
    pub image_id: Option<Digest>,
    /// The names that the image got.
    pub names: Vec<Reference>,
    /// What is left to be done: exporters of one build make all they make before the first of them pushes.
    pub push: Option<Push>,
}

/// What blocking work on one output needs.
struct Work<'a> {
    images: &'a Images,
    output: &'a Output,
    parts: Vec<Part>,
    is_map: bool,
    metadata: &'a BTreeMap<String, Vec<u8>>,
    progress: Parts,
    stored: StoredImages,
    inline_cache: Option<&'a dyn InlineCache>,
    annotations: Annotations,
}

impl Exporter {
    /// Carries one output out, all but the push. `id` tells this output from others with the same title.
    ///
    /// # Errors
    /// If the result cannot be exported so, or the destination does not take it.
    pub async fn export(
        &self,
        output: &Output,
        result: Arc<BuildResult>,
        destination: Arc<dyn Destination>,
        id: &str,
    ) -> Result<Exported, ExportError> {
        if output.kind == OutputKind::CacheOnly {
            return Ok(Exported::default());
        }
        let track = Track::start_as(&self.reporter, id, output.title());
        let (exporter, output, progress) = (self.clone(), output.clone(), track.parts());
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            // Directories may lie deep in each other.
            std::thread::scope(|scope| {
                let carry_out = || {
                    let _inside = runtime.enter();
                    exporter.carry_out(&output, &result, &*destination, progress)
                };
                spawn_walker(scope, carry_out).join().map_err(|_| ExportError::Panicked)?
            })
        };
        let exported = tokio::task::spawn_blocking(work).await.unwrap_or(Err(ExportError::Panicked));
        match exported {
            Ok(mut exported) if exported.push.is_some() => {
                exported.push = exported.push.map(|push| push.tracked(track));
                Ok(exported)
            }
            exported => track.end(exported),
        }
    }

    fn carry_out(
        &self,
        output: &Output,
        result: &BuildResult,
        destination: &dyn Destination,
        progress: Parts,
    ) -> Result<Exported, ExportError> {
        let mut result = result.clone();
        let given = output.metadata.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        result.metadata.extend(given);
        let mut annotations = Annotations::default();
        for (key, value) in &result.metadata {
            annotations.take(key, &String::from_utf8_lossy(value))?;
        }
        let mut work = Work {
            images: &self.images,
            output,
            parts: result.parts()?,
            is_map: result.is_map(),
            metadata: &result.metadata,
            progress,
            stored: self.stored,
            inline_cache: self.inline_cache.as_deref(),
            annotations: output.image.annotations.clone().merged(annotations),
        };
        work.set_times()?;
        match output.kind {
            OutputKind::Image => work.image(),
            OutputKind::Archive(kind) => work.archive(kind, destination),
            OutputKind::Local => work.directory(destination),
            OutputKind::Tar => work.tar(destination),
            OutputKind::CacheOnly => Ok(Exported::default()),
        }
    }
}

impl Work<'_> {
    /// Gives the parts the times that the output asks for.
    fn set_times(&mut self) -> Result<(), ExportError> {
        if let Some(epoch) = self.output.epoch {
            self.parts.iter_mut().for_each(|part| part.epoch = epoch);
        }
        if !self.output.rewrite {
            return Ok(());
        }
        for part in &mut self.parts {
            let Some(latest) = part.epoch else {
                self.progress.note("rewrite-timestamp is given, but no SOURCE_DATE_EPOCH: times stay as they are");
                continue;
            };
            let told = OffsetDateTime::from_unix_timestamp(latest).map(crate::config::rfc3339).unwrap_or_default();
            let rewriting = self.progress.begin(format!("rewriting layers with source-date-epoch {latest} ({told})"));
            *part = part.with_times_until(self.images, latest)?;
            drop(rewriting);
        }
        Ok(())
    }

    /// Returns the names that the output asks for, as they were given.
    fn names(&self) -> String {
        let told = || self.metadata.get(IMAGE_NAME).map(|name| String::from_utf8_lossy(name).into_owned());
        match self.output.names.as_deref() {
            Some("*") => told().unwrap_or_else(|| "*".to_owned()),
            names => names.unwrap_or_default().to_owned(),
        }
    }

    fn commit_options<'a>(&'a self, names: &'a [Reference]) -> CommitOptions<'a> {
        let image = &self.output.image;
        CommitOptions {
            assemble: image.assemble,
            annotations: &self.annotations,
            artifact: image.artifact,
            inline_attestations: image.inline_attestations,
            names,
            inline_cache: self.inline_cache,
        }
    }
}

/// Returns the digest that an image of a result would have as its id, without making it. Blocks.
///
/// # Errors
/// If a layer is gone, or the result has no configuration that can be read.
pub fn image_id(images: &Images, result: &BuildResult) -> Result<Digest, ExportError> {
    let parts = result.parts()?;
    let first = parts.first().ok_or_else(|| ExportError::Result("a build without a result".to_owned()))?;
    Ok(Digest::of(&first.configuration(images, None)?))
}
