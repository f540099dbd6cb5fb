//! A directory as a content store: an OCI image layout, which other tools can read.
//!
//! What is read is found below an opened root; what is written is written beside its place and moved there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use rbuild_oci::{Descriptor, Digest, Index, Manifest, json, media_type};
use rbuild_registry::Source;
use rbuild_sys::root::Root;

use crate::backend::{BoxError, ContentStore};

/// The annotation of an index that holds a tag.
const TAG: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A directory with `oci-layout`, `index.json` and `blobs/sha256/…`.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Returns the layout at a path; it need not be there before something is written.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Opens a file of the layout; none if it is not there.
    fn open(&self, name: &Path) -> io::Result<Option<File>> {
        let opened = Root::open(&self.path).and_then(|root| root.open_file(name));
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io::Error::new(error.kind(), format!("`{}`: {error}", self.path.join(name).display()))),
        }
    }

    fn size_of(&self, digest: &Digest) -> io::Result<Option<u64>> {
        self.open(&blob(digest))?.map(|file| Ok(file.metadata()?.len())).transpose()
    }

    fn bytes_of(&self, digest: &Digest, offset: u64, length: u64) -> io::Result<Bytes> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{digest} is not there"));
        let mut file = self.open(&blob(digest))?.ok_or_else(missing)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }

    fn index(&self) -> Result<Index, BoxError> {
        let empty = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            manifests: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
        };
        let Some(file) = self.open(Path::new("index.json"))? else { return Ok(empty) };
        let mut bytes = Vec::new();
        file.take(json::MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes)?;
        let read = json::from_slice(&bytes);
        Ok(read.map_err(|error| format!("`{}`: {error}", self.path.join("index.json").display()))?)
    }

    fn replace(&self, name: &Path, content: &mut dyn Read) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let place = self.path.join(name);
        let parent = place.parent().unwrap_or(&self.path);
        std::fs::create_dir_all(parent)?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = parent.join(format!(".writing-{}-{number}", std::process::id()));
        let mut write = || {
            let mut file = File::options().write(true).create_new(true).open(&temporary)?;
            io::copy(content, &mut file)?;
            file.flush()?;
            std::fs::rename(&temporary, &place)
        };
        let written = write();
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written.map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", place.display())))
    }

    /// Names a root in the index, which others may be changing at the same time.
    fn name(&self, tag: &str, root: &Descriptor, alone: bool) -> Result<(), BoxError> {
        let lock = File::options().create(true).truncate(false).write(true).open(self.path.join("index.json.lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        let mut index = if alone { Index { manifests: Vec::new(), ..self.index()? } } else { self.index()? };
        index.manifests.retain(|entry| entry.annotations.get(TAG).is_none_or(|name| name != tag));
        let mut entry = root.clone();
        entry.annotations.insert(TAG.to_owned(), tag.to_owned());
        index.manifests.push(entry);
        self.replace(Path::new("oci-layout"), &mut &LAYOUT[..])?;
        self.replace(Path::new("index.json"), &mut &json::to_vec(&index)[..])?;
        if alone {
            self.keep_only(root)?;
        }
        Ok(())
    }

    /// Removes the blobs that the root does not name.
    fn keep_only(&self, root: &Descriptor) -> Result<(), BoxError> {
        let bytes = self.bytes_of(&root.digest, 0, json::MAX_DOCUMENT as u64)?;
        let mut kept = BTreeSet::from([root.digest.hex()]);
        if media_type::is_index(&root.media_type) {
            let index: Index = json::from_slice(&bytes)?;
            kept.extend(index.manifests.iter().map(|entry| entry.digest.hex()));
        } else {
            let manifest: Manifest = json::from_slice(&bytes)?;
            kept.extend(manifest.layers.iter().chain([&manifest.config]).map(|entry| entry.digest.hex()));
        }
        for entry in std::fs::read_dir(self.path.join("blobs/sha256"))? {
            let entry = entry?;
            let name = entry.file_name();
            let is_blob = name.to_str().is_some_and(|name| name.len() == 64 && !kept.contains(name));
            if is_blob && entry.file_type()?.is_file() {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, BoxError> {
        let directory = self.clone();
        tokio::task::spawn_blocking(move || work(&directory)).await?
    }
}

fn blob(digest: &Digest) -> PathBuf {
    Path::new("blobs/sha256").join(digest.hex())
}

#[async_trait]
impl ContentStore for Directory {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, BoxError> {
        let digest = *digest;
        self.blocking(move |directory| Ok(directory.size_of(&digest)?)).await
    }

    async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Bytes, BoxError> {
        let digest = *digest;
        self.blocking(move |directory| Ok(directory.bytes_of(&digest, offset, length)?)).await
    }

    async fn write(&self, descriptor: &Descriptor, source: Arc<dyn Source>) -> Result<(), BoxError> {
        let digest = descriptor.digest;
        self.blocking(move |directory| Ok(directory.replace(&blob(&digest), &mut *source.open(0)?)?)).await
    }

    async fn tagged(&self, tag: &str) -> Result<Option<Digest>, BoxError> {
        let tag = tag.to_owned();
        self.blocking(move |directory| {
            let entries = directory.index()?.manifests;
            let tagged = entries.into_iter().find(|entry| entry.annotations.get(TAG) == Some(&tag));
            Ok(tagged.map(|entry| entry.digest))
        })
        .await
    }

    async fn tag(&self, tag: &str, root: &Descriptor, alone: bool) -> Result<(), BoxError> {
        let (tag, root) = (tag.to_owned(), root.clone());
        self.blocking(move |directory| directory.name(&tag, &root, alone)).await
    }
}
