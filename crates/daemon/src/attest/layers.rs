//! The layers of a build's steps, as far as the cache of this machine has them.

use std::collections::BTreeMap;

use rbuild_ops::{LayerResults, Ref};
use rbuild_solver::{CacheStorage, Edge, Explanation, ResultStore};
use rbuild_store::{LayerId, Store};

use crate::fault::Fault;

/// Returns the layers of the outputs that these answers are about. What is not kept any more is left out.
pub(crate) async fn layers(
    store: &Store,
    cache: &dyn CacheStorage,
    explanations: &[Explanation],
) -> Result<BTreeMap<Edge, Vec<LayerId>>, Fault> {
    let results = LayerResults(store.clone());
    let mut found = BTreeMap::new();
    for explanation in explanations {
        let edge = Edge { vertex: explanation.vertex, output: explanation.output };
        for known in explanation.keys.iter().filter(|known| known.is_stored()) {
            let Some(result) = cache.record(&known.key).map_err(|error| Fault::of(&error))? else { continue };
            if let Ok(Some(Ref::Layers(layers))) = results.load(&result).await {
                found.insert(edge, layers);
                break;
            }
        }
    }
    Ok(found)
}
