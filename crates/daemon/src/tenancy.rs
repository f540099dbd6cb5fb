//! What builds hold of the store: all that run at the same time hold it together, and let it go when the last of
//! them ends. Results that one build made are another's inputs, so a build alone could not tell what it needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rbuild_ops::{LayerResults, Ref};
use rbuild_solver::{OperationError, ResultStore, Saved};
use rbuild_store::Store;

/// The builds that hold something of the store.
pub(crate) struct Tenancy {
    store: Store,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The handle whose lease the builds share.
    shared: Option<Store>,
    builds: usize,
}

impl Tenancy {
    pub(crate) fn new(store: Store) -> Arc<Self> {
        Arc::new(Self { store, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more build hold what it uses.
    pub(crate) fn enter(self: &Arc<Self>) -> Stay {
        let mut state = self.state();
        state.builds += 1;
        let store = state.shared.get_or_insert_with(|| self.store.session()).clone();
        Stay { tenancy: Arc::clone(self), store }
    }

    /// Returns the handle by which builds hold what they use now.
    fn now(&self) -> Store {
        self.state().shared.clone().unwrap_or_else(|| self.store.clone())
    }

    fn leave(&self) {
        let mut state = self.state();
        state.builds -= 1;
        if state.builds == 0 {
            state.shared = None;
        }
    }
}

/// A build's share in what is held, until it is dropped.
pub(crate) struct Stay {
    tenancy: Arc<Tenancy>,
    store: Store,
}

impl Stay {
    /// Returns the store as the build uses it.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.tenancy.leave();
    }
}

/// The results of all builds: whoever loads one holds it with the builds of that time.
pub(crate) struct SharedResults(pub(crate) Arc<Tenancy>);

#[async_trait]
impl ResultStore<Ref> for SharedResults {
    async fn save(&self, value: &Ref) -> Result<Saved, OperationError> {
        LayerResults(self.0.now()).save(value).await
    }

    async fn load(&self, result: &[u8]) -> Result<Option<Ref>, OperationError> {
        LayerResults(self.0.now()).load(result).await
    }
}
