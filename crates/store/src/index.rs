//! The OCI image layout's two files, through which other tools find the images.

use std::fs;
use std::time::{Duration, SystemTime};

use rbuild_oci::{Descriptor, Index, media_type};

use crate::error::{Context, Result};
use crate::image;
use crate::layout::Layout;
use crate::store::{Shared, write_new};
use crate::{Store, gc, trash};

/// How old a temporary file is before nobody can be writing it.
const LEFT_AFTER: Duration = Duration::from_secs(60);

const MARKER: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}\n";

/// Writes `oci-layout`.
pub(crate) fn write_marker(layout: &Layout) -> Result<()> {
    replace(layout, "oci-layout", MARKER)?;
    if layout.oci().join("index.json").exists() {
        return Ok(());
    }
    replace(layout, "index.json", &of(Vec::new()).to_json())
}

/// Writes `index.json`: an entry for each name of an image that has a manifest.
pub(crate) fn write(shared: &Shared) -> Result<()> {
    let images = shared.database.read("listing images", image::list)?;
    let mut entries = Vec::new();
    for image in images {
        let Some(target) = image.target else { continue };
        for name in image.names {
            let mut entry = Descriptor { platform: Some(image.platform.clone()), ..target.clone() };
            let tag = name.tag.clone().unwrap_or_default();
            entry.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
            entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag);
            entries.push(entry);
        }
    }
    entries.sort_by(|a, b| a.annotations.cmp(&b.annotations));
    replace(&shared.layout, "index.json", &of(entries).to_json())
}

fn of(manifests: Vec<Descriptor>) -> Index {
    let media_type = Some(media_type::OCI_INDEX.to_owned());
    Index { schema_version: 2, media_type, manifests, annotations: Default::default() }
}

fn replace(layout: &Layout, name: &str, bytes: &[u8]) -> Result<()> {
    let path = layout.oci().join(name);
    let temporary = layout.oci().join(format!(".{name}-{}", trash::random_name()));
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, &path).on("creating", &path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Removes temporary files that killed processes left; writing one takes no minute.
pub(crate) fn sweep(layout: &Layout, now: SystemTime) -> Result<()> {
    for name in gc::list(&layout.oci())?.iter().filter(|name| name.starts_with('.')) {
        let path = layout.oci().join(name);
        let modified = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified()).unwrap_or(now);
        if now.duration_since(modified).unwrap_or_default() > LEFT_AFTER {
            trash::discard(layout, &path)?;
        }
    }
    Ok(())
}

impl Store {
    /// Writes `oci/index.json` now; else it is written when the last handle is dropped.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_index(&self) -> Result<()> {
        self.shared.index_dirty.store(false, std::sync::atomic::Ordering::Relaxed);
        write(&self.shared)
    }
}
