//! From the store to a registry: layers and configuration, then the manifest, then the index.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use rbuild_events::Reporter;
use rbuild_oci::{Descriptor, Digest, Reference};
use rbuild_registry::{Progress, Source};
use rbuild_store::{LayerId, Store};

use crate::form::MadeBlob;
use crate::{Images, ImagesError};

/// A layer to be pushed.
#[derive(Debug, Clone)]
pub struct PushLayer {
    /// The layer.
    pub id: LayerId,
    /// Its blob.
    pub blob: MadeBlob,
}

/// An image to be pushed.
#[derive(Debug, Clone)]
pub struct PushImage {
    /// The layers, bottom first.
    pub layers: Vec<PushLayer>,
    /// Blobs that are no layers of files; they lie in the store.
    pub blobs: Vec<Descriptor>,
    /// The configuration; it lies in the store.
    pub config: Descriptor,
    /// The manifest.
    pub manifest: (Descriptor, Bytes),
}

/// A blob as a source of an upload: fetched only when the registry wants its bytes.
struct StoredBlob {
    images: Images,
    layer: Option<PushLayer>,
    digest: Digest,
}

impl StoredBlob {
    fn store(&self) -> &Store {
        self.images.store()
    }

    /// Fetches the blob if it is only at another registry.
    fn localize(&self) -> io::Result<()> {
        let Some(layer) = &self.layer else { return Ok(()) };
        tokio::task::block_in_place(|| self.images.localize(layer.id, &layer.blob)).map_err(io::Error::other)
    }
}

impl Source for StoredBlob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        self.localize()?;
        if offset == 0 {
            // Checked while it is read: a damaged blob ends in an error, not in a registry.
            return Ok(Box::new(self.store().blobs().reader(&self.digest).map_err(io::Error::other)?));
        }
        let mut file = self.store().blobs().open(&self.digest).map_err(io::Error::other)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

impl Images {
    /// Pushes images and, if they are several, the index over them, to `reference`.
    ///
    /// # Errors
    /// If a blob cannot be had, or the registry does not take it.
    pub async fn push(
        &self,
        reference: &Reference,
        images: &[PushImage],
        index: Option<&(Descriptor, Bytes)>,
        reporter: &Arc<dyn Reporter>,
        vertex: Digest,
    ) -> Result<Digest, ImagesError> {
        self.push_blobs(reference, images, reporter, vertex).await?;
        self.push_manifests(reference, images, index).await
    }

    /// Pushes what the manifests of images name.
    ///
    /// # Errors
    /// If a blob cannot be had, or the registry does not take it.
    pub async fn push_blobs(
        &self,
        reference: &Reference,
        images: &[PushImage],
        reporter: &Arc<dyn Reporter>,
        vertex: Digest,
    ) -> Result<(), ImagesError> {
        let mut seen = std::collections::HashSet::new();
        let mut uploads = Vec::new();
        for image in images {
            for layer in image.layers.iter().filter(|layer| seen.insert(layer.blob.descriptor.digest)) {
                uploads.push((Some(layer), &layer.blob.descriptor));
            }
            let others = image.blobs.iter().chain([&image.config]);
            uploads.extend(others.filter(|blob| seen.insert(blob.digest)).map(|blob| (None, blob)));
        }
        let uploads = uploads.iter().map(|(layer, blob)| self.upload(reference, *layer, blob, reporter, vertex));
        for uploaded in crate::pull::futures_unordered(uploads).await {
            uploaded?;
        }
        Ok(())
    }

    /// Pushes the manifests of images whose blobs are there, and the index over them.
    ///
    /// # Errors
    /// If the registry does not take them.
    pub async fn push_manifests(
        &self,
        reference: &Reference,
        images: &[PushImage],
        index: Option<&(Descriptor, Bytes)>,
    ) -> Result<Digest, ImagesError> {
        let client = self.client()?;
        let by_digest = Reference { tag: None, digest: None, ..reference.clone() };
        for image in images {
            let (descriptor, bytes) = &image.manifest;
            let target = if index.is_some() { &by_digest } else { reference };
            client.push_manifest(target, &descriptor.media_type, bytes.clone()).await?;
        }
        match (index, images) {
            (Some((descriptor, bytes)), _) => {
                client.push_manifest(reference, &descriptor.media_type, bytes.clone()).await?;
                Ok(descriptor.digest)
            }
            (None, [image, ..]) => Ok(image.manifest.0.digest),
            (None, []) => Ok(Digest::of(b"")),
        }
    }

    /// Returns a layer's blob as a source of an upload: fetched from where it is only if its bytes are wanted.
    pub fn source_of(&self, layer: &PushLayer) -> Arc<dyn Source> {
        let digest = layer.blob.descriptor.digest;
        Arc::new(StoredBlob { images: self.clone(), layer: Some(layer.clone()), digest })
    }

    async fn upload(
        &self,
        reference: &Reference,
        layer: Option<&PushLayer>,
        blob: &Descriptor,
        reporter: &Arc<dyn Reporter>,
        vertex: Digest,
    ) -> Result<(), ImagesError> {
        let mount_from = layer.map(|layer| layer.blob.mounts_for(reference)).unwrap_or_default();
        let source = Arc::new(StoredBlob { images: self.clone(), layer: layer.cloned(), digest: blob.digest });
        let progress = Progress::new(reporter.clone(), vertex, format!("pushing {}", blob.digest));
        self.client()?.push_blob(reference, blob, &mount_from, source, progress).await?;
        Ok(())
    }
}
