//! The local store as a destination: rows only, no blob of a layer is made.

use std::time::SystemTime;

use rbuild_images::Images;
use rbuild_oci::{Descriptor, Digest, Reference};
use rbuild_store::{ImageId, NewImage};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ExportError;
use crate::result::Part;

/// Records an image under names; the id is the digest of its configuration. Blocks.
///
/// A manifest that was made for another exporter is recorded with it; `blobs` are kept with it, too.
///
/// # Errors
/// If a layer is gone, or the store fails.
pub(crate) fn record(
    images: &Images,
    part: &Part,
    config: &[u8],
    manifest: Option<Descriptor>,
    blobs: Vec<Digest>,
    names: &[Reference],
) -> Result<ImageId, ExportError> {
    #[derive(serde::Deserialize)]
    struct Told {
        created: Option<String>,
    }
    let id = ImageId(images.store().blobs().put(config)?);
    let told: Option<Told> = rbuild_oci::json::from_slice(config).ok();
    let created = told.and_then(|told| OffsetDateTime::parse(&told.created?, &Rfc3339).ok());
    let new = NewImage {
        id,
        target: manifest,
        layers: part.layers.clone(),
        blobs,
        platform: part.platform.clone(),
        created: created.map_or(SystemTime::UNIX_EPOCH, SystemTime::from),
    };
    images.store().images().record(&new, names)?;
    Ok(id)
}
