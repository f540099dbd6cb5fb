//! The names of steps done anew on purpose.
//!
//! A graph may hold the same step twice without saying so: a file copied from the context here, the same
//! file copied from another stage there. Both are then done anew, and it shows only afterwards that they
//! are one. The later must not put aside what the earlier made, nor what by now stands on it: it takes
//! the earlier's name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::key::{Key, Known};

/// The names given to renewed steps by vertices still at work.
#[derive(Default)]
pub(crate) struct Renewals {
    names: Mutex<BTreeMap<Key, usize>>,
    /// Held from choosing a name until it is written down.
    naming: tokio::sync::Mutex<()>,
}

impl Renewals {
    /// Keeps others from choosing names.
    pub(crate) async fn naming(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.naming.lock().await
    }

    /// Whether the name was given by a vertex still at work.
    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.names().contains_key(key)
    }

    /// Notes names, until what is returned is dropped.
    pub(crate) fn note(self: &Arc<Self>, names: &[Known]) -> Renewed {
        let keys: Vec<Key> = names.iter().map(|known| known.key).collect();
        let mut noted = self.names();
        for key in &keys {
            *noted.entry(*key).or_default() += 1;
        }
        Renewed { renewals: Arc::clone(self), keys }
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<Key, usize>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names that one vertex gave.
pub(crate) struct Renewed {
    renewals: Arc<Renewals>,
    keys: Vec<Key>,
}

impl Drop for Renewed {
    fn drop(&mut self) {
        let mut noted = self.renewals.names();
        for key in &self.keys {
            if let Some(count) = noted.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    noted.remove(key);
                }
            }
        }
    }
}
