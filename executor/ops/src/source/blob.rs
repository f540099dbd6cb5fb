//! A single blob as a source: of a repository in a registry, or of an OCI layout of the client. It becomes one file,
//! known by its digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rbuild_graph::pb;
use rbuild_graph::source::{self, attr};
use rbuild_oci::{Descriptor, Digest, Hasher, Reference};
use rbuild_registry::Progress;
use rbuild_solver::{CacheMap, Context, Operation, OperationError};
use rbuild_store::LayerId;
use rbuild_sys::root::Root;
use rbuild_tree::{Metadata, Time};

use super::attributes::Attributes;
use super::http::safe_name;
use crate::file::{Body, Draft, Empty};
use crate::session::Layout;
use crate::value::Ref;
use crate::worker::Worker;
use crate::{OpsError, blocking};

/// The largest blob that is fetched.
const MOST_BYTES: u64 = 64 << 30;
/// What a blob is called whose type nobody knows.
const UNTYPED: &str = "application/octet-stream";

/// A blob ready to be fetched.
pub(crate) struct BlobSource {
    worker: Arc<Worker>,
    place: Place,
    digest: Digest,
    file: Target,
}

/// Where the blob is.
enum Place {
    Registry(Reference),
    Layout { store: String, session: Option<String> },
}

/// The file that the blob becomes.
#[derive(Clone)]
struct Target {
    description: String,
    name: String,
    mode: u32,
    owner: (u32, u32),
}

impl BlobSource {
    /// Reads the source op.
    pub(crate) fn new(worker: Arc<Worker>, op: &pb::SourceOp) -> Result<Self, OpsError> {
        let mut attributes = Attributes::new(op);
        let registry = op.identifier.strip_prefix(source::DOCKER_IMAGE_BLOB);
        let layout = op.identifier.strip_prefix(source::OCI_LAYOUT_BLOB);
        let name = registry.or(layout).unwrap_or(&op.identifier);
        let reference = Reference::parse_untagged(name).map_err(|error| attributes.invalid(error))?;
        let digest = reference.digest.ok_or_else(|| attributes.invalid("it has no digest"))?;
        let (store, session) =
            (attributes.take(attr::OCI_LAYOUT_STORE_ID), attributes.take(attr::OCI_LAYOUT_SESSION_ID));
        let description = format!("blob {reference}");
        let place = match (layout, store) {
            (None, _) => Place::Registry(reference),
            (Some(_), Some(store)) => Place::Layout { store, session },
            (Some(_), None) => return Err(attributes.invalid("oci-layout blob source requires store id")),
        };
        let name = attributes.take(attr::HTTP_FILENAME).map_or_else(|| digest.hex(), |name| safe_name(&name));
        let mode = attributes.number(attr::HTTP_PERM)?.filter(|mode| *mode != 0).unwrap_or(0o600) & 0o7777;
        let owner = (attributes.number(attr::HTTP_UID)?.unwrap_or(0), attributes.number(attr::HTTP_GID)?.unwrap_or(0));
        super::image::record_type(&mut attributes)?;
        attributes.end("")?;
        Ok(Self { worker, place, digest, file: Target { description, name, mode, owner } })
    }

    /// Fetches the blob into a file without a name; returns it and its size.
    async fn fetch(&self, context: &Context) -> Result<(File, u64), OpsError> {
        let file = tempfile::tempfile_in(self.worker.scratch()?);
        let mut file = file.map_err(|error| OpsError::io("making a file", error))?;
        match &self.place {
            Place::Registry(reference) => {
                let client = self.worker.images().client()?.clone();
                let descriptor = client.find_blob(reference, self.digest).await?;
                self.check_size(descriptor.size)?;
                let progress = Progress::new(context.reporter().clone(), context.vertex(), self.digest.to_string());
                client.fetch_blob(reference, &descriptor, &mut file, progress).await?;
                Ok((file, descriptor.size))
            }
            Place::Layout { store, session } => {
                let broken = |error: io::Error| self.broken(&error.to_string());
                let layout = self.worker.session().layout(store, session.as_deref()).await.map_err(broken)?;
                let layout = layout.ok_or_else(|| OpsError::NoLayout(store.clone()))?;
                let digest = self.digest;
                let copied = blocking(move || Ok(copy(&layout, digest, file))).await?;
                let (file, size, got) = copied.map_err(broken)?;
                if got != digest {
                    return Err(self.broken(&format!("its bytes have the digest {got}")));
                }
                Ok((file, size))
            }
        }
    }

    fn check_size(&self, size: u64) -> Result<(), OpsError> {
        match size {
            0..=MOST_BYTES => Ok(()),
            _ => Err(self.broken(&format!("it has {size} bytes, more than the limit of {MOST_BYTES}"))),
        }
    }

    fn broken(&self, reason: &str) -> OpsError {
        OpsError::Source { identifier: self.file.description.clone(), reason: reason.to_owned() }
    }
}

/// Copies a blob of a layout; returns what was copied, its size and digest.
fn copy(layout: &Layout, digest: Digest, mut file: File) -> io::Result<(File, u64, Digest)> {
    let content: Box<dyn Read + Send> = match layout {
        Layout::Directory(path) => {
            let name = format!("blobs/sha256/{}", digest.hex());
            Box::new(Root::open(path)?.open_exact(Path::new(&name))?.0)
        }
        // What is asked for is known by its digest alone.
        Layout::Blobs(blobs) => blobs.blob(&Descriptor::new(UNTYPED, digest, 0))?.1,
    };
    let mut content = content.take(MOST_BYTES + 1);
    let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0, vec![0; 256 << 10]);
    loop {
        let read = content.read(&mut buffer)?;
        if read == 0 {
            return Ok((file, size, hasher.finish()));
        }
        size += read as u64;
        if size > MOST_BYTES {
            return Err(io::Error::other(format!("it has more than {MOST_BYTES} bytes")));
        }
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
    }
}

impl Target {
    /// Writes the file as a layer.
    fn layer(self, worker: &Worker, content: File, size: u64) -> Result<LayerId, OpsError> {
        let (uid, gid) = self.owner;
        let metadata = Metadata { mode: self.mode, uid, gid, mtime: Time::EPOCH, ..Metadata::file(size) };
        let mut draft = Draft::new(Arc::new(Empty));
        draft.put(Path::new(&self.name), metadata, Body::Span(Arc::new(content), 0), None)?;
        worker.write_layer(draft, &self.description)
    }
}

#[async_trait]
impl Operation<Ref> for BlobSource {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        let Target { name, mode, owner: (uid, gid), .. } = &self.file;
        let key = format!("rbuild.blob.v1\0{}\0{name}\0{mode:o}\0{uid}\0{gid}", self.digest);
        Ok(CacheMap::source(Digest::of(key.as_bytes())))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, context: &Context, _: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let (content, size) = self.fetch(context).await?;
        let (target, worker) = (self.file.clone(), self.worker.clone());
        let layer = blocking(move || target.layer(&worker, content, size)).await?;
        Ok(vec![Ref::Layers(vec![layer])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{Client, Place as Testing, Server, chain, op, run};

    const CONTENT: &str = "the blob";

    #[tokio::test(flavor = "multi_thread")]
    async fn a_blob_becomes_a_file() {
        let digest = Digest::of(CONTENT.as_bytes());
        let path = format!("/v2/a/b/blobs/{digest}");
        let server = Server::start(move |asked, _| match asked.path == path {
            true => (200, Vec::new(), CONTENT.to_owned()),
            false => (404, Vec::new(), String::new()),
        });
        let server = server.await;
        let host = server.address.strip_prefix("http://").unwrap();
        let testing = Testing::new();
        let layout = testing.path("layout/blobs/sha256");
        std::fs::create_dir_all(&layout).unwrap();
        std::fs::write(layout.join(digest.hex()), CONTENT).unwrap();
        let bad = Digest::of(b"other");
        std::fs::write(layout.join(bad.hex()), CONTENT).unwrap();
        let layouts = [("store".to_owned(), testing.path("layout"))].into();
        let worker = testing.worker(Client { layouts, ..Client::default() });
        let fetch = async |identifier: String, attributes: &[(&str, &str)]| {
            let source =
                BlobSource::new(worker.clone(), &op(&identifier, attributes)).map_err(|error| error.to_string())?;
            run(&worker, &source).await.map_err(|error| chain(&*error))
        };
        let named = [("http.filename", "x"), ("http.perm", "0755"), ("http.uid", "7")];
        let done = fetch(format!("docker-image+blob://{host}/a/b@{digest}"), &named).await.unwrap();
        let metadata = done.node("x").unwrap().metadata;
        assert_eq!((metadata.mode, metadata.uid, metadata.mtime), (0o755, 7, Time::EPOCH));
        assert_eq!(done.read("x").as_deref(), Some(CONTENT));
        let store = [("oci.store", "store")];
        let done = fetch(format!("oci-layout+blob://store/x@{digest}"), &store).await.unwrap();
        assert_eq!(done.read(&digest.hex()).as_deref(), Some(CONTENT));
        let refused = async |identifier: String, attributes: &[(&str, &str)], expect: &str| {
            let error = fetch(identifier, attributes).await.err().unwrap_or_default();
            assert!(error.contains(expect), "{error}\nfor {expect}");
        };
        refused(format!("oci-layout+blob://store/x@{bad}"), &store, "its bytes have the digest").await;
        refused(format!("oci-layout+blob://store/x@{digest}"), &[], "requires store id").await;
        refused(format!("oci-layout+blob://x@{digest}"), &[("oci.store", "no")], "not part of this build").await;
        refused(format!("docker-image+blob://{host}/a/b@{bad}"), &[], "404").await;
        refused("docker-image+blob://a/b:tag".to_owned(), &[], "it has no digest").await;
        refused(format!("docker-image+blob://a/b@{digest}"), &[("image.recordtype", "x")], "invalid record type").await;
        refused(format!("docker-image+blob://a/b@{digest}"), &[("git.ref", "x")], "`git.ref` is not supported").await;
    }
}
