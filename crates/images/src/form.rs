//! The forms of a layer, each made from the other.

use std::io::{BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_events::{Reporter, Silent};
use rbuild_oci::digest::{HashingReader, HashingWriter};
use rbuild_oci::{ChainId, Descriptor, DiffId, Digest, Reference, media_type};
use rbuild_registry::{Progress, Sink};
use rbuild_snapshot::{DiffOptions, LayerForm, MergedView, diff, unpack};
use rbuild_store::{Ingest, Layer, LayerBlob, LayerId, Remote, TreeBuild, TreeState};
use rbuild_tree::compress::{Compression, Encoder, decompress};

use crate::{Images, ImagesError};

/// The variant of a blob that is a plain tar.
pub(crate) const PLAIN: &str = "uncompressed";

/// Which blob of a layer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRequest {
    /// How a blob is compressed that has to be made.
    pub compression: Compression,
    /// Whether a blob that is there, compressed another way, will not do.
    pub force: bool,
    /// Threads that compress.
    pub threads: usize,
}

/// A layer's blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeBlob {
    /// Media type (OCI's), digest and size.
    pub descriptor: Descriptor,
    /// The digest of the plain tar.
    pub diff_id: DiffId,
    /// Where else the blob is, if it came from a registry.
    pub remotes: Vec<Remote>,
    /// Whether the blob lies in the store; otherwise it is only at a registry.
    pub local: bool,
}

impl MadeBlob {
    /// Returns the other repositories of the same registry that the very blob can be mounted from.
    pub fn mounts_for(&self, reference: &Reference) -> Vec<String> {
        let same = self.remotes.iter().filter(|remote| remote.descriptor.digest == self.descriptor.digest);
        let names = same.filter_map(|remote| remote.reference.strip_prefix(&reference.registry)?.strip_prefix('/'));
        names.filter(|name| *name != reference.repository).map(str::to_owned).collect()
    }
}

/// An ingest as the place where a download goes.
struct IngestSink<'a>(&'a mut Ingest);

impl Sink for IngestSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    fn restart(&mut self) -> std::io::Result<()> {
        self.0.restart().map_err(std::io::Error::other)
    }
}

impl Images {
    /// Returns the directories of layers, bottom first, making those that are not there. Blocks.
    ///
    /// # Errors
    /// If a layer is gone, or cannot be fetched or unpacked.
    pub fn trees(
        &self,
        layers: &[LayerId],
        reporter: &Arc<dyn Reporter>,
        vertex: Digest,
    ) -> Result<Vec<PathBuf>, ImagesError> {
        let unknown: Vec<_> = layers.iter().copied().filter(|id| self.known_tree(*id).is_none()).collect();
        if !unknown.is_empty() {
            self.store().layers().hold(&unknown)?;
            self.in_parallel(&unknown, &|id| {
                self.note_tree(id, self.tree(id, reporter, vertex)?);
                Ok(())
            })?;
        }
        layers.iter().map(|id| self.known_tree(*id).ok_or(ImagesError::Gone(*id))).collect()
    }

    /// Does something to several layers, a few at a time.
    pub(crate) fn in_parallel(
        &self,
        layers: &[LayerId],
        work: &(dyn Fn(LayerId) -> Result<(), ImagesError> + Sync),
    ) -> Result<(), ImagesError> {
        if let [only] = layers {
            return work(*only);
        }
        let next = std::sync::atomic::AtomicUsize::new(0);
        let worker = || {
            while let Some(id) = layers.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                work(*id)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..layers.len().min(4)).map(|_| rbuild_tree::spawn_walker(scope, worker)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| ImagesError::Panicked)?)
        })
    }

    /// Returns a view of layers, bottom first. Plain tars are looked into as they are; nothing else
    /// is read without a tree. Blocks.
    ///
    /// # Errors
    /// If a layer is gone, or cannot be fetched or unpacked.
    pub fn view(
        &self,
        layers: &[LayerId],
        reporter: &Arc<dyn Reporter>,
        vertex: Digest,
    ) -> Result<MergedView, ImagesError> {
        let mut forms = Vec::with_capacity(layers.len());
        for id in layers {
            if let Some(path) = self.known_tree(*id) {
                forms.push(LayerForm::Tree(path));
                continue;
            }
            let layer = self.store().layers().get(*id)?;
            forms.push(match (&layer.tree, plain(&layer)) {
                (Some(tree), _) => LayerForm::Tree(tree.path.clone()),
                (None, Some(blob)) => {
                    // Opened once through the store, so that a blob that may be damaged is checked first.
                    self.store().blobs().open(&blob.descriptor.digest)?;
                    LayerForm::Blob(self.store().blobs().path(&blob.descriptor.digest))
                }
                (None, None) => LayerForm::Tree(self.tree(*id, reporter, vertex)?),
            });
        }
        Ok(MergedView::open(&forms)?)
    }

    /// Returns a layer's directory, making it if it is not there.
    fn tree(&self, id: LayerId, reporter: &Arc<dyn Reporter>, vertex: Digest) -> Result<PathBuf, ImagesError> {
        let build = match self.store().layers().begin_tree(id)? {
            TreeState::Ready(tree) => return Ok(tree.path),
            TreeState::Build(build) => build,
        };
        let layer = self.store().layers().get(id)?;
        let blob = self.any_blob(&layer, reporter, vertex)?;
        self.unpack_into(build, &layer, &blob)
    }

    fn unpack_into(&self, build: TreeBuild, layer: &Layer, blob: &Descriptor) -> Result<PathBuf, ImagesError> {
        let id = layer.id;
        let failed = |action| move |source| ImagesError::Layer { action, layer: id, source };
        let mut reader = self.store().blobs().reader(&blob.digest)?;
        let buffered = BufReader::with_capacity(256 << 10, &mut reader);
        let unpacked = decompress(buffered)
            .map_err(failed("decompressing"))
            .and_then(|(_, plain)| Ok(unpack(plain, &build.fs(), self.unpack_options())?));
        // What makes no sense is most likely damaged: then the blob has to go, and to be named.
        reader.drain()?;
        let report = unpacked?;
        match layer.diff_id {
            Some(wanted) if wanted != report.diff_id => {
                self.note_unusable(id);
                return Err(ImagesError::DiffId { layer: id, found: report.diff_id, wanted });
            }
            Some(_) => {}
            None => self.store().layers().set_diff_id(id, report.diff_id)?,
        }
        let size = rbuild_store::disk_usage(&build.fs())?;
        Ok(build.finish(size, None)?.path)
    }

    /// Returns some blob of a layer that is in the store, fetching it if need be; plain ones first.
    fn any_blob(&self, layer: &Layer, reporter: &Arc<dyn Reporter>, vertex: Digest) -> Result<Descriptor, ImagesError> {
        let local = plain(layer).or(layer.blobs.first());
        match local {
            Some(blob) => Ok(blob.descriptor.clone()),
            None => self.fetch(layer, reporter, vertex),
        }
    }

    /// Fetches a layer's blob from the first registry that has it. Blocks.
    pub(crate) fn fetch(
        &self,
        layer: &Layer,
        reporter: &Arc<dyn Reporter>,
        vertex: Digest,
    ) -> Result<Descriptor, ImagesError> {
        self.runtime().block_on(self.fetch_layer(layer, reporter, vertex))
    }

    pub(crate) async fn fetch_layer(
        &self,
        layer: &Layer,
        reporter: &Arc<dyn Reporter>,
        vertex: Digest,
    ) -> Result<Descriptor, ImagesError> {
        let mut failure = ImagesError::Gone(layer.id);
        let mut lost = true;
        for remote in &layer.remotes {
            let found = DiffId(remote.descriptor.digest);
            if variant_of(&remote.descriptor.media_type) == PLAIN
                && let Some(wanted) = layer.diff_id.filter(|wanted| *wanted != found)
            {
                // A plain tar is looked into as it is, and has to be what it is taken for.
                failure = ImagesError::DiffId { layer: layer.id, found, wanted };
                continue;
            }
            match self.fetch_remote(remote, reporter, vertex).await {
                Ok(()) => {
                    let descriptor = remote.descriptor.clone();
                    let variant = variant_of(&descriptor.media_type);
                    self.store().layers().add_blob(layer.id, &LayerBlob { descriptor: descriptor.clone(), variant })?;
                    return Ok(descriptor);
                }
                Err(error) => {
                    lost &= error.is_final();
                    failure = error;
                }
            }
        }
        if lost {
            self.note_unusable(layer.id);
        }
        Err(failure)
    }

    async fn fetch_remote(
        &self,
        remote: &Remote,
        reporter: &Arc<dyn Reporter>,
        vertex: Digest,
    ) -> Result<(), ImagesError> {
        use rbuild_store::Resumable;
        let mut ingest = match self.store().blobs().ingest_resumable(&remote.descriptor)? {
            Resumable::Have => return Ok(()),
            Resumable::Resume(ingest) => ingest,
        };
        let reference = Reference::parse_untagged(&remote.reference).map_err(|error| ImagesError::Document {
            what: "remote",
            digest: remote.descriptor.digest,
            name: remote.reference.clone(),
            reason: error.to_string(),
        })?;
        let progress = Progress::new(reporter.clone(), vertex, remote.descriptor.digest.to_string());
        ingest.restart()?;
        self.client()?.fetch_blob(&reference, &remote.descriptor, &mut IngestSink(&mut ingest), progress).await?;
        ingest.commit()?;
        Ok(())
    }

    /// Returns a layer's diff id, computing it if nobody did. `below` are the layers it lies upon.
    ///
    /// # Errors
    /// If the layer is gone or cannot be read.
    pub fn diff_id(&self, id: LayerId, below: &[LayerId]) -> Result<DiffId, ImagesError> {
        let layer = self.store().layers().get(id)?;
        if let Some(diff_id) = layer.diff_id {
            return Ok(diff_id);
        }
        let diff_id = self.write_plain(&layer, below, &mut std::io::sink())?;
        self.store().layers().set_diff_id(id, diff_id)?;
        Ok(diff_id)
    }

    /// Writes a layer's plain tar to `out` and returns its digest.
    pub(crate) fn write_plain(
        &self,
        layer: &Layer,
        below: &[LayerId],
        out: &mut dyn Write,
    ) -> Result<DiffId, ImagesError> {
        let failed = |action| move |source| ImagesError::Layer { action, layer: layer.id, source };
        if let Some(blob) = plain(layer).or(layer.blobs.first()) {
            let mut reader = self.store().blobs().reader(&blob.descriptor.digest)?;
            let buffered = BufReader::with_capacity(256 << 10, &mut reader);
            let copied = decompress(buffered).map_err(failed("decompressing")).and_then(|(_, plain)| {
                let mut hashed = HashingReader::new(plain);
                copy_large(&mut hashed, out).map_err(failed("writing"))?;
                Ok(hashed.finish().1)
            });
            // As in `unpack_into`.
            reader.drain()?;
            return Ok(DiffId(copied?));
        }
        let tree = layer.tree.as_ref().ok_or(ImagesError::Gone(layer.id))?;
        let below = self.view(below, &silent(), nobody())?;
        let hashing = HashingWriter::new(out);
        let (_, report) = diff(&tree.path, &below, &DiffOptions::default(), hashing)?;
        Ok(report.diff_id)
    }

    /// Returns a blob of a layer, making it if there is none that will do. Blocks.
    ///
    /// # Errors
    /// If the layer is gone, or its blob cannot be made.
    pub fn blob(&self, id: LayerId, below: &[LayerId], request: BlobRequest) -> Result<MadeBlob, ImagesError> {
        let layer = self.store().layers().get(id)?;
        let wanted = variant(request.compression);
        let remotes = layer.remotes.clone();
        let fits = |variant: &str| {
            variant == wanted || !request.force && variant != PLAIN && layer.diff_id.is_some() && !remotes.is_empty()
        };
        if let Some(blob) = layer.blobs.iter().find(|blob| fits(&blob.variant)) {
            let diff_id = self.diff_id(id, below)?;
            self.store().blobs().hold(&blob.descriptor.digest)?;
            return Ok(MadeBlob { descriptor: blob.descriptor.clone(), diff_id, remotes, local: true });
        }
        if let (Some(remote), Some(diff_id), false) = (remotes.first(), layer.diff_id, request.force) {
            let descriptor = remote.descriptor.clone();
            return Ok(MadeBlob { descriptor, diff_id, remotes, local: false });
        }
        let layer = self.reachable(id)?;
        let (descriptor, diff_id) = self.make_blob(&layer, below, request)?;
        Ok(MadeBlob { descriptor, diff_id, remotes, local: true })
    }

    /// Returns a layer some form of which is in the store, fetching its blob if need be.
    pub(crate) fn reachable(&self, id: LayerId) -> Result<Layer, ImagesError> {
        let layer = self.store().layers().get(id)?;
        if layer.tree.is_some() || !layer.blobs.is_empty() {
            return Ok(layer);
        }
        self.fetch(&layer, &silent(), nobody())?;
        Ok(self.store().layers().get(id)?)
    }

    /// Makes sure that the blob is in the store, fetching it if it is only at a registry.
    ///
    /// # Errors
    /// If it cannot be fetched.
    pub fn localize(&self, id: LayerId, blob: &MadeBlob) -> Result<(), ImagesError> {
        if !blob.local && !self.store().blobs().hold(&blob.descriptor.digest)? {
            let layer = self.store().layers().get(id)?;
            self.fetch(&layer, &silent(), nobody())?;
        }
        Ok(())
    }

    fn make_blob(
        &self,
        layer: &Layer,
        below: &[LayerId],
        request: BlobRequest,
    ) -> Result<(Descriptor, DiffId), ImagesError> {
        let failed = |action| move |source| ImagesError::Layer { action, layer: layer.id, source };
        let ingest = self.store().blobs().ingest(None)?;
        let mut encoder = Encoder::new(ingest, request.compression, request.threads).map_err(failed("compressing"))?;
        let diff_id = self.write_plain(layer, below, &mut encoder)?;
        let ingest = encoder.finish().map_err(failed("compressing"))?;
        let size = ingest.written();
        match layer.diff_id {
            Some(wanted) if wanted != diff_id => {
                return Err(ImagesError::DiffId { layer: layer.id, found: diff_id, wanted });
            }
            Some(_) => {}
            None => self.store().layers().set_diff_id(layer.id, diff_id)?,
        }
        let digest = ingest.commit()?;
        let descriptor = Descriptor::new(media_type_of(request.compression), digest, size);
        let variant = variant(request.compression);
        self.store().layers().add_blob(layer.id, &LayerBlob { descriptor: descriptor.clone(), variant })?;
        Ok((descriptor, diff_id))
    }

    /// Returns the chain id of layers, bottom first; none for no layers.
    ///
    /// # Errors
    /// If a diff id cannot be computed.
    pub fn chain(&self, layers: &[LayerId]) -> Result<Option<ChainId>, ImagesError> {
        let mut ids = Vec::with_capacity(layers.len());
        for (position, id) in layers.iter().enumerate() {
            ids.push(self.diff_id(*id, &layers[..position])?);
        }
        Ok(ChainId::of(&ids))
    }
}

/// Copies with a buffer that suits hashing and disks.
fn copy_large(from: &mut dyn Read, to: &mut dyn Write) -> std::io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut copied = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(read) => {
                to.write_all(&buffer[..read])?;
                copied += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns a layer's plain tar, if it lies in the store.
pub(crate) fn plain(layer: &Layer) -> Option<&LayerBlob> {
    layer.blobs.iter().find(|blob| blob.variant == PLAIN)
}

/// Returns the name under which a blob made this way is remembered.
fn variant(compression: Compression) -> String {
    match compression {
        Compression::None => PLAIN.to_owned(),
        Compression::Gzip(level) => format!("gzip:{level}"),
        Compression::Zstd(level) => format!("zstd:{level}"),
    }
}

/// Returns the name under which a blob of somebody else is remembered.
pub(crate) fn variant_of(media_type: &str) -> String {
    match media_type {
        media_type::OCI_LAYER | media_type::DOCKER_LAYER => PLAIN.to_owned(),
        other => format!("foreign:{other}"),
    }
}

fn media_type_of(compression: Compression) -> &'static str {
    match compression {
        Compression::None => media_type::OCI_LAYER,
        Compression::Gzip(_) => media_type::OCI_LAYER_GZIP,
        Compression::Zstd(_) => media_type::OCI_LAYER_ZSTD,
    }
}

fn silent() -> Arc<dyn Reporter> {
    Arc::new(Silent)
}

/// The vertex of work that nobody watches.
fn nobody() -> Digest {
    Digest::of(b"")
}
