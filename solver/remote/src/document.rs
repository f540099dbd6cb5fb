//! The root document of a cache: an image manifest or an index over its layers and configuration.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use rbuild_oci::{Descriptor, DiffId, Digest, Index, Manifest, json, media_type};

use crate::config::{MEDIA_TYPE, UNCOMPRESSED};
use crate::error::RemoteError;

/// What a root document names.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Root {
    /// A cache.
    Cache {
        /// Its configuration.
        config: Descriptor,
        /// Its layers.
        layers: HashMap<Digest, Descriptor>,
    },
    /// An image, which may carry a cache.
    Image(Box<Manifest>),
    /// Images of several platforms.
    Images(Vec<Descriptor>),
}

/// Reads a root document.
pub(crate) fn read(digest: Digest, bytes: &[u8]) -> Result<Root, RemoteError> {
    let broken = |error: json::JsonError| RemoteError::document("cache manifest", digest, crate::error::chain(&error));
    let shape: serde_json::Value = json::from_slice(bytes).map_err(broken)?;
    if shape.get("manifests").is_some() {
        let index: Index = json::from_slice(bytes).map_err(broken)?;
        let config = index.manifests.iter().find(|entry| entry.media_type == MEDIA_TYPE).cloned();
        return Ok(match config {
            Some(config) => Root::Cache { config, layers: by_digest(index.manifests) },
            None => Root::Images(index.manifests),
        });
    }
    let manifest: Manifest = json::from_slice(bytes).map_err(broken)?;
    Ok(match manifest.config.media_type == MEDIA_TYPE {
        true => Root::Cache { config: manifest.config, layers: by_digest(manifest.layers) },
        false => Root::Image(Box::new(manifest)),
    })
}

fn by_digest(descriptors: Vec<Descriptor>) -> HashMap<Digest, Descriptor> {
    descriptors.into_iter().map(|descriptor| (descriptor.digest, descriptor)).collect()
}

/// Returns the diff id that a layer of a cache is said to have.
pub(crate) fn diff_id(layer: &Descriptor) -> Option<DiffId> {
    layer.annotations.get(UNCOMPRESSED)?.parse().ok().map(DiffId)
}

/// Writes a root document over layers, each named once, and a configuration.
pub(crate) fn write(layers: &[Descriptor], config: Descriptor, oci: bool, image_manifest: bool) -> (Descriptor, Bytes) {
    let mut seen = HashSet::new();
    let mut layers: Vec<Descriptor> = layers.iter().filter(|layer| seen.insert(layer.digest)).cloned().collect();
    layers.iter_mut().for_each(|layer| layer.media_type = layer_type(&layer.media_type, oci));
    let (kind, bytes) = if image_manifest {
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        };
        (media_type::OCI_MANIFEST, json::to_vec(&manifest))
    } else {
        let kind = if oci { media_type::OCI_INDEX } else { media_type::DOCKER_LIST };
        layers.push(config);
        let index = Index {
            schema_version: 2,
            media_type: Some(kind.to_owned()),
            manifests: layers,
            annotations: BTreeMap::new(),
        };
        (kind, json::to_vec(&index))
    };
    (Descriptor::new(kind, Digest::of(&bytes), bytes.len() as u64), bytes.into())
}

/// Returns a layer's media type in the family that the document has.
fn layer_type(kind: &str, oci: bool) -> String {
    use media_type as m;
    const PAIRS: [(&str, &str); 3] = [
        (m::OCI_LAYER, m::DOCKER_LAYER),
        (m::OCI_LAYER_GZIP, m::DOCKER_LAYER_GZIP),
        (m::OCI_LAYER_ZSTD, m::DOCKER_LAYER_ZSTD),
    ];
    let pair = PAIRS.iter().find(|(ours, theirs)| kind == *ours || kind == *theirs);
    pair.map_or(kind, |(ours, theirs)| if oci { ours } else { theirs }).to_owned()
}

/// Whether a media type is that of a layer we can read.
pub(crate) fn is_layer(kind: &str) -> bool {
    use media_type as m;
    let known = [m::OCI_LAYER, m::OCI_LAYER_GZIP, m::OCI_LAYER_ZSTD];
    known.contains(&kind) || [m::DOCKER_LAYER, m::DOCKER_LAYER_GZIP, m::DOCKER_LAYER_ZSTD].contains(&kind)
}
