//! A directory of the client as a source: read in place, known by the contents that steps look at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use rbuild_graph::{pb, source};
use rbuild_oci::Digest;
use rbuild_solver::{CacheMap, Context, Operation, OperationError};
use rbuild_tree::TreeError;
use rbuild_tree::pattern::Matcher;

use crate::OpsError;
use crate::value::{Local, Ref};
use crate::worker::Worker;

/// A directory of the client ready to be read.
pub(crate) struct LocalSource {
    worker: Arc<Worker>,
    name: String,
    exclude: Vec<String>,
}

impl LocalSource {
    /// Reads the source op.
    pub(crate) fn new(worker: Arc<Worker>, op: &pb::SourceOp) -> Result<Self, OpsError> {
        let name = op.identifier.strip_prefix(source::LOCAL).unwrap_or(&op.identifier).to_owned();
        let invalid = |error: serde_json::Error| OpsError::Source {
            identifier: op.identifier.clone(),
            reason: error.to_string(),
        };
        let exclude = match op.attrs.get(source::attr::EXCLUDE_PATTERNS) {
            Some(list) => serde_json::from_str(list).map_err(invalid)?,
            None => Vec::new(),
        };
        Ok(Self { worker, name, exclude })
    }
}

/// Counts the directories read by this process: what one build read means nothing to the next.
static READS: AtomicU64 = AtomicU64::new(0);

#[async_trait]
impl Operation<Ref> for LocalSource {
    async fn cache_map(&self, context: &Context) -> Result<CacheMap, OperationError> {
        let read = READS.fetch_add(1, Ordering::Relaxed);
        let key = format!("rbuild.local.v1\0{}\0{read}\0{}", std::process::id(), context.vertex());
        Ok(CacheMap::source(Digest::of(key.as_bytes())).for_session())
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, _: &Context, _: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let directory = self.worker.session().local(&self.name).ok_or_else(|| OpsError::NoLocal(self.name.clone()))?;
        let ignore = Matcher::new(&self.exclude).map_err(|error| OpsError::Tree(TreeError::from(error)))?;
        let local =
            Local { directory, ignore, listing: OnceLock::new(), layer: OnceLock::new(), scanning: Mutex::new(()) };
        Ok(vec![Ref::Local(Arc::new(local))])
    }
}
