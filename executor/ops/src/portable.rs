//! Layers for another place: what a step wrote is right upon what it wrote it, not upon anything else.
//!
//! A step's directory says of a directory that was removed and made again only that it hides whatever is below, and
//! holds files that did not change. As a tar it says what changed, name by name; that may be laid upon anything.

use std::io::BufWriter;

use rbuild_oci::DiffId;
use rbuild_snapshot::{DiffOptions, diff};
use rbuild_solver::Context;
use rbuild_store::{Layer, LayerBlob, LayerId, NewLayer};

use crate::OpsError;
use crate::worker::Worker;

/// The variant of blobs that are plain tars.
const PLAIN: &str = "uncompressed";

impl Worker {
    /// Returns the layers of `layers` from `first` on, in forms that may be laid upon anything. Blocks.
    pub(crate) fn portable(
        &self,
        context: &Context,
        layers: &[LayerId],
        first: usize,
    ) -> Result<Vec<LayerId>, OpsError> {
        (first..layers.len()).map(|index| self.portable_layer(context, layers[index], &layers[..index])).collect()
    }

    fn portable_layer(&self, context: &Context, id: LayerId, below: &[LayerId]) -> Result<LayerId, OpsError> {
        if let Some(known) = self.known_portable(id) {
            return Ok(known);
        }
        let layer = self.store().layers().get(id)?;
        // What has no directory is a tar; and what a registry has was unpacked from one.
        if layer.tree.is_none() || !layer.remotes.is_empty() {
            return Ok(id);
        }
        let blob = match layer.blobs.iter().find(|blob| blob.variant == PLAIN) {
            Some(blob) => blob.clone(),
            None => self.plain(context, &layer, below)?,
        };
        let diff_id = Some(DiffId(blob.descriptor.digest));
        let new = NewLayer { description: layer.description.clone(), kind: layer.kind, diff_id };
        let portable = self.store().layers().create(&new)?;
        self.store().layers().add_blob(portable, &blob)?;
        self.note_portable(id, portable);
        self.note_portable(portable, portable);
        Ok(portable)
    }

    /// Writes what a layer changes upon `below` as a tar. The layer itself stays as it is.
    fn plain(&self, context: &Context, layer: &Layer, below: &[LayerId]) -> Result<LayerBlob, OpsError> {
        let view = self.images().view(below, context.reporter(), context.vertex())?;
        let tree = layer.tree.as_ref().ok_or(OpsError::Graph("a layer lost its directory"))?;
        let ingest = BufWriter::with_capacity(256 << 10, self.store().blobs().ingest(None)?);
        let (out, _) = diff(&tree.path, &view, &DiffOptions::default(), ingest)?;
        self.keep_plain(out)
    }
}
