//! Passthrough: some inputs, handed on once all of them are done.

use std::sync::Arc;

use async_trait::async_trait;
use rbuild_graph::{Operand, pb};
use rbuild_oci::Digest;
use rbuild_solver::{CacheMap, Context, InputMap, Operation, OperationError};

use crate::OpsError;
use crate::value::Ref;

/// Hands on some of its inputs.
pub(crate) struct PassthroughOperation {
    pub(crate) op: Arc<pb::PassthroughOp>,
    pub(crate) inputs: usize,
}

#[async_trait]
impl Operation<Ref> for PassthroughOperation {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        let outputs: Vec<_> = self.op.outputs.iter().map(i64::to_string).collect();
        let key = format!("rbuild.passthrough.v1\0{}\0{}", outputs.join(","), self.op.id);
        Ok(CacheMap::new(Digest::of(key.as_bytes()), vec![InputMap::default(); self.inputs]))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, _: &Context, inputs: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let output = |index: &i64| match Operand::of(*index, inputs.len()) {
            Operand::Input(input) => Ok(inputs[input].clone()),
            _ => Err(OpsError::Graph("a passthrough op names an input that is not there").into()),
        };
        self.op.outputs.iter().map(output).collect()
    }
}
