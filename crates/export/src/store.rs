//! The local store as a destination: rows only, no blob of a layer is made.

use std::time::SystemTime;

use rbuild_images::Images;
use rbuild_oci::Reference;
use rbuild_store::{ImageId, NewImage};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ExportError;
use crate::assemble::{Assembled, Built, configuration};

/// Records an image under names; the id is the digest of its configuration. Blocks.
///
/// A manifest that was made for another exporter is recorded with it.
///
/// # Errors
/// If a layer is gone, or the store fails.
pub fn record(
    images: &Images,
    built: &Built,
    assembled: Option<&Assembled>,
    names: &[Reference],
) -> Result<ImageId, ExportError> {
    let (config, bytes) = configuration(images, built)?;
    let id = ImageId(images.store().blobs().put(&bytes)?);
    let created = config.created.as_deref().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let new = NewImage {
        id,
        target: assembled.map(|assembled| assembled.manifest.0.clone()),
        layers: built.layers.clone(),
        blobs: Vec::new(),
        platform: built.platform.clone(),
        created: created.map_or(SystemTime::UNIX_EPOCH, SystemTime::from),
    };
    images.store().images().record(&new, names)?;
    Ok(id)
}
