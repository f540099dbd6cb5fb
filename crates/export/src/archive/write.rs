//! Writing archives: the same images give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use rbuild_images::Images;
use rbuild_oci::{Descriptor, Digest, Index, Reference, json, media_type};
use rbuild_tree::Metadata;
use rbuild_tree::tar::LayerWriter;
use serde::Serialize;

use crate::ExportError;
use crate::assemble::Assembled;
use crate::commit::Commit;
use crate::destination::{Blob, Documents};

/// Which form an archive has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// An OCI layout.
    Oci,
    /// An OCI layout that also is a Docker archive, for `docker load`.
    Docker,
}

/// One entry of Docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What goes into an archive.
#[derive(Default)]
pub struct Contents {
    blobs: Vec<Descriptor>,
    index: Vec<Descriptor>,
    docker: Vec<DockerEntry>,
}

/// Writes images, each with its names, as one tar. Blocks.
///
/// # Errors
/// If a blob cannot be had, or the stream cannot be written.
pub fn export_archive<W: Write>(
    images: &Images,
    kind: ArchiveKind,
    exported: &[(Commit, Vec<Reference>)],
    out: W,
) -> Result<W, ExportError> {
    let mut contents = Contents::default();
    for (commit, names) in exported {
        contents.add(images, commit, commit.root.clone(), names)?;
    }
    contents.write_tar(images, kind, out)
}

impl Contents {
    /// Adds an image; its blobs lie in the store afterwards. `root` is how `index.json` tells of it.
    ///
    /// # Errors
    /// If a blob cannot be had.
    pub fn add(
        &mut self,
        images: &Images,
        commit: &Commit,
        root: Descriptor,
        names: &[Reference],
    ) -> Result<(), ExportError> {
        for (id, blob) in commit.images.iter().flat_map(|image| &image.layers) {
            images.localize(*id, blob)?;
        }
        for blob in commit.blobs() {
            if !self.blobs.iter().any(|known| known.digest == blob.digest) {
                self.blobs.push(blob);
            }
        }
        self.docker.extend(commit.images.iter().map(|image| docker_entry(image, names)));
        if names.is_empty() {
            self.index.push(root);
            return Ok(());
        }
        for name in names {
            let mut descriptor = root.clone();
            let tag = name.tag.clone().unwrap_or_else(|| "latest".to_owned());
            descriptor.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
            descriptor.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag);
            self.index.push(descriptor);
        }
        Ok(())
    }

    /// Returns the documents at the top.
    pub fn documents(&self, kind: ArchiveKind) -> Documents {
        let index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            manifests: self.index.clone(),
            annotations: BTreeMap::new(),
        };
        let mut documents = vec![
            ("index.json", Bytes::from(json::to_vec(&index))),
            ("oci-layout", Bytes::from_static(b"{\"imageLayoutVersion\":\"1.0.0\"}")),
        ];
        if kind == ArchiveKind::Docker {
            documents.insert(1, ("manifest.json", Bytes::from(json::to_vec(&self.docker))));
        }
        documents
    }

    /// Returns the blobs, each before those that name it.
    pub fn blobs(&self) -> &[Descriptor] {
        &self.blobs
    }

    /// Writes all as a tar: the same images give the same bytes.
    ///
    /// # Errors
    /// If a blob cannot be read, or the stream cannot be written.
    pub fn write_tar<W: Write>(&self, images: &Images, kind: ArchiveKind, out: W) -> Result<W, ExportError> {
        let mut writer = LayerWriter::new(out);
        writer.entry(Path::new("blobs"), &Metadata::directory())?;
        writer.entry(Path::new("blobs/sha256"), &Metadata::directory())?;
        let sorted: BTreeSet<Digest> = self.blobs.iter().map(|blob| blob.digest).collect();
        for digest in &sorted {
            let mut reader = images.store().blobs().reader(digest)?;
            let metadata = Metadata { mode: 0o444, ..Metadata::file(reader.size()) };
            writer.file(&Path::new("blobs/sha256").join(digest.hex()), &metadata, &mut reader)?;
        }
        for (name, bytes) in self.documents(kind) {
            let metadata = Metadata { mode: 0o444, ..Metadata::file(bytes.len() as u64) };
            writer.file(Path::new(name), &metadata, &mut &bytes[..])?;
        }
        Ok(writer.finish()?)
    }
}

fn docker_entry(image: &Assembled, names: &[Reference]) -> DockerEntry {
    let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let tags: Vec<_> = names.iter().map(Reference::familiar).collect();
    DockerEntry {
        config: blob(&image.config.0.digest),
        repo_tags: Some(tags).filter(|tags| !tags.is_empty()),
        layers: image.layers.iter().map(|(_, layer)| blob(&layer.descriptor.digest)).collect(),
    }
}

/// Writes an OCI layout into a directory.
pub(crate) fn write_layout(
    dest: &Path,
    blobs: &mut dyn Iterator<Item = Blob<'_>>,
    documents: &Documents,
) -> Result<(), ExportError> {
    let folder = dest.join("blobs/sha256");
    std::fs::create_dir_all(&folder).map_err(ExportError::io("creating", &folder))?;
    for blob in blobs {
        let mut content = blob.open()?;
        replace(&folder.join(blob.descriptor.digest.hex()), &mut content)?;
    }
    for (name, bytes) in documents {
        replace(&dest.join(name), &mut &bytes[..])?;
    }
    Ok(())
}

/// Writes a file beside its place and moves it there; a link at the place is replaced, not followed.
fn replace(path: &Path, content: &mut dyn io::Read) -> Result<(), ExportError> {
    let temporary = path.with_file_name(format!(".{}.tmp", path.file_name().unwrap_or_default().to_string_lossy()));
    let mut write = || -> io::Result<()> {
        let _ = std::fs::remove_file(&temporary);
        let mut file = File::options().write(true).create_new(true).open(&temporary)?;
        io::copy(content, &mut file)?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(ExportError::io("writing", path))
}
