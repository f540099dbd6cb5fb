//! Layers whose times are set back (`rewrite-timestamp`).

use rbuild_oci::{Descriptor, DiffId, media_type};
use rbuild_store::{Layer, LayerBlob, LayerId, NewLayer};
use rbuild_tree::tar::clamp_times;

use crate::form::PLAIN;
use crate::{Images, ImagesError};

impl Images {
    /// Returns a layer with the files of layer `id` and no time later than `latest` (seconds since 1970). Blocks.
    ///
    /// `below` are the layers it lies upon. What comes of it is a layer like any other, kept as a plain tar.
    ///
    /// # Errors
    /// If the layer is gone or cannot be read.
    pub fn with_times_until(&self, id: LayerId, below: &[LayerId], latest: i64) -> Result<LayerId, ImagesError> {
        let layer = self.reachable(id)?;
        let (descriptor, diff_id) = self.write_clamped(&layer, below, latest)?;
        let new = NewLayer { description: layer.description, kind: layer.kind, diff_id: Some(diff_id) };
        let rewritten = self.store().layers().find_or_create(diff_id, &descriptor.digest, &new)?;
        let blob = LayerBlob { descriptor, variant: PLAIN.to_owned() };
        self.store().layers().add_blob(rewritten, &blob)?;
        Ok(rewritten)
    }

    /// Puts the tar with earlier times into the store: one thread writes the layer's tar, this one changes it.
    fn write_clamped(
        &self,
        layer: &Layer,
        below: &[LayerId],
        latest: i64,
    ) -> Result<(Descriptor, DiffId), ImagesError> {
        let failed = |source| ImagesError::Layer { action: "rewriting", layer: layer.id, source };
        let (reader, mut writer) = std::io::pipe().map_err(failed)?;
        let ingest = self.store().blobs().ingest(None)?;
        let (made, clamped) = std::thread::scope(|scope| {
            // The writer is dropped with the closure, which is the reader's end.
            let made = rbuild_tree::spawn_walker(scope, move || self.write_plain(layer, below, &mut writer));
            let clamped = clamp_times(reader, latest, ingest);
            (made.join(), clamped)
        });
        let found = made.map_err(|_| ImagesError::Panicked)??;
        if let Some(wanted) = layer.diff_id.filter(|wanted| *wanted != found) {
            return Err(ImagesError::DiffId { layer: layer.id, found, wanted });
        }
        let ingest = clamped.map_err(std::io::Error::other).map_err(failed)?;
        let size = ingest.written();
        let digest = ingest.commit()?;
        Ok((Descriptor::new(media_type::OCI_LAYER, digest, size), DiffId(digest)))
    }
}
