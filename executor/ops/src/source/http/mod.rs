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
use rbuild_registry::Download;
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
    found: OnceCell<Found>,
}

/// What the address means.
#[derive(Debug, Clone)]
struct Found {
    digest: Digest,
    last_modified: Option<i64>,
    name: String,
    layer: LayerId,
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
        let (address, found) = (op.identifier.clone(), OnceCell::new());
        Ok(Self { worker, file, address, name, mode, owner, checksum, headers, header_secret, found })
    }

    /// Returns the name as far as it is known without asking the server.
    fn known_name(&self) -> String {
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
            return Ok(CacheMap::source(self.key(checksum, &self.known_name(), None)));
        }
        let found = self.found.get_or_try_init(|| self.find(context)).await?;
        Ok(CacheMap::source(self.key(found.digest, &found.name, found.last_modified)))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, context: &Context, _: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let found = self.found.get_or_try_init(|| self.find(context)).await?;
        Ok(vec![Ref::Layers(vec![found.layer])])
    }
}
