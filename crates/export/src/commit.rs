//! An image ready to leave: the manifests of its platforms, what is attested about them, and the index over them.

use std::collections::BTreeMap;

use bytes::Bytes;
use rbuild_events::Parts;
use rbuild_images::{Images, PushImage, PushLayer};
use rbuild_oci::{Descriptor, Digest, Index, Platform, Reference, json, media_type};
use serde::Serialize;

use crate::ExportError;
use crate::annotations::{Annotated, Annotations};
use crate::assemble::{AssembleOptions, Assembled, ManifestForm, manifest_with};
use crate::attestation::{NamedSubject, package_url, unbundle};
use crate::inline::InlineCache;
use crate::layer_type::stays_foreign;
use crate::result::Part;
use crate::sbom::with_layers;

/// The type of a statement's blob.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The type of an attestation manifest that is an artifact.
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// The type and bytes of a configuration that says nothing.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

/// How an image is made of a result.
pub(crate) struct CommitOptions<'a> {
    pub(crate) assemble: AssembleOptions,
    pub(crate) annotations: &'a Annotations,
    /// Whether attestation manifests are OCI artifacts.
    pub(crate) artifact: bool,
    /// Whether attestations count that are not worth an index of their own.
    pub(crate) inline_attestations: bool,
    /// The names of the image, which attestations are about.
    pub(crate) names: &'a [Reference],
    pub(crate) inline_cache: Option<&'a dyn InlineCache>,
}

impl CommitOptions<'_> {
    /// Whether something is attested that is worth an index.
    fn is_attested(&self, part: &Part) -> bool {
        part.attestations.iter().any(|given| self.inline_attestations || !given.is_inline_only())
    }

    /// Checks that what is asked for has its place in the image.
    fn check(&self, parts: &[Part], index: bool) -> Result<(), ExportError> {
        let oci = self.assemble.oci_media_types;
        let platforms: Vec<_> = parts.iter().map(|part| &part.platform).collect();
        self.annotations.check(&platforms, oci, index)?;
        if index && !oci && parts.iter().any(|part| !part.attestations.is_empty()) {
            return Err(ExportError::Output("cannot export attestations with \"oci-mediatypes=false\"".to_owned()));
        }
        Ok(())
    }
}

/// An image ready to leave.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The platforms' images.
    pub images: Vec<Assembled>,
    /// What is attested about them.
    pub attestations: Vec<Attested>,
    /// The index, if there is one.
    pub index: Option<(Descriptor, Bytes)>,
    /// The descriptor of the index, or else of the only manifest.
    pub root: Descriptor,
}

/// An attestation manifest with its blobs, which lie in the store.
#[derive(Debug, Clone)]
pub struct Attested {
    /// The statements.
    pub layers: Vec<Descriptor>,
    /// The configuration.
    pub config: Descriptor,
    /// The manifest.
    pub manifest: (Descriptor, Bytes),
}

impl Commit {
    /// Joins images that are there already: one, or several below an index.
    ///
    /// # Errors
    /// If the store fails.
    pub fn of(images: &Images, assembled: Vec<Assembled>, oci: bool) -> Result<Self, ExportError> {
        let several = assembled.len() != 1;
        Self::joined(images, assembled, Vec::new(), several, oci, &Annotations::default())
    }

    /// Makes an image of the parts of a result. Blocks.
    pub(crate) fn new(
        images: &Images,
        parts: &[Part],
        is_map: bool,
        options: &CommitOptions<'_>,
        progress: &Parts,
    ) -> Result<Self, ExportError> {
        let index = is_map || parts.iter().any(|part| options.is_attested(part));
        let oci = options.assemble.oci_media_types;
        options.check(parts, index)?;
        let exporting = progress.begin("exporting layers");
        let blobs = parts.iter().map(|part| part.blobs(images, options.assemble)).collect::<Result<Vec<_>, _>>()?;
        drop(exporting);
        let mut assembled = Vec::with_capacity(parts.len());
        let mut attestations = Vec::new();
        for (part, blobs) in parts.iter().zip(blobs) {
            let cache = match options.inline_cache {
                Some(cache) => cache.entry(&part.id, &blobs).map_err(ExportError::Destination)?,
                None => None,
            };
            let config = part.configuration(images, cache.as_deref())?;
            let form = ManifestForm {
                oci,
                foreign_layers: options.assemble.foreign_layers,
                annotations: options.annotations.manifest(&part.platform),
            };
            let image = manifest_with(images, part.platform.clone(), blobs, config, form)?;
            progress.note(format!("exporting manifest {}", image.manifest.0.digest));
            progress.note(format!("exporting config {}", image.config.0.digest));
            if index && !part.attestations.is_empty() {
                attestations.push(attest(images, part, &image, options, progress)?);
            }
            assembled.push(image);
        }
        let commit = Self::joined(images, assembled, attestations, index, oci, options.annotations)?;
        if let Some((descriptor, _)) = &commit.index {
            progress.note(format!("exporting manifest list {}", descriptor.digest));
        }
        Ok(commit)
    }

    fn joined(
        images: &Images,
        assembled: Vec<Assembled>,
        attestations: Vec<Attested>,
        index: bool,
        oci: bool,
        annotations: &Annotations,
    ) -> Result<Self, ExportError> {
        let entry = |image: &Assembled| {
            let mut descriptor = image.manifest.0.clone();
            descriptor.annotations = annotations.manifest_descriptor(&image.platform);
            descriptor.platform = Some(image.platform.clone());
            descriptor
        };
        let manifests: Vec<_> = assembled.iter().map(entry).collect();
        if !index {
            let root = manifests.into_iter().next();
            let root = root.ok_or_else(|| ExportError::Result("a build without a result".to_owned()))?;
            return Ok(Self { images: assembled, attestations, index: None, root });
        }
        let attested = attestations.iter().map(|attested| attested.manifest.0.clone());
        let index = index_of(images, manifests.into_iter().chain(attested).collect(), oci, annotations.index())?;
        let root = Descriptor { annotations: annotations.index_descriptor(), ..index.0.clone() };
        Ok(Self { images: assembled, attestations, index: Some(index), root })
    }

    /// Returns what goes to a registry: each manifest with its blobs, but for layers that stay foreign.
    pub(crate) fn pushes(&self, foreign_layers: bool) -> Vec<PushImage> {
        let image = |image: &Assembled| {
            let layers = image.layers.iter().filter(|(_, blob)| !stays_foreign(&blob.descriptor, foreign_layers));
            let layers = layers.map(|(id, blob)| PushLayer { id: *id, blob: blob.clone() });
            PushImage {
                layers: layers.collect(),
                blobs: Vec::new(),
                config: image.config.0.clone(),
                manifest: image.manifest.clone(),
            }
        };
        let attested = |attested: &Attested| PushImage {
            layers: Vec::new(),
            blobs: attested.layers.clone(),
            config: attested.config.clone(),
            manifest: attested.manifest.clone(),
        };
        self.images.iter().map(image).chain(self.attestations.iter().map(attested)).collect()
    }

    /// Returns all blobs, each before those that name it.
    pub(crate) fn blobs(&self) -> Vec<Descriptor> {
        let mut blobs = Vec::new();
        for image in &self.images {
            blobs.extend(image.layers.iter().map(|(_, layer)| layer.descriptor.clone()));
            blobs.extend([image.config.0.clone(), image.manifest.0.clone()]);
        }
        for attested in &self.attestations {
            blobs.extend(attested.layers.iter().cloned());
            blobs.extend([attested.config.clone(), attested.manifest.0.clone()]);
        }
        blobs.extend(self.index.iter().map(|(descriptor, _)| descriptor.clone()));
        blobs
    }
}

/// Makes the index over manifests, and stores it.
fn index_of(
    images: &Images,
    manifests: Vec<Descriptor>,
    oci: bool,
    annotations: Annotated,
) -> Result<(Descriptor, Bytes), ExportError> {
    let index_type = if oci { media_type::OCI_INDEX } else { media_type::DOCKER_LIST };
    let index = Index { schema_version: 2, media_type: Some(index_type.to_owned()), manifests, annotations };
    let bytes = Bytes::from(json::to_vec_indented(&index));
    let digest: Digest = images.store().blobs().put(&bytes)?;
    Ok((Descriptor::new(index_type, digest, bytes.len() as u64), bytes))
}

/// An attestation manifest. Its own type: the empty configuration carries its bytes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttestationManifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
    config: Config<'a>,
    layers: &'a [Descriptor],
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
}

#[derive(Serialize)]
struct Config<'a> {
    #[serde(flatten)]
    descriptor: &'a Descriptor,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

/// Makes the manifest of what is attested about an image, and stores it and its blobs.
fn attest(
    images: &Images,
    part: &Part,
    image: &Assembled,
    options: &CommitOptions<'_>,
    progress: &Parts,
) -> Result<Attested, ExportError> {
    let target = &image.manifest.0;
    let named = |name: &Reference| NamedSubject::new(package_url(name, &part.platform), &target.digest);
    let itself: Vec<_> = options.names.iter().map(named).collect();
    let blobs = images.store().blobs();
    let mut layers = Vec::new();
    for attestation in unbundle(images, &part.attestations)? {
        let attestation = with_layers(images, &image.layers, attestation)?;
        let bytes = attestation.statement(images, &itself)?.compact();
        let mut layer = Descriptor::new(IN_TOTO, blobs.put(&bytes)?, bytes.len() as u64);
        layer.annotations.insert("in-toto.io/predicate-type".to_owned(), attestation.predicate_type.clone());
        layers.push(layer);
    }
    let (config_type, config) = match options.artifact {
        true => (EMPTY_TYPE, EMPTY.to_vec()),
        false => (media_type::OCI_CONFIG, attestation_config(&layers)),
    };
    let config_descriptor = Descriptor::new(config_type, blobs.put(&config)?, config.len() as u64);
    let subject = Descriptor::new(target.media_type.clone(), target.digest, target.size);
    let manifest = AttestationManifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST,
        artifact_type: options.artifact.then_some(ARTIFACT),
        config: Config {
            descriptor: &config_descriptor,
            data: options.artifact.then(|| crate::response::base64(&config)),
        },
        layers: &layers,
        subject: options.artifact.then_some(subject),
    };
    let bytes = Bytes::from(json::to_vec_indented(&manifest));
    let mut descriptor = Descriptor::new(media_type::OCI_MANIFEST, blobs.put(&bytes)?, bytes.len() as u64);
    progress.note(format!("exporting attestation manifest {}", descriptor.digest));
    descriptor.platform = Some(unknown());
    descriptor.annotations = BTreeMap::from([
        ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned()),
        ("vnd.docker.reference.digest".to_owned(), target.digest.to_string()),
    ]);
    Ok(Attested { layers, config: config_descriptor, manifest: (descriptor, bytes) })
}

fn unknown() -> Platform {
    Platform {
        os: "unknown".to_owned(),
        architecture: "unknown".to_owned(),
        variant: None,
        os_version: None,
        os_features: Vec::new(),
    }
}

/// Returns a configuration for readers that expect one: the statements are its layers.
fn attestation_config(layers: &[Descriptor]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Written<'a> {
        architecture: &'a str,
        os: &'a str,
        config: BTreeMap<String, String>,
        rootfs: Rootfs<'a>,
    }
    #[derive(Serialize)]
    struct Rootfs<'a> {
        r#type: &'a str,
        diff_ids: Vec<Digest>,
    }
    let diff_ids = layers.iter().map(|layer| layer.digest).collect();
    let rootfs = Rootfs { r#type: "layers", diff_ids };
    json::to_vec(&Written { architecture: "unknown", os: "unknown", config: BTreeMap::new(), rootfs })
}
