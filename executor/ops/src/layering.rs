//! Merge and diff: layers are independent of what lies below, so both are lists.

use std::sync::Arc;

use async_trait::async_trait;
use rbuild_graph::{Operand, pb};
use rbuild_oci::Digest;
use rbuild_solver::{CacheMap, Context, InputMap, Operation, OperationError};

use crate::value::Ref;
use crate::worker::Worker;
use crate::{OpsError, blocking};

/// Lays results upon each other.
pub(crate) struct MergeOperation {
    pub(crate) worker: Arc<Worker>,
    pub(crate) op: Arc<pb::MergeOp>,
    pub(crate) inputs: usize,
}

#[async_trait]
impl Operation<Ref> for MergeOperation {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        let order: Vec<_> = self.op.inputs.iter().map(|input| input.input.to_string()).collect();
        let key = Digest::of(format!("rbuild.merge.v1\0{}", order.join(",")).as_bytes());
        Ok(CacheMap::new(key, vec![InputMap::default(); self.inputs]))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, _: &Context, inputs: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let (worker, op) = (self.worker.clone(), self.op.clone());
        let merged = blocking(move || {
            let mut layers = Vec::new();
            for input in &op.inputs {
                if let Operand::Input(index) = Operand::of(input.input, inputs.len()) {
                    for layer in worker.layers(&inputs[index])? {
                        // A layer that comes again, further up, hides its earlier place.
                        layers.retain(|known| *known != layer);
                        layers.push(layer);
                    }
                }
            }
            Ok(layers)
        });
        Ok(vec![Ref::Layers(merged.await?)])
    }
}

/// Keeps what one result has over another.
pub(crate) struct DiffOperation {
    pub(crate) worker: Arc<Worker>,
    pub(crate) op: Arc<pb::DiffOp>,
    pub(crate) inputs: usize,
}

#[async_trait]
impl Operation<Ref> for DiffOperation {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        let side = |input: Option<i64>| input.map_or("-".to_owned(), |input| input.to_string());
        let (lower, upper) = (self.op.lower.as_ref().map(|l| l.input), self.op.upper.as_ref().map(|u| u.input));
        let key = Digest::of(format!("rbuild.diff.v1\0{},{}", side(lower), side(upper)).as_bytes());
        Ok(CacheMap::new(key, vec![InputMap::default(); self.inputs]))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, _: &Context, inputs: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let (worker, op) = (self.worker.clone(), self.op.clone());
        let (lower, upper) = blocking(move || {
            let layers = |operand: Option<i64>| match operand.map(|operand| Operand::of(operand, inputs.len())) {
                Some(Operand::Input(index)) => worker.layers(&inputs[index]),
                _ => Ok(Vec::new()),
            };
            let lower = layers(op.lower.as_ref().map(|lower| lower.input))?;
            Ok((lower, layers(op.upper.as_ref().map(|upper| upper.input))?))
        })
        .await?;
        match upper.strip_prefix(&lower[..]) {
            Some(rest) => Ok(vec![Ref::Layers(rest.to_vec())]),
            None => Err(OpsError::Unsupported("the difference of results that are not built upon each other").into()),
        }
    }
}
