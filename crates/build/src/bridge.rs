//! What the frontend asks of its host, answered by images and local directories.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rbuild_events::{Reporter, Track};
use rbuild_graph::pb;
use rbuild_images::{Images, ImagesError, Mode, Resolved};
use rbuild_lower::{Bridge, BridgeError, ResolveMode, ResolvedImage, ResolvedLayout};
use rbuild_oci::{Digest, Platform, Reference};
use rbuild_ops::OciLayout;
use rbuild_sys::root::Root;
use rbuild_tree::pattern::Matcher;

use tokio::sync::OnceCell;

use crate::input::read_ignore_file;
use crate::remote::Fetcher;

/// The host of the built-in frontend.
pub(crate) struct Host {
    pub(crate) images: Images,
    pub(crate) locals: BTreeMap<String, PathBuf>,
    /// OCI layouts by name.
    pub(crate) layouts: BTreeMap<String, PathBuf>,
    /// Fetches what is not here.
    pub(crate) fetcher: Fetcher,
    pub(crate) reporter: Arc<dyn Reporter>,
    /// The ignore file of the build context.
    pub(crate) ignore: Matcher,
    /// What was asked already, and the answers.
    pub(crate) asked: Asked,
}

/// Questions about images, each with the place of its one answer.
pub(crate) type Asked = Mutex<HashMap<String, Arc<OnceCell<Result<Arc<Resolved>, Arc<ImagesError>>>>>>;

#[async_trait]
impl Bridge for Host {
    async fn resolve_image(
        &self,
        reference: &Reference,
        platform: &Platform,
        mode: ResolveMode,
        shown: &str,
    ) -> Result<ResolvedImage, BridgeError> {
        let mode = match mode {
            ResolveMode::Pull => Mode::Always,
            ResolveMode::Default | ResolveMode::Local => Mode::Missing,
        };
        let key = format!("{reference} {platform}");
        let answer = self.asked.lock().expect("no holder of this lock panics").entry(key).or_default().clone();
        // Stages of one base ask one question.
        let resolved = answer.get_or_init(|| async {
            let track = Track::start(&self.reporter, shown);
            track.end(self.images.resolve(reference, platform, mode).await.map_err(Arc::new))
        });
        let resolved = resolved.await.clone().map_err(|error| BridgeError::Failed(Box::new(error)))?;
        Ok(ResolvedImage {
            reference: resolved.reference.clone(),
            config: resolved.config_bytes.to_vec(),
            image: resolved.config.clone(),
        })
    }

    async fn resolve_layout(
        &self,
        layout: &str,
        digest: Digest,
        platform: &Platform,
        shown: &str,
    ) -> Result<ResolvedLayout, BridgeError> {
        let path =
            self.layouts.get(layout).ok_or_else(|| BridgeError::NotFound(format!("OCI layout `{layout}`")))?.clone();
        let (track, platform) = (Track::start(&self.reporter, shown), platform.clone());
        let read = tokio::task::spawn_blocking(move || OciLayout::open(&path)?.image(digest, &platform)).await;
        let image = read.map_err(|error| BridgeError::Failed(Box::new(error)))?;
        let image = track.end(image).map_err(|error| BridgeError::Failed(Box::new(error)))?;
        Ok(ResolvedLayout { config: image.config_bytes, image: image.config })
    }

    async fn ignore_patterns(&self, name: &str, _: &str) -> Result<Vec<String>, BridgeError> {
        let Some(directory) = self.locals.get(name) else { return Ok(Vec::new()) };
        let failed =
            |error: std::io::Error| BridgeError::message(format!("reading .dockerignore of context `{name}`: {error}"));
        let root = Root::open(directory).map_err(failed)?;
        Ok(read_ignore_file(&root, Path::new(".dockerignore")).map_err(failed)?.unwrap_or_default())
    }

    fn is_ignored(&self, path: &str) -> bool {
        self.ignore.matches(Path::new(path))
    }

    async fn source_time(&self, source: &pb::SourceOp, shown: &str) -> Result<Option<i64>, BridgeError> {
        let track = Track::start(&self.reporter, shown);
        track.end(self.fetcher.time(source).await).map_err(|error| BridgeError::Failed(Box::new(error)))
    }
}
