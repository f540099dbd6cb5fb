//! What vertices give: lists of layers, or a directory of the client.

use std::sync::{Arc, OnceLock};

use rbuild_store::LayerId;
use rbuild_tree::context::Listing;
use rbuild_tree::pattern::Matcher;

use crate::OpsError;
use crate::session::{LocalDirectory, LocalForm};

/// A value of the build graph.
#[derive(Clone)]
pub enum Ref {
    /// Layers, bottom first; none is an empty file system.
    Layers(Vec<LayerId>),
    /// A directory of the client, or a copy of it.
    Local(Arc<Local>),
}

/// A directory of the client and what of it belongs to the build.
pub struct Local {
    /// The directory.
    pub(crate) directory: LocalDirectory,
    /// What is left out.
    pub(crate) ignore: Matcher,
    /// What it holds; listed when somebody asks.
    pub(crate) listing: OnceLock<Arc<Listing>>,
    /// All of it as a layer; written when something is built upon it.
    pub(crate) layer: OnceLock<LayerId>,
    /// One listing at a time.
    pub(crate) scanning: std::sync::Mutex<()>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Ref {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Layers(layers) => f.debug_tuple("Layers").field(layers).finish(),
            Self::Local(local) => f.debug_tuple("Local").field(local).finish(),
        }
    }
}

impl Ref {
    /// Returns the layers.
    ///
    /// # Errors
    /// If this is a directory of the client, which has none; see [`Worker::layers`](crate::Worker::layers).
    pub fn layers(&self) -> Result<&[LayerId], OpsError> {
        match self {
            Self::Layers(layers) => Ok(layers),
            Self::Local(_) => Err(OpsError::Graph("a local directory has no layers of its own")),
        }
    }

    /// Whether the owners of its files mean nothing: it is a directory of the client, read in place.
    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self, Self::Local(local) if local.directory.form == LocalForm::InPlace)
    }

    /// Whether this is a directory of the client.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }
}
