//! What sources are, told without building them: the commit of a branch, the digest of a file, an image's
//! configuration.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rbuild_graph::pb;
use rbuild_oci::{Digest, Platform};
use rbuild_registry::Progress;
use sha2::digest::DynDigest;

use super::{GitSource, HttpSource, LayoutSource};
use crate::value::Ref;
use crate::worker::{Worker, nobody};
use crate::{LayoutImage, OpsError, blocking};

/// What a git source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitMetadata {
    /// The commit, or the annotated tag.
    pub object: String,
    /// The whole name (`refs/…`) of what was asked for; the commit itself if it has none.
    pub name: String,
    /// The commit of an annotated tag.
    pub commit: Option<String>,
    /// The commit's bytes, if they were asked for.
    pub commit_bytes: Vec<u8>,
    /// The annotated tag's bytes, if they were asked for and there is one.
    pub tag_bytes: Vec<u8>,
}

/// What a file behind an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpMetadata {
    /// Its content.
    pub digest: Digest,
    /// Its name in the layer.
    pub name: String,
    /// When the server says it was modified, in seconds since 1970.
    pub last_modified: Option<i64>,
    /// The digest of its content with the suffix that was given.
    pub with_suffix: Option<String>,
}

/// How a file is hashed together with a suffix, as signatures have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    fn hasher(self) -> (&'static str, Box<dyn DynDigest>) {
        match self {
            Self::Sha256 => ("sha256", Box::new(sha2::Sha256::default())),
            Self::Sha384 => ("sha384", Box::new(sha2::Sha384::default())),
            Self::Sha512 => ("sha512", Box::new(sha2::Sha512::default())),
        }
    }
}

impl Worker {
    /// Returns what a git source is, with the bytes of its objects if `objects` are wanted.
    ///
    /// # Errors
    /// If the remote cannot be asked.
    pub async fn git_metadata(self: &Arc<Self>, op: &pb::SourceOp, objects: bool) -> Result<GitMetadata, OpsError> {
        GitSource::new(self.clone(), op)?.metadata(objects).await
    }

    /// Returns what a file behind an http address is; its content with a suffix is hashed if there is one.
    ///
    /// # Errors
    /// If the file cannot be had.
    pub async fn http_metadata(
        self: &Arc<Self>,
        op: &pb::SourceOp,
        suffix: Option<(Algorithm, Vec<u8>)>,
    ) -> Result<HttpMetadata, OpsError> {
        let source = HttpSource::new(self.clone(), op)?;
        if let (Some(digest), None) = (source.checksum(), &suffix) {
            return Ok(HttpMetadata { digest, name: source.known_name(), last_modified: None, with_suffix: None });
        }
        let found = source.found(Progress::new(self.reporter().clone(), nobody(), source.shown())).await?.clone();
        let with_suffix = match suffix {
            None => None,
            Some((algorithm, suffix)) => {
                let (worker, value, name) = (self.clone(), Ref::Layers(vec![found.layer]), found.name.clone());
                Some(blocking(move || worker.digest_with(&value, Path::new(&name), algorithm, &suffix)).await?)
            }
        };
        Ok(HttpMetadata { digest: found.digest, name: found.name, last_modified: found.last_modified, with_suffix })
    }

    /// Returns the digest that names an image of a client's OCI layout, and the image.
    ///
    /// # Errors
    /// If the client has no such layout, or it lacks the image.
    pub async fn layout_metadata(
        self: &Arc<Self>,
        op: &pb::SourceOp,
        platform: &Platform,
    ) -> Result<(Digest, LayoutImage), OpsError> {
        LayoutSource::new(self.clone(), op, Some(platform.clone()))?.metadata().await
    }

    fn digest_with(&self, value: &Ref, path: &Path, algorithm: Algorithm, suffix: &[u8]) -> Result<String, OpsError> {
        let tree = self.tree(&self.unwatched(), value)?;
        let gone = || rbuild_tree::TreeError::NotFound { path: path.to_owned() };
        let mut content = tree.open(&tree.node(path)?.ok_or_else(gone)?)?;
        let (name, mut hasher) = algorithm.hasher();
        let mut chunk = vec![0; 64 << 10];
        loop {
            let length = content.read(&mut chunk).map_err(|error| OpsError::io("reading a download", error))?;
            if length == 0 {
                break;
            }
            hasher.update(&chunk[..length]);
        }
        hasher.update(suffix);
        let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{name}:{hex}"))
    }
}
