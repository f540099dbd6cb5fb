//! The builds under way, by the name their clients gave them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::build::Build;
use crate::fault::Fault;

/// How long a call waits for the build it speaks of: all calls of a build race each other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(6);
/// The longest name of a build.
const MAX_NAME: usize = 1024;

/// The builds under way.
pub(crate) struct Builds {
    known: Mutex<HashMap<String, Arc<Build>>>,
    changed: watch::Sender<()>,
}

impl Default for Builds {
    fn default() -> Self {
        Self { known: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Builds {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Build>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a build known, until what is returned is dropped.
    pub(crate) fn register(self: &Arc<Self>, build: &Arc<Build>) -> Result<Registered, Fault> {
        let id = build.id().to_owned();
        if id.is_empty() || id.len() > MAX_NAME {
            return Err(Fault::new("the name of a build must have 1 to 1024 characters"));
        }
        let mut known = self.known();
        if known.contains_key(&id) {
            return Err(Fault::new(format!("job ID {id} exists")));
        }
        known.insert(id.clone(), build.clone());
        drop(known);
        self.changed.send_replace(());
        Ok(Registered { builds: self.clone(), id })
    }

    /// Returns a build, waiting for one that is about to begin.
    pub(crate) async fn wait(&self, id: &str, wanted: impl Fn(&Build) -> bool) -> Option<Arc<Build>> {
        let mut changes = self.changed.subscribe();
        let found = async {
            loop {
                changes.mark_unchanged();
                let build = self.known().get(id).cloned().filter(|build| wanted(build));
                match build {
                    Some(build) => return Some(build),
                    None => changes.changed().await.ok()?,
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.ok().flatten()
    }

    /// Ends all builds.
    pub(crate) fn cancel_all(&self) {
        self.known().values().for_each(|build| build.cancel());
    }
}

/// A build that is known as long as this lives.
pub(crate) struct Registered {
    builds: Arc<Builds>,
    id: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(build) = self.builds.known().remove(&self.id) {
            build.cancel();
        }
    }
}
