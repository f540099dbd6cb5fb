//! Images between registry and store, and layers between their forms.
//!
//! A layer is a blob (a tar, perhaps compressed, perhaps still in a registry) or a tree (a directory
//! that overlay takes as a lower). [`Images`] makes one form from the other when somebody asks, and
//! fetches from a registry at that moment and not before.

mod attested;
mod error;
mod form;
mod pull;
mod push;
mod resolve;
mod rewrite;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use rbuild_registry::{Client, Options};
use rbuild_snapshot::UnpackOptions;
use rbuild_store::{LayerId, Store};
use tokio::runtime::Handle;

pub use attested::AttestationChain;
pub use error::ImagesError;
pub use form::{BlobRequest, MadeBlob};
pub use pull::Pulled;
pub use push::{PushImage, PushLayer};
pub use resolve::{Mode, Origin, Resolved};

/// The images of a store and of the registries it speaks to; cheap to clone.
#[derive(Clone)]
pub struct Images {
    shared: Arc<Shared>,
    store: Store,
}

struct Shared {
    options: Options,
    client: OnceLock<Client>,
    runtime: Handle,
    unpack: UnpackOptions,
    resolved: resolve::Known,
    /// Directories of layers that this process holds: found once, they stay.
    trees: Mutex<HashMap<LayerId, PathBuf>>,
    /// Layers that turned out not to be what they were taken for.
    unusable: Mutex<BTreeSet<LayerId>>,
}

impl Images {
    /// Joins a store and the registries; connects to nothing yet.
    ///
    /// Blocking calls fetch through `runtime`, so they must not be made on its own threads other than
    /// those for blocking work.
    pub fn new(store: Store, options: Options, runtime: Handle, unpack: UnpackOptions) -> Self {
        let shared = Shared {
            options,
            client: OnceLock::new(),
            runtime,
            unpack,
            resolved: resolve::Known::default(),
            trees: Mutex::default(),
            unusable: Mutex::default(),
        };
        Self { shared: Arc::new(shared), store }
    }

    /// Returns the same store, with a lease of its own or not, as somebody else sees it, who speaks to registries in another way: nothing that was
    /// found out for the one is told to the other.
    #[must_use]
    pub fn with_options(&self, store: &Store, options: Options) -> Self {
        Self::new(store.clone(), options, self.shared.runtime.clone(), self.shared.unpack.clone())
    }

    /// Returns how registries are spoken to.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the client of registries, made at the first call.
    ///
    /// # Errors
    /// If a setting cannot be used.
    pub fn client(&self) -> Result<&Client, ImagesError> {
        if let Some(client) = self.shared.client.get() {
            return Ok(client);
        }
        let client = Client::new(self.shared.options.clone())?;
        Ok(self.shared.client.get_or_init(|| client))
    }

    /// Returns the images of the same store, to whom a registry is one that may speak plain HTTP and need not prove
    /// who it is.
    pub fn trusting(&self, registry: &str) -> Self {
        let mut options = self.shared.options.clone();
        options.hosts.insecure.insert(registry.to_owned());
        Self::new(self.store.clone(), options, self.shared.runtime.clone(), self.shared.unpack.clone())
    }

    /// Returns how trees are made on this host.
    pub fn unpack_options(&self) -> &UnpackOptions {
        &self.shared.unpack
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// Returns the directory of a layer if this process met it before.
    pub(crate) fn known_tree(&self, id: LayerId) -> Option<PathBuf> {
        self.shared.trees.lock().expect("no holder of this lock panics").get(&id).cloned()
    }

    /// Takes note of the directory of a layer that this process holds.
    pub fn note_tree(&self, id: LayerId, path: PathBuf) {
        self.shared.trees.lock().expect("no holder of this lock panics").insert(id, path);
    }

    /// Returns the layers that could not be fetched, or were not what was said of them, since the last call:
    /// whatever stands on them has to be made again.
    pub fn take_unusable(&self) -> Vec<LayerId> {
        let mut unusable = self.shared.unusable.lock().expect("no holder of this lock panics");
        std::mem::take(&mut *unusable).into_iter().collect()
    }

    pub(crate) fn note_unusable(&self, id: LayerId) {
        self.shared.unusable.lock().expect("no holder of this lock panics").insert(id);
    }

    pub(crate) fn known(&self) -> &resolve::Known {
        &self.shared.resolved
    }
}
