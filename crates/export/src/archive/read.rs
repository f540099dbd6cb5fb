//! Reading archives: members are looked up in an index made in memory, never on disk.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use rbuild_images::Images;
use rbuild_oci::digest::HashingWriter;
use rbuild_oci::{Descriptor, DiffId, Digest, ImageConfig, Index, Manifest, Platform, Reference, json, media_type};
use rbuild_store::{ImageId, LayerBlob, LayerId, NewImage, NewLayer};
use rbuild_tree::compress::{Format, decompress};
use rbuild_tree::tar::{Archive, EntryKind};
use serde::Deserialize;

use crate::ExportError;

/// The largest document that is read.
const DOCUMENT_LIMIT: u64 = 8 << 20;
/// How many names in a row may be links.
const LINKS: usize = 16;

/// An image that an archive held.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The image.
    pub id: ImageId,
    /// The names it got.
    pub names: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Where a member's bytes are.
#[derive(Clone)]
enum Member {
    Bytes { offset: u64, size: u64 },
    Link(PathBuf),
}

/// An archive with the places of its members.
struct Opened {
    file: Arc<File>,
    members: HashMap<PathBuf, Member>,
    path: PathBuf,
}

/// Loads the images of an archive, plain or compressed: an OCI layout, or what `docker save` writes.
/// `scratch` takes what a stream or a compressed archive holds. Blocks.
///
/// # Errors
/// If the archive is malformed, or the store fails.
pub fn load_archive(
    images: &Images,
    input: File,
    path: &Path,
    scratch: &Path,
    platform: &Platform,
) -> Result<Vec<Loaded>, ExportError> {
    let archive = Opened::new(input, path, scratch)?;
    if archive.members.contains_key(Path::new("manifest.json")) {
        return archive.docker(images);
    }
    if archive.members.contains_key(Path::new("index.json")) {
        return archive.layout(images, platform);
    }
    Err(archive.malformed("it has neither manifest.json nor index.json"))
}

impl Opened {
    fn new(input: File, path: &Path, scratch: &Path) -> Result<Self, ExportError> {
        let file = seekable_plain(input, path, scratch)?;
        let mut reader =
            BufReader::with_capacity(64 << 10, file.try_clone().map_err(ExportError::io("reading", path))?);
        reader.rewind().map_err(ExportError::io("reading", path))?;
        let mut archive = Archive::new(reader);
        let mut members = HashMap::new();
        let not = |reason: String| ExportError::NotAnArchive { path: path.to_owned(), reason };
        while let Some(entry) = archive.next_entry().map_err(|error| not(error.to_string()))? {
            let header = &entry.header;
            let name = clean(&header.path);
            let parent = name.parent().unwrap_or(Path::new("")).to_owned();
            let member = match &header.kind {
                EntryKind::File if header.sparse.is_none() => {
                    Member::Bytes { offset: header.data_offset, size: header.data_size }
                }
                EntryKind::Symlink(target) if !target.is_absolute() => Member::Link(clean(&parent.join(target))),
                EntryKind::HardLink(target) => Member::Link(clean(target)),
                _ => continue,
            };
            members.insert(name, member);
        }
        Ok(Self { file: Arc::new(file), members, path: path.to_owned() })
    }

    fn malformed(&self, reason: impl Into<String>) -> ExportError {
        ExportError::NotAnArchive { path: self.path.clone(), reason: reason.into() }
    }

    fn find(&self, name: &Path) -> Result<(u64, u64), ExportError> {
        let mut name = clean(name);
        for _ in 0..LINKS {
            match self.members.get(&name) {
                Some(Member::Bytes { offset, size }) => return Ok((*offset, *size)),
                Some(Member::Link(target)) => name.clone_from(target),
                None => break,
            }
        }
        Err(self.malformed(format!("member `{}` is missing", name.display())))
    }

    fn document(&self, name: &Path) -> Result<Bytes, ExportError> {
        let (offset, size) = self.find(name)?;
        if size > DOCUMENT_LIMIT {
            return Err(self.malformed(format!("member `{}` is larger than {DOCUMENT_LIMIT} bytes", name.display())));
        }
        let mut bytes = vec![0; size as usize];
        self.file.read_exact_at(&mut bytes, offset).map_err(ExportError::io("reading", &self.path))?;
        Ok(bytes.into())
    }

    fn parsed<T: serde::de::DeserializeOwned>(&self, name: &Path, bytes: &[u8]) -> Result<T, ExportError> {
        json::from_slice(bytes).map_err(|error| self.malformed(format!("member `{}`: {error}", name.display())))
    }

    /// Takes a blob into the store; its digest must be the one expected, if one is.
    fn ingest(&self, images: &Images, name: &Path, expected: Option<Digest>) -> Result<(Digest, u64), ExportError> {
        let (offset, size) = self.find(name)?;
        if let Some(digest) = expected
            && images.store().blobs().hold(&digest)?
        {
            return Ok((digest, size));
        }
        let descriptor = expected.map(|digest| Descriptor::new("", digest, size));
        let mut ingest = images.store().blobs().ingest(descriptor.as_ref())?;
        let mut from = Part { file: self.file.clone(), offset, left: size };
        io::copy(&mut from, &mut ingest).map_err(|error| ExportError::Store(ingest.explain(error)))?;
        Ok((ingest.commit()?, size))
    }

    fn docker(&self, images: &Images) -> Result<Vec<Loaded>, ExportError> {
        let name = Path::new("manifest.json");
        let entries: Vec<DockerEntry> = self.parsed(name, &self.document(name)?)?;
        let load = |entry: &DockerEntry| {
            let config = self.document(Path::new(&entry.config))?;
            let layers: Vec<_> = entry.layers.iter().map(|layer| (PathBuf::from(layer), None)).collect();
            let tags = entry.repo_tags.iter().flatten();
            let names = tags.map(|tag| tag.parse().map_err(|error| self.malformed(format!("name `{tag}`: {error}"))));
            self.image(images, &config, &layers, None, names.collect::<Result<_, _>>()?)
        };
        entries.iter().map(load).collect()
    }

    fn layout(&self, images: &Images, platform: &Platform) -> Result<Vec<Loaded>, ExportError> {
        let name = Path::new("index.json");
        let index: Index = self.parsed(name, &self.document(name)?)?;
        let mut loaded: Vec<Loaded> = Vec::new();
        for descriptor in index.manifests.iter().filter(|entry| !rbuild_oci::platform::is_attestation(entry)) {
            let names = match descriptor.annotations.get("io.containerd.image.name") {
                Some(name) => vec![name.parse().map_err(|error| self.malformed(format!("name `{name}`: {error}")))?],
                None => Vec::new(),
            };
            let image = self.layout_image(images, descriptor, platform, names)?;
            match loaded.iter_mut().find(|known| known.id == image.id) {
                Some(known) => known.names.extend(image.names),
                None => loaded.push(image),
            }
        }
        if loaded.is_empty() { Err(self.malformed("its index names no image")) } else { Ok(loaded) }
    }

    fn layout_image(
        &self,
        images: &Images,
        descriptor: &Descriptor,
        platform: &Platform,
        names: Vec<Reference>,
    ) -> Result<Loaded, ExportError> {
        let mut descriptor = descriptor.clone();
        let mut bytes = self.verified(&descriptor)?;
        if media_type::is_index(&descriptor.media_type) {
            let index: Index = self.parsed(&blob_path(&descriptor.digest), &bytes)?;
            let best =
                platform.best(&index).ok_or_else(|| self.malformed(format!("it has no image for {platform}")))?;
            descriptor = best.clone();
            bytes = self.verified(&descriptor)?;
        }
        let manifest: Manifest = self.parsed(&blob_path(&descriptor.digest), &bytes)?;
        let config = self.verified(&manifest.config)?;
        images.store().blobs().put(&bytes)?;
        let layers: Vec<_> =
            manifest.layers.iter().map(|layer| (blob_path(&layer.digest), Some(layer.clone()))).collect();
        self.image(images, &config, &layers, Some(descriptor), names)
    }

    fn verified(&self, descriptor: &Descriptor) -> Result<Bytes, ExportError> {
        let bytes = self.document(&blob_path(&descriptor.digest))?;
        if Digest::of(&bytes) != descriptor.digest {
            return Err(self.malformed(format!("blob {} has other content than its name says", descriptor.digest)));
        }
        self.fits(descriptor, bytes.len() as u64)?;
        Ok(bytes)
    }

    fn image(
        &self,
        images: &Images,
        config_bytes: &Bytes,
        layers: &[(PathBuf, Option<Descriptor>)],
        target: Option<Descriptor>,
        names: Vec<Reference>,
    ) -> Result<Loaded, ExportError> {
        let config: ImageConfig = self.parsed(Path::new("the configuration"), config_bytes)?;
        if config.rootfs.diff_ids.len() != layers.len() {
            let (layers, ids) = (layers.len(), config.rootfs.diff_ids.len());
            return Err(self.malformed(format!("an image has {layers} layers, its configuration {ids} diff ids")));
        }
        let id = ImageId(images.store().blobs().put(config_bytes)?);
        let mut ids: Vec<LayerId> = Vec::with_capacity(layers.len());
        for ((name, descriptor), diff_id) in layers.iter().zip(&config.rootfs.diff_ids) {
            let layer = self.layer(images, name, descriptor.as_ref(), *diff_id)?;
            ids.push(layer);
        }
        let platform = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
        let created = config.created.as_deref().and_then(parse_time).unwrap_or(SystemTime::UNIX_EPOCH);
        let new = NewImage { id, target, layers: ids, blobs: Vec::new(), platform, created };
        images.store().images().record(&new, &names)?;
        Ok(Loaded { id, names })
    }

    /// Takes a layer into the store, unless it is there; its content must be what the configuration says.
    fn layer(
        &self,
        images: &Images,
        name: &Path,
        descriptor: Option<&Descriptor>,
        diff_id: DiffId,
    ) -> Result<LayerId, ExportError> {
        let layers = images.store().layers();
        if let Some(known) = layers.find_verified(diff_id)? {
            self.find(name)?;
            return Ok(known);
        }
        let (digest, size) = self.ingest(images, name, descriptor.map(|descriptor| descriptor.digest))?;
        let descriptor = match descriptor {
            Some(descriptor) => descriptor.clone(),
            None => Descriptor::new(self.sniff(name)?, digest, size),
        };
        self.fits(&descriptor, size)?;
        let found = self.diff_id(images, &digest)?;
        if found != diff_id {
            let (found, wanted) = (found.0, diff_id.0);
            return Err(self.malformed(format!(
                "layer `{}` has diff id {found}, the configuration says {wanted}",
                name.display()
            )));
        }
        let new = NewLayer { description: format!("layer of {}", self.path.display()), ..NewLayer::default() };
        let layer = layers.find_or_create(diff_id, &digest, &new)?;
        let variant =
            if digest == diff_id.0 { "uncompressed".to_owned() } else { format!("foreign:{}", descriptor.media_type) };
        layers.add_blob(layer, &LayerBlob { descriptor, variant })?;
        Ok(layer)
    }

    /// Returns the digest of a blob's plain content.
    fn diff_id(&self, images: &Images, blob: &Digest) -> Result<DiffId, ExportError> {
        let mut reader = images.store().blobs().reader(blob)?;
        let failed = |error: io::Error| self.malformed(format!("decompressing layer {blob}: {error}"));
        let (_, mut plain) = decompress(BufReader::with_capacity(256 << 10, &mut reader)).map_err(failed)?;
        let mut hashing = HashingWriter::new(io::sink());
        io::copy(&mut plain, &mut hashing).map_err(failed)?;
        Ok(DiffId(hashing.finish().1))
    }

    fn fits(&self, descriptor: &Descriptor, size: u64) -> Result<(), ExportError> {
        if descriptor.size == size {
            return Ok(());
        }
        let reason = format!("blob {} has {size} bytes, its descriptor says {}", descriptor.digest, descriptor.size);
        Err(self.malformed(reason))
    }

    fn sniff(&self, name: &Path) -> Result<&'static str, ExportError> {
        let (offset, size) = self.find(name)?;
        let mut start = vec![0; size.min(6) as usize];
        self.file.read_exact_at(&mut start, offset).map_err(ExportError::io("reading", &self.path))?;
        Ok(match Format::sniff(&start) {
            Format::Plain => media_type::OCI_LAYER,
            Format::Gzip => media_type::OCI_LAYER_GZIP,
            Format::Zstd => media_type::OCI_LAYER_ZSTD,
            Format::Bzip2 | Format::Xz => return Err(self.malformed("a layer is compressed by bzip2 or xz")),
        })
    }
}

fn parse_time(text: &str) -> Option<SystemTime> {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok().map(SystemTime::from)
}

fn blob_path(digest: &Digest) -> PathBuf {
    Path::new("blobs/sha256").join(digest.hex())
}

/// Returns a name without leading slash, `.` and `..`.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

/// Returns the archive as a plain file that can be read at any place.
fn seekable_plain(mut input: File, path: &Path, scratch: &Path) -> Result<File, ExportError> {
    let is_file = input.metadata().map_err(ExportError::io("reading", path))?.is_file();
    if is_file {
        let mut start = [0; 6];
        let read = input.read(&mut start).map_err(ExportError::io("reading", path))?;
        input.seek(SeekFrom::Start(0)).map_err(ExportError::io("reading", path))?;
        if Format::sniff(&start[..read]) == Format::Plain {
            return Ok(input);
        }
    }
    let buffered = BufReader::with_capacity(256 << 10, input);
    let (_, mut plain) = decompress(buffered).map_err(ExportError::io("decompressing", path))?;
    let mut spool = tempfile::tempfile_in(scratch).map_err(ExportError::io("making a file in", scratch))?;
    io::copy(&mut plain, &mut spool).map_err(ExportError::io("unpacking", path))?;
    spool.flush().map_err(ExportError::io("writing to", scratch))?;
    Ok(spool)
}

/// A part of a file.
struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Part {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buf[..wanted], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
