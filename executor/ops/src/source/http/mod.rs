//! A file behind an http address as a source: known by its content, fetched again only if it changed.

mod fetch;
mod memory;
mod name;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use rbuild_graph::pb;
use rbuild_graph::source::attr;
use rbuild_oci::Digest;
use rbuild_registry::{Download, Progress};
use rbuild_solver::{CacheMap, Context, Operation, OperationError};
use rbuild_store::LayerId;
use tokio::sync::OnceCell;

use super::attributes::Attributes;
use crate::OpsError;
use crate::value::Ref;
use crate::worker::Worker;

pub(super) use name::safe as safe_name;

/// The largest file that is fetched.
const MOST_BYTES: u64 = 64 << 30;
/// Request headers that a graph may set.
const HEADERS: [&str; 2] = ["accept", "user-agent"];

/// A file ready to be fetched.
pub(crate) struct HttpSource {
    worker: Arc<Worker>,
    file: Download,
    address: String,
    name: Option<String>,
    mode: u32,
    owner: (u32, u32),
    checksum: Option<Digest>,
    headers: Vec<(String, String)>,
    header_secret: Option<String>,
    found: Arc<OnceCell<Found>>,
}

/// What the address means.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(in crate::source) digest: Digest,
    pub(in crate::source) last_modified: Option<i64>,
    pub(in crate::source) name: String,
    pub(in crate::source) layer: LayerId,
}

impl HttpSource {
    /// Reads the source op.
    pub(crate) fn new(worker: Arc<Worker>, op: &pb::SourceOp) -> Result<Self, OpsError> {
        let mut attributes = Attributes::new(op);
        let mut file = Download::new(&op.identifier).map_err(|error| attributes.invalid(error))?;
        file.hint = format!("credentials are given with --secret id=HTTP_AUTH_TOKEN_{}", file.host());
        let (name, header_secret) =
            (attributes.take(attr::HTTP_FILENAME), attributes.take(attr::HTTP_AUTH_HEADER_SECRET));
        let checksum = attributes.take(attr::HTTP_CHECKSUM).map(|text| text.parse());
        let checksum = checksum.transpose().map_err(|error| attributes.invalid(error))?;
        let mode = attributes.number(attr::HTTP_PERM)?.filter(|mode| *mode != 0).unwrap_or(0o600) & 0o7777;
        let owner = (attributes.number(attr::HTTP_UID)?.unwrap_or(0), attributes.number(attr::HTTP_GID)?.unwrap_or(0));
        let mut headers = Vec::new();
        for name in HEADERS {
            if let Some(value) = attributes.take_any_case(attr::HTTP_HEADER_PREFIX, name) {
                file.header(name, &value).map_err(|error| attributes.invalid(error))?;
                headers.push((name.to_owned(), value));
            }
        }
        attributes.end("http.")?;
        // Servers may have different tags for what is sent compressed, so this is asked alike whenever it is asked.
        file.header("accept-encoding", "gzip")?;
        let (address, found) = (op.identifier.clone(), Arc::default());
        let mut source = Self { worker, file, address, name, mode, owner, checksum, headers, header_secret, found };
        let question = format!("{}\0{checksum:?}", source.memory_key());
        source.found = source.worker.resolved().http.place(question);
        Ok(source)
    }

    /// Returns the digest that the file must have, if the graph says.
    pub(super) fn checksum(&self) -> Option<Digest> {
        self.checksum
    }

    /// Returns the address without user and query, fit to be shown.
    pub(super) fn shown(&self) -> String {
        self.file.shown()
    }

    /// Returns what the address means, which is found out once in a build.
    pub(super) async fn found(&self, progress: Progress) -> Result<&Found, OpsError> {
        self.found.get_or_try_init(|| self.find(progress)).await
    }

    fn progress(&self, context: &Context) -> Progress {
        Progress::new(context.reporter().clone(), context.vertex(), self.shown())
    }

    /// Returns the name as far as it is known without asking the server.
    pub(super) fn known_name(&self) -> String {
        name::safe(self.name.as_deref().unwrap_or(&self.file.file_name()))
    }

    fn key(&self, digest: Digest, name: &str, last_modified: Option<i64>) -> Digest {
        let (uid, gid) = self.owner;
        let time = last_modified.map_or("-".to_owned(), |seconds| seconds.to_string());
        Digest::of(format!("rbuild.http.v1\0{digest}\0{name}\0{:o}\0{uid}\0{gid}\0{time}", self.mode).as_bytes())
    }
}

#[async_trait]
impl Operation<Ref> for HttpSource {
    async fn cache_map(&self, context: &Context) -> Result<CacheMap, OperationError> {
        // A file of known content need not be asked for if something was made of it before.
        if let Some(checksum) = self.checksum {
            let key = self.key(checksum, &self.known_name(), None);
            return Ok(CacheMap::source(key).pinned(checksum.to_string()));
        }
        let found = self.found(self.progress(context)).await?;
        let key = self.key(found.digest, &found.name, found.last_modified);
        Ok(CacheMap::source(key).pinned(found.digest.to_string()))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, context: &Context, _: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let found = self.found(self.progress(context)).await?;
        Ok(vec![Ref::Layers(vec![found.layer])])
    }
}
