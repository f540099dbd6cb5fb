//! A repository as a place for a cache.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rbuild_images::Images;
use rbuild_oci::{Descriptor, Reference};
use rbuild_registry::{Client, Progress, Pushed, Sink, Source};
use rbuild_store::Remote;

use crate::backend::{Backend, BackendError, MOST_DOCUMENT_BYTES, Put};
use crate::error::RemoteError;

/// A name in a registry.
pub struct Registry {
    client: Client,
    reference: Reference,
    /// Whether the client is the one that layers are fetched with, too.
    shared: bool,
}

impl Registry {
    /// Returns the place behind a name, spoken to with the credentials of `images`. If `insecure`, plain HTTP and
    /// unknown certificates will do, here and for no other name.
    ///
    /// # Errors
    /// If a setting of the client cannot be used.
    pub fn new(images: &Images, reference: &Reference, insecure: bool) -> Result<Self, RemoteError> {
        let client = images.client()?;
        let mut reference = reference.clone();
        if reference.digest.is_none() {
            reference.tag.get_or_insert_with(|| "latest".to_owned());
        }
        if !insecure || client.options().hosts.insecure.contains(&reference.registry) {
            return Ok(Self { client: client.clone(), reference, shared: true });
        }
        let mut options = client.options().clone();
        options.hosts.insecure.insert(reference.registry.clone());
        let client = Client::new(options).map_err(BackendError::from)?;
        Ok(Self { client, reference, shared: false })
    }
}

#[async_trait]
impl Backend for Registry {
    fn place(&self) -> String {
        self.reference.to_string()
    }

    async fn root(&self) -> Result<(Descriptor, Bytes), BackendError> {
        let found = self.client.resolve(&self.reference).await?;
        let bytes = match found.body {
            Some(bytes) => bytes,
            None => self.client.fetch_manifest(&self.reference, &found.descriptor).await?,
        };
        Ok((found.descriptor, bytes))
    }

    async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes, BackendError> {
        Ok(self.client.fetch_manifest(&self.reference, descriptor).await?)
    }

    async fn small(&self, descriptor: &Descriptor) -> Result<Bytes, BackendError> {
        Ok(self.client.fetch_small(&self.reference, descriptor, MOST_DOCUMENT_BYTES).await?)
    }

    async fn has(&self, descriptor: &Descriptor) -> Result<bool, BackendError> {
        Ok(self.client.has_blob(&self.reference, descriptor).await?)
    }

    async fn fetch(
        &self,
        descriptor: &Descriptor,
        sink: &mut dyn Sink,
        progress: Progress,
    ) -> Result<(), BackendError> {
        Ok(self.client.fetch_blob(&self.reference, descriptor, sink, progress).await?)
    }

    async fn put(
        &self,
        descriptor: &Descriptor,
        source: Arc<dyn Source>,
        beside: &[Remote],
        progress: Progress,
    ) -> Result<Put, BackendError> {
        let same = beside.iter().filter(|remote| remote.descriptor.digest == descriptor.digest);
        let name = |remote: &Remote| {
            let name = remote.reference.strip_prefix(&self.reference.registry)?.strip_prefix('/')?;
            (name != self.reference.repository).then(|| name.to_owned())
        };
        let mounts: Vec<String> = same.filter_map(name).collect();
        let pushed = self.client.push_blob(&self.reference, descriptor, &mounts, source, progress).await?;
        Ok(match pushed {
            Pushed::Existed | Pushed::Mounted => Put::Existed,
            Pushed::Uploaded => Put::Written,
        })
    }

    async fn put_root(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), BackendError> {
        self.client.push_manifest(&self.reference, &descriptor.media_type, bytes).await?;
        Ok(())
    }

    fn repository(&self) -> Option<String> {
        self.shared.then(|| self.reference.name())
    }
}
