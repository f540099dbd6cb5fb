//! The exec op: a process in a sandbox upon layers.

mod container;
mod given;
pub(crate) mod key;
mod mounts;
mod output;
mod process;
mod run;
mod user_error;

use std::sync::Arc;

use async_trait::async_trait;
use rbuild_graph::pb;
use rbuild_oci::{Digest, Platform};
use rbuild_solver::{CacheMap, Context, InputMap, Operation, OperationError};
use rbuild_tree::content::{self, Owner, Selection};

use crate::value::Ref;
use crate::worker::Worker;
use crate::{OpsError, blocking};

pub use container::{Container, ContainerProcess, ContainerRequest, ProcessRequest, Streams};
pub use user_error::ProcessFailed;

/// An exec op ready to run.
pub(crate) struct ExecOperation {
    pub(crate) worker: Arc<Worker>,
    pub(crate) op: Arc<pb::ExecOp>,
    pub(crate) platform: Option<Platform>,
    pub(crate) inputs: usize,
    /// Limits of the step's group; not part of the key.
    pub(crate) resources: Option<pb::LinuxResources>,
    /// Whether the step must not come from the cache: its cache mounts then begin empty.
    pub(crate) ignore_cache: bool,
}

#[async_trait]
impl Operation<Ref> for ExecOperation {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        let input = |index: usize| {
            if !key::by_content(&self.op, index, self.inputs) {
                return InputMap::default();
            }
            let selectors: Vec<_> = key::selectors(&self.op, index, self.inputs).into_iter().collect();
            InputMap { selector: Some(Digest::of(selectors.join("\0").as_bytes())), content: true }
        };
        let key = key::key(&self.op, self.platform.as_ref(), self.inputs);
        Ok(CacheMap::new(key, (0..self.inputs).map(input).collect()))
    }

    async fn content_key(
        &self,
        context: &Context,
        index: usize,
        value: &Ref,
    ) -> Result<Option<Digest>, OperationError> {
        let (worker, context, value) = (self.worker.clone(), context.clone(), value.clone());
        let paths = key::selectors(&self.op, index, self.inputs);
        let digest = blocking(move || {
            let digest = || {
                let tree = worker.tree(&context, &value)?;
                let selection = |path: &String| Selection { wildcard: false, ..Selection::new(path) };
                let selections: Vec<_> = paths.iter().map(selection).collect();
                let owner = if value.is_in_place() { Owner::Root } else { Owner::Kept };
                let digest = content::digest(&*tree, &selections, owner)?;
                worker.remember(&value)?;
                Ok::<_, OpsError>(digest)
            };
            digest().map_err(|error| worker.unreadable(error, index, &value))
        });
        Ok(Some(digest.await?))
    }

    async fn run(&self, context: &Context, inputs: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let process = Arc::new(process::Process::default());
        let _killed_when_dropped = process::KillGuard(process.clone());
        let given = given::Given::ask(self.worker.session(), &context.vertex(), &self.op).await?;
        let step = run::Step {
            given,
            worker: self.worker.clone(),
            op: self.op.clone(),
            platform: self.platform.clone(),
            resources: self.resources.clone(),
            ignore_cache: self.ignore_cache,
            context: context.clone(),
            process,
        };
        Ok(blocking(move || step.run(&inputs)).await?)
    }
}
