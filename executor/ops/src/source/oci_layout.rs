//! An image in an OCI layout of the client: the directory is only read, and every blob is checked.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rbuild_graph::pb;
use rbuild_graph::source::{self, attr};
use rbuild_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, json, media_type};
use rbuild_solver::{CacheMap, Context, Operation, OperationError};
use rbuild_store::{LayerBlob, LayerId, NewLayer, Store};
use rbuild_sys::root::Root;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::attributes::Attributes;
use crate::session::{Layout, LayoutBlobs};
use crate::value::Ref;
use crate::worker::Worker;
use crate::{OpsError, blocking};

/// How many indexes may lie within each other.
const MOST_INDEXES: usize = 4;
/// The annotation of an index that holds a tag.
const TAG: &str = "org.opencontainers.image.ref.name";
/// The annotation of an index that holds a whole name.
const NAME: &str = "io.containerd.image.name";

/// An OCI layout: a directory with `oci-layout`, `index.json` and `blobs/sha256/…`.
pub struct OciLayout {
    blobs: Arc<dyn LayoutBlobs>,
}

/// A layout in a directory of this machine.
struct DirectoryLayout {
    root: Root,
    path: PathBuf,
}

/// An image of a layout.
#[derive(Debug, Clone)]
pub struct LayoutImage {
    /// The configuration, byte for byte.
    pub config_bytes: Vec<u8>,
    /// The configuration.
    pub config: ImageConfig,
    layers: Vec<Descriptor>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl OciLayout {
    /// Opens the layout in a directory.
    ///
    /// # Errors
    /// If it is none, or of a version that is not known.
    pub fn open(path: &Path) -> Result<Self, OpsError> {
        let name = path.display().to_string();
        let failed = |error: io::Error| OpsError::Layout { name: name.clone(), reason: error.to_string() };
        let directory = DirectoryLayout { root: Root::open(path).map_err(failed)?, path: path.to_owned() };
        let marker = directory.read("oci-layout", json::MAX_DOCUMENT as u64);
        let layout = Self::of_blobs(Arc::new(directory));
        let marker = marker.map_err(|error| layout.unreadable("oci-layout", &error))?;
        let marker: Marker = layout.parsed("oci-layout", &marker)?;
        if !marker.image_layout_version.starts_with("1.") {
            return Err(layout.broken(format!("its version is `{}`", marker.image_layout_version.escape_debug())));
        }
        Ok(layout)
    }

    /// Returns the layout of which the client hands out blobs.
    pub fn of_blobs(blobs: Arc<dyn LayoutBlobs>) -> Self {
        Self { blobs }
    }

    /// Opens the layout that a client has.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_client(layout: Layout) -> Result<Self, OpsError> {
        match layout {
            Layout::Directory(path) => Self::open(&path),
            Layout::Blobs(blobs) => Ok(Self::of_blobs(blobs)),
        }
    }

    /// Returns the digest of the image that `tag` means; without a tag, of `latest` or of the only image.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(&self, tag: Option<&str>) -> Result<Digest, OpsError> {
        let index = self.blobs.index(json::MAX_DOCUMENT as u64);
        let index = index.map_err(|error| self.unreadable("index.json", &error))?;
        let index: Index = self.parsed("index.json", &index)?;
        let wanted = tag.unwrap_or("latest");
        let is_named = |entry: &&Descriptor| {
            let name = |key: &str| entry.annotations.get(key).map(String::as_str);
            let whole = name(NAME).and_then(|name| Reference::parse(name).ok()).and_then(|name| name.tag);
            name(TAG).is_some_and(|name| name == wanted || name.ends_with(&format!(":{wanted}")))
                || whole.as_deref() == Some(wanted)
        };
        match (index.manifests.iter().find(is_named), tag, index.manifests.as_slice()) {
            (Some(entry), _, _) | (None, None, [entry]) => Ok(entry.digest),
            _ => Err(self.broken(format!("it has no image `{wanted}`"))),
        }
    }

    /// Returns the image for a platform that `digest` stands for.
    ///
    /// # Errors
    /// If it is not there, or has nothing for the platform.
    pub fn image(&self, digest: Digest, platform: &Platform) -> Result<LayoutImage, OpsError> {
        let mut digest = digest;
        for _ in 0..=MOST_INDEXES {
            let name = digest.to_string();
            let bytes = self.document(&digest)?;
            if !is_index(&bytes) {
                return self.image_of(&self.parsed(&name, &bytes)?);
            }
            let index: Index = self.parsed(&name, &bytes)?;
            let best = platform.best(&index);
            digest = best.ok_or_else(|| self.broken(format!("index {name} has no image for {platform}")))?.digest;
        }
        Err(self.broken(format!("{digest}: more than {MOST_INDEXES} indexes lie within each other")))
    }

    fn image_of(&self, manifest: &Manifest) -> Result<LayoutImage, OpsError> {
        let config_bytes = self.document(&manifest.config.digest)?;
        let config: ImageConfig = self.parsed(&manifest.config.digest.to_string(), &config_bytes)?;
        let (layers, ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != ids {
            return Err(self.broken(format!("an image has {layers} layers, its configuration {ids} diff ids")));
        }
        Ok(LayoutImage { config_bytes, config, layers: manifest.layers.clone() })
    }

    /// Takes the layers of an image into the store, those that are not there yet.
    fn take(&self, image: &LayoutImage, count: usize, store: &Store) -> Result<Vec<LayerId>, OpsError> {
        let mut layers = Vec::with_capacity(count);
        for (descriptor, diff_id) in image.layers.iter().zip(&image.config.rootfs.diff_ids).take(count) {
            let description = format!("layer of OCI layout {}", self.blobs.name());
            let new = NewLayer { description, diff_id: Some(*diff_id), ..NewLayer::default() };
            let layer = store.layers().find_or_create(*diff_id, &descriptor.digest, &new)?;
            let known = store.layers().get(layer)?;
            if known.tree.is_none() && known.blobs.is_empty() {
                let plain = matches!(descriptor.media_type.as_str(), media_type::OCI_LAYER | media_type::DOCKER_LAYER);
                if plain && descriptor.digest != diff_id.0 {
                    return Err(self.broken(format!(
                        "layer {} has diff id {}, its configuration says otherwise",
                        descriptor.digest, diff_id.0
                    )));
                }
                self.ingest(descriptor, store)?;
                let variant =
                    if plain { "uncompressed".to_owned() } else { format!("foreign:{}", descriptor.media_type) };
                store.layers().add_blob(layer, &LayerBlob { descriptor: descriptor.clone(), variant })?;
            }
            layers.push(layer);
        }
        Ok(layers)
    }

    /// Copies a blob to the store, which checks it.
    fn ingest(&self, descriptor: &Descriptor, store: &Store) -> Result<(), OpsError> {
        if store.blobs().hold(&descriptor.digest)? {
            return Ok(());
        }
        let name = blob_path(&descriptor.digest);
        let (size, content) = self.blobs.blob(descriptor).map_err(|error| self.unreadable(&name, &error))?;
        if size != descriptor.size {
            return Err(self.broken(format!("`{name}` has {size} bytes instead of {}", descriptor.size)));
        }
        let mut ingest = store.blobs().ingest(Some(descriptor))?;
        let copied = io::copy(&mut content.take(descriptor.size), &mut ingest);
        copied.map_err(|error| OpsError::Store(ingest.explain(error)))?;
        ingest.commit()?;
        Ok(())
    }

    /// Returns a blob that is a document; its digest is checked.
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, OpsError> {
        let name = blob_path(digest);
        let most = json::MAX_DOCUMENT as u64;
        let bytes = self.blobs.document(digest, most).map_err(|error| self.unreadable(&name, &error))?;
        if bytes.len() as u64 > most {
            return Err(self.broken(format!("`{name}` is larger than {most} bytes")));
        }
        if Digest::of(&bytes) != *digest {
            return Err(self.broken(format!("`{name}` has other content than its name says")));
        }
        Ok(bytes)
    }

    fn parsed<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T, OpsError> {
        json::from_slice(bytes).map_err(|error| self.broken(format!("`{name}`: {error}")))
    }

    fn unreadable(&self, name: &str, error: &io::Error) -> OpsError {
        self.broken(format!("reading `{name}`: {error}"))
    }

    fn broken(&self, reason: String) -> OpsError {
        OpsError::Layout { name: self.blobs.name(), reason }
    }
}

impl std::fmt::Debug for OciLayout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OciLayout").field(&self.blobs.name()).finish()
    }
}

impl DirectoryLayout {
    fn read(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let (file, _) = self.root.open_exact(Path::new(name))?;
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl LayoutBlobs for DirectoryLayout {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn index(&self, most: u64) -> io::Result<Vec<u8>> {
        self.read("index.json", most)
    }

    fn document(&self, digest: &Digest, most: u64) -> io::Result<Vec<u8>> {
        self.read(&blob_path(digest), most)
    }

    fn blob(&self, descriptor: &Descriptor) -> io::Result<(u64, Box<dyn Read + Send>)> {
        let (file, stat) = self.root.open_exact(Path::new(&blob_path(&descriptor.digest)))?;
        Ok((stat.size, Box::new(file)))
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Whether a document is an index: by its type if it says so, else by what it has.
fn is_index(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe {
        #[serde(default)]
        media_type: Option<String>,
        #[serde(default)]
        manifests: Option<serde::de::IgnoredAny>,
    }
    json::from_slice::<Probe>(bytes).is_ok_and(|probe| match probe.media_type {
        Some(media_type) => media_type::is_index(&media_type),
        None => probe.manifests.is_some(),
    })
}

/// An image of a layout ready to be read.
pub(crate) struct LayoutSource {
    worker: Arc<Worker>,
    store_id: String,
    session: Option<String>,
    digest: Digest,
    platform: Platform,
    limit: Option<usize>,
    found: OnceCell<(Arc<OciLayout>, Arc<LayoutImage>)>,
}

impl LayoutSource {
    /// Reads the source op.
    pub(crate) fn new(worker: Arc<Worker>, op: &pb::SourceOp, platform: Option<Platform>) -> Result<Self, OpsError> {
        let mut attributes = Attributes::new(op);
        let name = op.identifier.strip_prefix(source::OCI_LAYOUT).unwrap_or(&op.identifier);
        let reference = Reference::parse_untagged(name).map_err(|error| attributes.invalid(error))?;
        let digest = reference.digest.ok_or_else(|| attributes.invalid("it has no digest"))?;
        let store_id = attributes.take(attr::OCI_LAYOUT_STORE_ID).unwrap_or_else(|| reference.name());
        let limit = attributes.number(attr::OCI_LAYOUT_LAYER_LIMIT)?.map(|limit| limit as usize);
        let session = attributes.take(attr::OCI_LAYOUT_SESSION_ID);
        attributes.end("oci.")?;
        let platform = platform.unwrap_or_else(Platform::host);
        Ok(Self { worker, store_id, session, digest, platform, limit, found: OnceCell::new() })
    }

    /// Returns the digest by which the image is asked for, and the image.
    pub(super) async fn metadata(&self) -> Result<(Digest, LayoutImage), OpsError> {
        Ok((self.digest, LayoutImage::clone(&self.found().await?.1)))
    }

    async fn found(&self) -> Result<&(Arc<OciLayout>, Arc<LayoutImage>), OpsError> {
        let find = || async {
            let layout = self.worker.session().layout(&self.store_id, self.session.as_deref()).await;
            let failed = |error: io::Error| OpsError::Layout { name: self.store_id.clone(), reason: error.to_string() };
            let layout = layout.map_err(failed)?.ok_or_else(|| OpsError::NoLayout(self.store_id.clone()))?;
            let (digest, platform) = (self.digest, self.platform.clone());
            blocking(move || {
                let layout = OciLayout::of_client(layout)?;
                let image = layout.image(digest, &platform)?;
                Ok((Arc::new(layout), Arc::new(image)))
            })
            .await
        };
        self.found.get_or_try_init(find).await
    }

    fn count(&self, image: &LayoutImage) -> usize {
        let all = image.layers.len();
        self.limit.map_or(all, |limit| limit.min(all))
    }
}

#[async_trait]
impl Operation<Ref> for LayoutSource {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        let (_, image) = self.found().await?;
        let diff_ids = &image.config.rootfs.diff_ids[..self.count(image)];
        let blobs: Vec<Option<Digest>> = image.layers.iter().map(|layer| Some(layer.digest)).collect();
        Ok(CacheMap::source(super::image::key_of(diff_ids, &blobs)).pinned(self.digest.to_string()))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, _: &Context, _: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let (layout, image) = self.found().await?.clone();
        let (count, worker) = (self.count(&image), self.worker.clone());
        let layers = blocking(move || layout.take(&image, count, worker.store())).await?;
        Ok(vec![Ref::Layers(layers)])
    }
}
