//! What the solver remembers of results that are gone.

use rbuild_solver::{CacheStorage, SqliteCache};
use rbuild_store::Store;

use crate::error::BuildError;

/// Makes the solver forget results that the store does not have any more, as after pruning; returns how many.
///
/// # Errors
/// If the cache or the store cannot be read.
pub fn sweep_cache(store: &Store) -> Result<usize, BuildError> {
    if !store.cache_path().exists() {
        return Ok(0);
    }
    let cache = SqliteCache::open(&store.cache_path()).map_err(BuildError::engine)?;
    let kept = |result: &[u8]| {
        let id = std::str::from_utf8(result).ok();
        // What cannot be asked for now is not lost.
        id.is_some_and(|id| store.results().get(id).map_or(true, |found| found.is_some()))
    };
    cache.remove_lost(&mut |record| !kept(&record.result)).map_err(BuildError::engine)
}
