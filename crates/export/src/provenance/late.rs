//! Provenance that is written when the result leaves: only then are the blobs of its layers known.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rbuild_images::Images;
use rbuild_oci::Descriptor;
use rbuild_store::{Layer, LayerId};
use time::OffsetDateTime;

use super::options::{Mode, ProvenanceOptions};
use super::predicate::Provenance;
use crate::ExportError;
use crate::attestation::{Attestation, Content, Late};

/// How the store calls a blob that is a plain tar.
const PLAIN: &str = "uncompressed";

/// Provenance that is written when the result leaves.
#[derive(Debug, Clone)]
pub struct LateProvenance {
    /// What is known already.
    pub provenance: Provenance,
    /// The form it is wanted in.
    pub options: ProvenanceOptions,
    /// The layers of each step's outputs, bottom first.
    pub layers: BTreeMap<String, Vec<LayerId>>,
}

impl LateProvenance {
    /// Returns the attestation.
    ///
    /// # Errors
    /// If materials have to be complete and are not.
    pub fn attestation(self) -> Result<Attestation, ExportError> {
        self.provenance.check(&self.options)?;
        let options = self.options.clone();
        Ok(options.attestation(Content::Late(Arc::new(self))))
    }
}

impl Late for LateProvenance {
    fn make(&self, images: &Images) -> Result<Bytes, ExportError> {
        let mut provenance = self.provenance.clone();
        provenance.run.finished = OffsetDateTime::now_utc();
        if self.options.mode == Mode::Max {
            provenance.layers = described(images, &self.layers)?;
        }
        Ok(provenance.predicate(&self.options))
    }
}

/// Leaves out what has no blobs: it never left as layers.
fn described(
    images: &Images,
    layers: &BTreeMap<String, Vec<LayerId>>,
) -> Result<BTreeMap<String, Vec<Vec<Descriptor>>>, ExportError> {
    let mut found = BTreeMap::new();
    for (output, chain) in layers.iter().filter(|(_, chain)| !chain.is_empty()) {
        let blobs = chain.iter().map(|id| Ok(blob(&images.store().layers().get(*id)?)));
        if let Some(blobs) = blobs.collect::<Result<Option<Vec<_>>, ExportError>>()? {
            found.insert(output.clone(), vec![blobs]);
        }
    }
    Ok(found)
}

/// Returns the blob that a layer is known by elsewhere.
fn blob(layer: &Layer) -> Option<Descriptor> {
    let compressed = layer.blobs.iter().find(|blob| blob.variant != PLAIN).map(|blob| &blob.descriptor);
    let remote = || layer.remotes.first().map(|remote| &remote.descriptor);
    let any = || layer.blobs.first().map(|blob| &blob.descriptor);
    let found = compressed.or_else(remote).or_else(any)?;
    Some(Descriptor::new(found.media_type.clone(), found.digest, found.size))
}
