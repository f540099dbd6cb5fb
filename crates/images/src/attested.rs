//! What is attested of an image: the way from its index to the attestations and to who signed them.

use std::collections::BTreeSet;

use bytes::Bytes;
use rbuild_oci::{Descriptor, Digest, Index, Manifest, Platform, media_type};

use crate::resolve::{Resolved, no_platform, parse};
use crate::{Images, ImagesError};

/// The most manifests and blobs of one image.
const MOST_BLOBS: usize = 256;
/// Says of an entry of an index what it is to another.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// Says of an entry of an index to which other it belongs.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// Says of a layer of attestations what kind of statement it is.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// What provenance calls itself, old and new.
const PROVENANCE: [&str; 2] = ["https://slsa.dev/provenance/v0.2", "https://slsa.dev/provenance/v1"];
/// The type of attestations that are referrers of an image.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The types of signatures, most wanted first.
const SIGNATURES: [&str; 2] =
    ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.cosign.artifact.sig.v1+json"];

/// What leads from an image's index to its attestations, byte for byte, for others to verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationChain {
    /// The index.
    pub root: Digest,
    /// The manifest of the platform; not among the blobs, since nothing is verified with it.
    pub image: Digest,
    /// The manifest whose layers are the attestations.
    pub attestations: Option<Digest>,
    /// The manifest whose layers sign the attestations.
    pub signature: Option<Digest>,
    /// Index, manifests and layers; each once.
    pub blobs: Vec<(Descriptor, Bytes)>,
}

impl Images {
    /// Returns what is attested of an image, with the statements of the `wanted` predicate types; none if the image
    /// is not part of an index. At most `limit` bytes are read.
    ///
    /// # Errors
    /// If something of it cannot be had, is malformed, or is too large.
    pub async fn attestation_chain(
        &self,
        image: &Resolved,
        platform: &Platform,
        wanted: &[String],
        limit: u64,
    ) -> Result<Option<AttestationChain>, ImagesError> {
        let Some(root) = image.target.as_ref().filter(|target| target.media_type == media_type::OCI_INDEX) else {
            return Ok(None);
        };
        let mut gathered = Gathered { images: self, image, root: root.digest, left: limit, blobs: Vec::new() };
        let index: Index = gathered.document(root, "index").await?;
        let name = image.reference.to_string();
        let best = platform.best(&index).ok_or_else(|| no_platform(&name, platform, &index))?.digest;
        let mut chain =
            AttestationChain { root: root.digest, image: best, attestations: None, signature: None, blobs: Vec::new() };
        if let Some(attestations) = self.attestations_of(image, &index, best).await? {
            chain.attestations = Some(attestations.digest);
            chain.signature = gathered.attested(&attestations, wanted).await?;
        }
        chain.blobs = gathered.blobs;
        Ok(Some(chain))
    }

    /// Finds the manifest of the attestations of an image of `index`.
    async fn attestations_of(
        &self,
        image: &Resolved,
        index: &Index,
        digest: Digest,
    ) -> Result<Option<Descriptor>, ImagesError> {
        if !is_hardened(index) {
            return Ok(entry_about(index, &digest).cloned());
        }
        let referrers = self.client()?.referrers(&image.reference, &digest, Some(IN_TOTO)).await?;
        let is_provenance = |entry: &Descriptor| {
            let predicate = entry.annotations.get(PREDICATE_TYPE);
            is_manifest(entry) && predicate.is_some_and(|predicate| PROVENANCE.contains(&predicate.as_str()))
        };
        let missing = || ImagesError::Document {
            what: "manifest",
            digest,
            name: image.reference.to_string(),
            reason: "it should have provenance, and none refers to it".to_owned(),
        };
        referrers.manifests.into_iter().find(is_provenance).ok_or_else(missing).map(Some)
    }
}

/// What was read of one image so far.
struct Gathered<'a> {
    images: &'a Images,
    image: &'a Resolved,
    root: Digest,
    /// How many bytes may yet be read.
    left: u64,
    blobs: Vec<(Descriptor, Bytes)>,
}

impl Gathered<'_> {
    /// Reads the attestations and their signature, and returns the manifest of the latter.
    async fn attested(&mut self, attestations: &Descriptor, wanted: &[String]) -> Result<Option<Digest>, ImagesError> {
        let manifest: Manifest = self.document(attestations, "attestation manifest").await?;
        let referrers = self.images.client()?.referrers(&self.image.reference, &attestations.digest, None).await?;
        let signature = signature_of(&referrers);
        if let Some(signature) = signature {
            let manifest: Manifest = self.document(signature, "signature manifest").await?;
            for layer in &manifest.layers {
                self.blob(layer).await?;
            }
        }
        for layer in statements(&manifest, wanted) {
            self.blob(layer).await?;
        }
        Ok(signature.map(|signature| signature.digest))
    }

    /// Reads a manifest or index.
    async fn document<T: serde::de::DeserializeOwned>(
        &mut self,
        descriptor: &Descriptor,
        what: &'static str,
    ) -> Result<T, ImagesError> {
        self.make_room(descriptor.size)?;
        let bytes = self.images.document(&self.image.reference, descriptor, None).await?;
        let parsed = parse(&bytes, what, descriptor.digest, &self.image.reference.to_string())?;
        self.keep(descriptor, bytes)?;
        Ok(parsed)
    }

    /// Reads a layer, from the store if it was fetched before.
    async fn blob(&mut self, descriptor: &Descriptor) -> Result<(), ImagesError> {
        if self.blobs.iter().any(|(known, _)| known.digest == descriptor.digest) {
            return Ok(());
        }
        self.make_room(descriptor.size)?;
        let stored = self.images.store().blobs();
        let bytes = match stored.hold(&descriptor.digest)? {
            true => stored.read(&descriptor.digest, descriptor.size)?.into(),
            false => {
                let client = self.images.client()?;
                let bytes = client.fetch_small(&self.image.reference, descriptor, descriptor.size).await?;
                stored.put(&bytes)?;
                bytes
            }
        };
        self.keep(descriptor, bytes)
    }

    /// Refuses what is too much before it is fetched.
    fn make_room(&self, size: u64) -> Result<(), ImagesError> {
        let reason = if self.blobs.len() >= MOST_BLOBS {
            format!("more than {MOST_BLOBS} manifests and blobs")
        } else if size > self.left {
            format!("another {size} bytes, of which only {} may be read", self.left)
        } else {
            return Ok(());
        };
        Err(self.unfit("attestations", self.root, reason))
    }

    fn keep(&mut self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), ImagesError> {
        // What the store had was never compared with this descriptor but for the digest.
        if bytes.len() as u64 != descriptor.size {
            let reason = format!("it has {} bytes, its descriptor says {}", bytes.len(), descriptor.size);
            return Err(self.unfit("blob", descriptor.digest, reason));
        }
        self.left -= descriptor.size;
        self.blobs.push((descriptor.clone(), bytes));
        Ok(())
    }

    fn unfit(&self, what: &'static str, digest: Digest, reason: String) -> ImagesError {
        ImagesError::Document { what, digest, name: self.image.reference.to_string(), reason }
    }
}

/// Whether an index is one of Docker's hardened images, of which attestations are referrers of their own.
fn is_hardened(index: &Index) -> bool {
    let title = index.annotations.get("org.opencontainers.image.title");
    let is_built =
        |entry: &Descriptor| entry.annotations.get("com.docker.dhi.build.id").is_some_and(|id| !id.is_empty());
    title.is_some_and(|title| title.starts_with("dhi/")) && index.manifests.iter().all(is_built)
}

/// Returns the entry with the attestations of the image with this digest.
fn entry_about<'a>(index: &'a Index, image: &Digest) -> Option<&'a Descriptor> {
    let image = image.to_string();
    index.manifests.iter().find(|entry| {
        let says = |name: &str, value: &str| entry.annotations.get(name).is_some_and(|said| said == value);
        is_manifest(entry) && says(REFERENCE_TYPE, "attestation-manifest") && says(REFERENCE_DIGEST, &image)
    })
}

/// Returns the one signature that counts.
fn signature_of(referrers: &Index) -> Option<&Descriptor> {
    let of_type = |wanted: &str| {
        let is_one = |entry: &&Descriptor| is_manifest(entry) && entry.artifact_type.as_deref() == Some(wanted);
        referrers.manifests.iter().find(is_one)
    };
    SIGNATURES.into_iter().find_map(of_type)
}

/// Returns the layers whose statements are wanted.
fn statements<'a>(manifest: &'a Manifest, wanted: &[String]) -> impl Iterator<Item = &'a Descriptor> {
    let wanted: BTreeSet<_> = wanted.iter().filter(|kind| !kind.is_empty()).cloned().collect();
    manifest
        .layers
        .iter()
        .filter(move |layer| layer.annotations.get(PREDICATE_TYPE).is_some_and(|kind| wanted.contains(kind)))
}

fn is_manifest(entry: &Descriptor) -> bool {
    media_type::is_manifest(&entry.media_type)
}

#[cfg(test)]
#[path = "attested_tests.rs"]
mod tests;
