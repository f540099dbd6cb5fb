//! Merge, diff and passthrough: results are lists of layers, so most of it is work on lists.

mod difference;
mod passthrough;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use rbuild_graph::{Operand, pb};
use rbuild_oci::Digest;
use rbuild_solver::{CacheMap, Context, InputMap, Operation, OperationError};
use rbuild_store::LayerId;

use crate::value::Ref;
use crate::worker::Worker;
use crate::{OpsError, blocking};

pub(crate) use passthrough::PassthroughOperation;

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
        let key = Digest::of(format!("rbuild.merge.v2\0{}", order.join(",")).as_bytes());
        Ok(CacheMap::new(key, vec![InputMap::default(); self.inputs]))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, context: &Context, inputs: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let (worker, op, context) = (self.worker.clone(), self.op.clone(), context.clone());
        let merged = blocking(move || {
            let mut merged = Vec::new();
            for input in &op.inputs {
                if let Operand::Input(index) = Operand::of(input.input, inputs.len()) {
                    let layers = worker.layers(&inputs[index])?;
                    // What comes first lies where it lay.
                    let moved = if merged.is_empty() { layers } else { worker.portable(&context, &layers, 0)? };
                    merged.extend(moved);
                }
            }
            Ok(merged)
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
        let key = Digest::of(format!("rbuild.diff.v2\0{},{}", side(lower), side(upper)).as_bytes());
        Ok(CacheMap::new(key, vec![InputMap::default(); self.inputs]))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, context: &Context, inputs: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let (worker, op, context) = (self.worker.clone(), self.op.clone(), context.clone());
        let layers = blocking(move || {
            let layers = |operand: Option<i64>| match operand.map(|operand| Operand::of(operand, inputs.len())) {
                Some(Operand::Input(index)) => worker.layers(&inputs[index]),
                _ => Ok(Vec::new()),
            };
            let lower = layers(op.lower.as_ref().map(|lower| lower.input))?;
            let upper = layers(op.upper.as_ref().map(|upper| upper.input))?;
            diff(&worker, &context, &lower, &upper)
        });
        Ok(vec![Ref::Layers(layers.await?)])
    }
}

/// Returns the layers of `upper` that are not those of `lower`; of results that are not built upon each other, one
/// layer with all that is different.
fn diff(worker: &Worker, context: &Context, lower: &[LayerId], upper: &[LayerId]) -> Result<Vec<LayerId>, OpsError> {
    if lower.is_empty() {
        return Ok(upper.to_vec());
    }
    if upper.starts_with(lower) {
        return worker.portable(context, upper, lower.len());
    }
    let tree = |layers: &[LayerId]| worker.tree(context, &Ref::Layers(layers.to_vec()));
    match difference::difference(&tree(lower)?, &tree(upper)?)? {
        Some(draft) => Ok(vec![worker.write_layer(draft, context.name())?]),
        None => Ok(Vec::new()),
    }
}
