//! Results between processes: lists of layers in the store.

use async_trait::async_trait;
use rbuild_oci::Digest;
use rbuild_solver::{OperationError, ResultStore, Saved};
use rbuild_store::{Kind, NewResult, Store};

use crate::value::Ref;

/// Keeps results in the store, which keeps their layers.
pub struct LayerResults(pub Store);

#[async_trait]
impl ResultStore<Ref> for LayerResults {
    async fn save(&self, value: &Ref) -> Result<Saved, OperationError> {
        let layers = value.layers()?;
        let text: Vec<String> = layers.iter().map(|layer| layer.get().to_string()).collect();
        let id = Digest::of(text.join(",").as_bytes()).hex();
        self.0.results().put(&NewResult { id: &id, kind: Kind::default(), description: "", layers, value: &[] })?;
        Ok(Saved { result: id.into_bytes(), size: None })
    }

    async fn load(&self, result: &[u8]) -> Result<Option<Ref>, OperationError> {
        let Ok(id) = std::str::from_utf8(result) else { return Ok(None) };
        Ok(self.0.results().load(id)?.map(|result| Ref::Layers(result.layers)))
    }
}
