//! Which image a name means: in the store, or at its registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rbuild_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, json, media_type};
use rbuild_store::{Image, ImageId, LayerId};

use crate::{Images, ImagesError};

/// The largest configuration that is read.
const CONFIG_LIMIT: u64 = 8 << 20;

/// Where images are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the store, at the registry if it is not there.
    #[default]
    Missing,
    /// At the registry.
    Always,
    /// In the store.
    Never,
}

/// Where an image was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the store, with these layers.
    Store(Vec<LayerId>),
    /// At its registry.
    Registry,
}

/// An image that was found, for one platform.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The name with the digest of what was asked for (index, manifest, or for an image of the store
    /// that was never at a registry, configuration).
    pub reference: Reference,
    /// Index or manifest that the name means at its registry.
    pub target: Option<Descriptor>,
    /// The manifest, byte for byte, and its descriptor; none for an image that was never at a registry.
    pub manifest: Option<(Descriptor, Bytes)>,
    /// The layers' descriptors, bottom first; empty if there is no manifest.
    pub layers: Vec<Descriptor>,
    /// The configuration, byte for byte.
    pub config_bytes: Bytes,
    /// The digest of the configuration: the image id.
    pub config_digest: Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// Where it was found.
    pub origin: Origin,
}

/// What was resolved already in this process.
#[derive(Default)]
pub(crate) struct Known(Mutex<HashMap<(String, String, bool), Arc<Resolved>>>);

impl Known {
    fn get(&self, key: &(String, String, bool)) -> Option<Arc<Resolved>> {
        self.0.lock().expect("no holder of this lock panics").get(key).cloned()
    }

    fn put(&self, key: (String, String, bool), resolved: Arc<Resolved>) {
        self.0.lock().expect("no holder of this lock panics").insert(key, resolved);
    }
}

impl Images {
    /// Finds out which image `reference` means for `platform`. One process gets one answer.
    ///
    /// # Errors
    /// If there is none, or the registry cannot be asked.
    pub async fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
        mode: Mode,
    ) -> Result<Arc<Resolved>, ImagesError> {
        let version = platform.os_version.as_deref().unwrap_or_default();
        let key = (reference.to_string(), format!("{platform}({version})"), mode == Mode::Always);
        if let Some(known) = self.known().get(&key) {
            return Ok(known);
        }
        let local = if mode == Mode::Always { None } else { self.resolve_local(reference, platform)? };
        let resolved = match local {
            Some(local) => local,
            None if mode == Mode::Never => return Err(ImagesError::NotLocal(reference.to_string())),
            None => self.resolve_remote(reference, platform).await?,
        };
        let resolved = Arc::new(resolved);
        let pinned = (resolved.reference.to_string(), key.1.clone(), key.2);
        self.known().put(key, resolved.clone());
        self.known().put(pinned, resolved.clone());
        Ok(resolved)
    }

    fn resolve_local(&self, reference: &Reference, platform: &Platform) -> Result<Option<Resolved>, ImagesError> {
        let Some(image) = self.find_local(reference)?.filter(|image| platform.matches(&image.platform)) else {
            return Ok(None);
        };
        let blobs = self.store().blobs();
        let config_digest = image.id.0;
        let config_bytes: Bytes = blobs.read(&config_digest, CONFIG_LIMIT)?.into();
        let name = reference.to_string();
        let config = parse(&config_bytes, "configuration", config_digest, &name)?;
        let mut pinned = reference.clone();
        pinned.digest = Some(reference.digest.or(image.target.as_ref().map(|t| t.digest)).unwrap_or(config_digest));
        Ok(Some(Resolved {
            reference: pinned,
            target: image.target.clone(),
            manifest: None,
            layers: Vec::new(),
            config_bytes,
            config_digest,
            config,
            origin: Origin::Store(image.layers.clone()),
        }))
    }

    /// Finds an image of the store by name, or by the digest it was pinned to.
    fn find_local(&self, reference: &Reference) -> Result<Option<Image>, ImagesError> {
        let images = self.store().images();
        if let Some(digest) = reference.digest
            && let Some(image) = images.get(&ImageId(digest))?
        {
            return Ok(Some(image));
        }
        match images.resolve(&reference.to_string()) {
            Ok(image) => Ok(Some(image)),
            Err(rbuild_store::Error::NoImage(_) | rbuild_store::Error::Ambiguous(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn resolve_remote(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, ImagesError> {
        let client = self.client()?;
        let found = client.resolve(reference).await?;
        let name = reference.to_string();
        let mut pinned = reference.clone();
        pinned.digest = Some(found.descriptor.digest);
        let target = found.descriptor.clone();
        let mut bytes = self.document(&pinned, &target, found.body).await?;
        let mut descriptor = target.clone();
        if media_type::is_index(&target.media_type) {
            let index: Index = parse(&bytes, "index", target.digest, &name)?;
            let best = platform.best(&index).ok_or_else(|| no_platform(&name, platform, &index))?;
            descriptor = best.clone();
            bytes = self.document(&pinned, &descriptor, None).await?;
        }
        let manifest: Manifest = parse(&bytes, "manifest", descriptor.digest, &name)?;
        let config_bytes = match self.store().blobs().hold(&manifest.config.digest)? {
            true => self.store().blobs().read(&manifest.config.digest, CONFIG_LIMIT)?.into(),
            false => {
                let bytes = client.fetch_small(&pinned, &manifest.config, CONFIG_LIMIT).await?;
                self.store().blobs().put(&bytes)?;
                bytes
            }
        };
        let config: ImageConfig = parse(&config_bytes, "configuration", manifest.config.digest, &name)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let (layers, ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
            let reason = format!("it has {layers} layers, its configuration {ids} diff ids");
            return Err(ImagesError::Document { what: "manifest", digest: descriptor.digest, name, reason });
        }
        Ok(Resolved {
            reference: pinned,
            target: Some(target),
            manifest: Some((descriptor, bytes)),
            config_digest: manifest.config.digest,
            layers: manifest.layers,
            config_bytes,
            config,
            origin: Origin::Registry,
        })
    }

    /// Returns a manifest or index: from the store, as fetched already, or from the registry.
    pub(crate) async fn document(
        &self,
        pinned: &Reference,
        descriptor: &Descriptor,
        body: Option<Bytes>,
    ) -> Result<Bytes, ImagesError> {
        let blobs = self.store().blobs();
        if blobs.hold(&descriptor.digest)? {
            return Ok(blobs.read(&descriptor.digest, CONFIG_LIMIT)?.into());
        }
        let bytes = match body {
            Some(body) => body,
            None => self.client()?.fetch_manifest(pinned, descriptor).await?,
        };
        blobs.put(&bytes)?;
        Ok(bytes)
    }
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
    digest: Digest,
    name: &str,
) -> Result<T, ImagesError> {
    json::from_slice(bytes).map_err(|error| {
        let name = name.to_owned();
        ImagesError::Document { what, digest, name, reason: error.to_string() }
    })
}

pub(crate) fn no_platform(name: &str, platform: &Platform, index: &Index) -> ImagesError {
    let platforms = index.manifests.iter().filter(|entry| !rbuild_oci::platform::is_attestation(entry));
    let available: Vec<_> = platforms.filter_map(|entry| Some(entry.platform.as_ref()?.to_string())).collect();
    ImagesError::NoPlatform { name: name.to_owned(), platform: platform.clone(), available: available.join(", ") }
}
