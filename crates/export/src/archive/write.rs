//! Writing archives: the same images give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rbuild_images::Images;
use rbuild_oci::{Descriptor, Digest, Index, Reference, json, media_type};
use rbuild_tree::Metadata;
use rbuild_tree::tar::LayerWriter;
use serde::Serialize;

use crate::ExportError;
use crate::assemble::{Assembled, index_of};

/// Which form an archive has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// An OCI layout.
    Oci,
    /// An OCI layout that also is a Docker archive, for `docker load`.
    Docker,
}

/// Where an archive goes.
pub enum ArchiveTarget {
    /// A tar on a stream.
    Tar(Box<dyn Write + Send>),
    /// A layout in a directory.
    Directory(PathBuf),
}

/// One entry of Docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Writes images, each with its names; several platforms of one image are joined by an index. Blocks.
///
/// Returns the descriptor that `index.json` names first.
///
/// # Errors
/// If a blob cannot be had, or the destination cannot be written.
pub fn export_archive(
    images: &Images,
    kind: ArchiveKind,
    exported: &[(Vec<Assembled>, Vec<Reference>)],
    target: ArchiveTarget,
) -> Result<Descriptor, ExportError> {
    let mut contents = Contents::default();
    for (platforms, names) in exported {
        contents.add(images, kind, platforms, names)?;
    }
    let first = contents.index.first().cloned().ok_or(ExportError::ManifestList)?;
    let documents = contents.documents(kind);
    let blobs: Vec<Digest> = contents.blobs.into_iter().collect();
    match target {
        ArchiveTarget::Tar(out) => write_tar(images, out, &documents, &blobs)?,
        ArchiveTarget::Directory(dest) => write_directory(images, &dest, &documents, &blobs)?,
    }
    Ok(first)
}

/// What goes into an archive.
#[derive(Default)]
struct Contents {
    blobs: BTreeSet<Digest>,
    index: Vec<Descriptor>,
    docker: Vec<DockerEntry>,
}

impl Contents {
    fn add(
        &mut self,
        images: &Images,
        kind: ArchiveKind,
        platforms: &[Assembled],
        names: &[Reference],
    ) -> Result<(), ExportError> {
        for image in platforms {
            for (id, blob) in &image.layers {
                images.localize(*id, blob)?;
                self.blobs.insert(blob.descriptor.digest);
            }
            self.blobs.extend([image.config.0.digest, image.manifest.0.digest]);
        }
        let target = match platforms {
            [image] => {
                let mut descriptor = image.manifest.0.clone();
                descriptor.platform = Some(image.platform.clone());
                descriptor
            }
            _ if kind == ArchiveKind::Docker => return Err(ExportError::ManifestList),
            several => {
                let (descriptor, _) = index_of(images, several, true)?;
                self.blobs.insert(descriptor.digest);
                descriptor
            }
        };
        self.docker.extend(platforms.iter().map(|image| docker_entry(image, names)));
        if names.is_empty() {
            self.index.push(target);
            return Ok(());
        }
        for name in names {
            let mut descriptor = target.clone();
            let tag = name.tag.clone().unwrap_or_else(|| "latest".to_owned());
            descriptor.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
            descriptor.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag);
            self.index.push(descriptor);
        }
        Ok(())
    }

    fn documents(&self, kind: ArchiveKind) -> Vec<(&'static str, Bytes)> {
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

fn write_tar(
    images: &Images,
    out: Box<dyn Write + Send>,
    documents: &[(&str, Bytes)],
    blobs: &[Digest],
) -> Result<(), ExportError> {
    let mut writer = LayerWriter::new(io::BufWriter::with_capacity(256 << 10, out));
    writer.entry(Path::new("blobs"), &Metadata::directory())?;
    writer.entry(Path::new("blobs/sha256"), &Metadata::directory())?;
    for digest in blobs {
        let mut reader = images.store().blobs().reader(digest)?;
        let metadata = Metadata { mode: 0o444, ..Metadata::file(reader.size()) };
        writer.file(&Path::new("blobs/sha256").join(digest.hex()), &metadata, &mut reader)?;
    }
    for (name, bytes) in documents {
        let metadata = Metadata { mode: 0o444, ..Metadata::file(bytes.len() as u64) };
        writer.file(Path::new(name), &metadata, &mut &bytes[..])?;
    }
    let mut out = writer.finish()?;
    out.flush().map_err(ExportError::io("writing", Path::new("the archive")))
}

fn write_directory(
    images: &Images,
    dest: &Path,
    documents: &[(&str, Bytes)],
    blobs: &[Digest],
) -> Result<(), ExportError> {
    let folder = dest.join("blobs/sha256");
    std::fs::create_dir_all(&folder).map_err(ExportError::io("creating", &folder))?;
    for digest in blobs {
        let path = folder.join(digest.hex());
        let mut reader = images.store().blobs().reader(digest)?;
        replace(&path, &mut reader)?;
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
