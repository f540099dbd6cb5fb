//! Blobs by digest as a place for a cache: a directory, or a client's content behind its session.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rbuild_oci::{Descriptor, Digest, Hasher};
use rbuild_registry::{Progress, Sink, Source};

use crate::backend::{Backend, BackendError, BoxError, MOST_DOCUMENT_BYTES, Put};

/// The most bytes asked for at once.
const CHUNK: u64 = 1 << 20;

/// What holds blobs by digest. Nothing it returns is believed before it was hashed.
#[async_trait]
pub trait ContentStore: Send + Sync {
    /// Returns the size of a blob; none if it is not there.
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, BoxError>;

    /// Returns bytes of a blob from `offset` on: at most `length`, and none only at its end.
    async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Bytes, BoxError>;

    /// Stores a blob.
    async fn write(&self, descriptor: &Descriptor, source: Arc<dyn Source>) -> Result<(), BoxError>;

    /// Returns the root that has a name, for stores that keep names.
    async fn tagged(&self, _tag: &str) -> Result<Option<Digest>, BoxError> {
        Ok(None)
    }

    /// Gives a root a name, for stores that keep names; with `alone` nothing else need be kept.
    async fn tag(&self, _tag: &str, _root: &Descriptor, _alone: bool) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A cache in a content store.
pub struct Local {
    store: Arc<dyn ContentStore>,
    place: String,
    tag: String,
    digest: Option<Digest>,
    alone: bool,
}

impl Local {
    /// Returns the cache called `tag`, or the one whose root has this digest. `place` is what people call the store.
    pub fn new(store: Arc<dyn ContentStore>, place: String, tag: String, digest: Option<Digest>) -> Self {
        Self { store, place, tag, digest, alone: false }
    }

    /// Lets a new root take the place of all that the store has.
    #[must_use]
    pub fn alone(mut self, alone: bool) -> Self {
        self.alone = alone;
        self
    }

    fn failed(&self, action: &str) -> impl Fn(BoxError) -> BackendError {
        let action = format!("{action} {}", self.place);
        move |source| BackendError::Failed { action: action.clone(), source }
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>, BackendError> {
        self.store.size(digest).await.map_err(self.failed("looking into"))
    }

    /// Reads a document of unknown size.
    async fn document(&self, digest: Digest) -> Result<Bytes, BackendError> {
        let missing = || BackendError::NoBlob { digest, place: self.place.clone() };
        let size = self.size(&digest).await?.ok_or_else(missing)?;
        if size > MOST_DOCUMENT_BYTES {
            return Err(BackendError::TooLarge { digest, size, limit: MOST_DOCUMENT_BYTES });
        }
        let mut bytes = Vec::new();
        self.copy(&Descriptor::new("", digest, size), &mut bytes).await?;
        Ok(bytes.into())
    }

    async fn copy(&self, descriptor: &Descriptor, sink: &mut dyn Sink) -> Result<(), BackendError> {
        let Descriptor { digest, size, .. } = *descriptor;
        let mismatch = || BackendError::Mismatch { digest, place: self.place.clone() };
        let (mut hasher, mut read) = (Hasher::new(), 0);
        while read < size {
            let chunk = self.store.read(&digest, read, CHUNK.min(size - read)).await;
            let chunk = chunk.map_err(self.failed("reading"))?;
            let length = chunk.len() as u64;
            if length == 0 || length > size - read {
                return Err(mismatch());
            }
            hasher.update(&chunk);
            sink.write(&chunk).map_err(|error| self.failed("storing what came from")(error.into()))?;
            read += length;
        }
        if hasher.finish() == digest { Ok(()) } else { Err(mismatch()) }
    }
}

#[async_trait]
impl Backend for Local {
    fn place(&self) -> String {
        self.place.clone()
    }

    async fn root(&self) -> Result<(Descriptor, Bytes), BackendError> {
        let digest = match self.digest {
            Some(digest) => digest,
            None => {
                let tagged = self.store.tagged(&self.tag).await.map_err(self.failed("looking into"))?;
                tagged.ok_or_else(|| BackendError::Missing(format!("`{}` in {}", self.tag, self.place)))?
            }
        };
        let bytes = self.document(digest).await?;
        Ok((Descriptor::new("", digest, bytes.len() as u64), bytes))
    }

    async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes, BackendError> {
        self.small(descriptor).await
    }

    async fn small(&self, descriptor: &Descriptor) -> Result<Bytes, BackendError> {
        let Descriptor { digest, size, .. } = *descriptor;
        let bytes = self.document(digest).await?;
        let mismatch = || BackendError::Mismatch { digest, place: self.place.clone() };
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(mismatch()) }
    }

    async fn has(&self, descriptor: &Descriptor) -> Result<bool, BackendError> {
        Ok(self.size(&descriptor.digest).await? == Some(descriptor.size))
    }

    async fn fetch(
        &self,
        descriptor: &Descriptor,
        sink: &mut dyn Sink,
        _progress: Progress,
    ) -> Result<(), BackendError> {
        if self.size(&descriptor.digest).await?.is_none() {
            return Err(BackendError::NoBlob { digest: descriptor.digest, place: self.place.clone() });
        }
        self.copy(descriptor, sink).await
    }

    async fn put(
        &self,
        descriptor: &Descriptor,
        source: Arc<dyn Source>,
        _beside: &[rbuild_store::Remote],
        _progress: Progress,
    ) -> Result<Put, BackendError> {
        if self.has(descriptor).await? {
            return Ok(Put::Existed);
        }
        self.store.write(descriptor, source).await.map_err(self.failed("writing to"))?;
        Ok(Put::Written)
    }

    async fn put_root(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), BackendError> {
        if !self.has(descriptor).await? {
            self.store.write(descriptor, Arc::new(bytes)).await.map_err(self.failed("writing to"))?;
        }
        self.store.tag(&self.tag, descriptor, self.alone).await.map_err(self.failed("naming the cache in"))
    }

    fn repository(&self) -> Option<String> {
        None
    }
}
