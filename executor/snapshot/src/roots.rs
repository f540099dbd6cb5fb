//! Writable roots upon a chain of tree layers.
use std::path::{Path, PathBuf};

use crate::error::SnapshotError;

/// How a writable root is made on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// A kernel overlay mount.
    Overlay {
        /// Overlay attributes are `user.` ones.
        userxattr: bool,
    },
    /// The fuse-overlayfs program, for user namespaces without overlay.
    FuseOverlay {
        /// Where the program is.
        program: PathBuf,
    },
    /// A full copy of the chain.
    Copy,
}

/// Makes writable roots below one directory of the store.
#[derive(Debug)]
pub struct Roots {
    /// How.
    pub strategy: Strategy,
}

/// A root that is being written; dropping it removes it.
#[derive(Debug)]
pub struct Active {
    /// The read-only directories below, bottom first; empty for [`Strategy::Copy`].
    pub lowers: Vec<PathBuf>,
    /// What is written to: an overlay upper, or the whole root for [`Strategy::Copy`].
    pub upper: PathBuf,
    /// The overlay's work directory.
    pub work: PathBuf,
}

/// A finished layer in tree form.
#[derive(Debug)]
pub struct Committed {
    /// The directory in overlay format.
    pub tree: PathBuf,
}

impl Roots {
    /// Makes a writable root in the new directory `layer` (`layers/<id>`) upon tree layers, bottom first.
    pub fn prepare(&self, layer: &Path, lowers: &[PathBuf]) -> Result<Active, SnapshotError> {
        let _ = (layer, lowers);
        unimplemented!()
    }
}

impl Active {
    /// Keeps what was written as a layer.
    pub fn commit(self) -> Result<Committed, SnapshotError> {
        unimplemented!()
    }
}
