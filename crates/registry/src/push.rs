//! Into a registry: blobs, then manifests.

use std::io::{self, Read};

use bytes::Bytes;
use rbuild_oci::{Descriptor, Digest, Reference};

use crate::{Client, Error, Progress};

/// Where a blob's bytes come from; opened again for each attempt.
pub trait Source: Send + Sync {
    /// Returns a reader of the bytes from `offset` on.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>>;
}

/// How a blob came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there already.
    Existed,
    /// It was mounted from another repository of the registry.
    Mounted,
    /// It was uploaded.
    Uploaded,
}

/// A manifest that a registry took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedManifest {
    /// Its digest.
    pub digest: Digest,
    /// Whether the registry keeps the list of referrers of the manifest's subject itself.
    pub subject_listed: bool,
}

impl Client {
    /// Makes a blob be in the repository of `reference`: finds it there, mounts it from one of the
    /// repositories `mount_from` (names on the same registry), or uploads it from `source`.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        mount_from: &[String],
        source: std::sync::Arc<dyn Source>,
        progress: Progress,
    ) -> Result<Pushed, Error> {
        let _ = source.open(0);
        unreachable!("{reference:?} {descriptor:?} {progress:?} {mount_from:?}")
    }

    /// Puts a manifest or index under the tag of `reference`, or by digest if it has no tag.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        body: Bytes,
    ) -> Result<PushedManifest, Error> {
        unreachable!("{reference:?} {media_type:?} {body:?}")
    }
}
