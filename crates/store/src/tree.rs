//! Making a layer's tree, by one session at a time, named only when whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rbuild_oci::ChainId;
use rusqlite::params;

use crate::error::{Error, Result};
use crate::store::{make_dir, millis};
use crate::{LayerId, Layers, LockMode, Store, Tree, lock, trash};

/// What [`Layers::begin_tree`] found.
#[derive(Debug)]
pub enum TreeState {
    /// The tree is there.
    Ready(Tree),
    /// The tree is to be made by the caller.
    Build(TreeBuild),
}

/// A tree being made. Dropped without [`finish`](Self::finish), it leaves nothing.
#[derive(Debug)]
pub struct TreeBuild {
    store: Store,
    id: LayerId,
    directory: PathBuf,
    finished: bool,
    _lock: File,
}

impl Layers<'_> {
    /// Begins to make a layer's tree; waits while another session does, and then perhaps has it.
    ///
    /// # Errors
    /// If the layer is not in the store, or its directory cannot be made.
    pub fn begin_tree(&self, id: LayerId) -> Result<TreeState> {
        if let Some(tree) = self.get(id)?.tree {
            return Ok(TreeState::Ready(tree));
        }
        let layout = &self.store().shared.layout;
        let directory = layout.layer(id);
        let lock = loop {
            make_dir(&directory)?;
            if let Some(lock) = lock::lock_dir(&directory, LockMode::Exclusive)? {
                break lock;
            }
        };
        // Held, so that it is not collected while it is made.
        if !self.hold(&[id])? {
            return Err(Error::NoLayer(id));
        }
        if let Some(tree) = self.get(id)?.tree {
            return Ok(TreeState::Ready(tree));
        }
        // What a killed process left, or a tree that may not have reached the disk before a power cut.
        trash::discard(layout, &directory.join("fs"))?;
        trash::discard(layout, &directory.join("work"))?;
        let build = TreeBuild { store: self.store().clone(), id, directory, finished: false, _lock: lock };
        make_dir(&build.fs())?;
        set_mode(&build.fs(), 0o755)?;
        make_dir(&build.work())?;
        Ok(TreeState::Build(build))
    }

    /// Forgets and deletes a layer's tree, because it is damaged or its space is wanted.
    ///
    /// # Errors
    /// If it cannot be moved away.
    pub fn discard_tree(&self, id: LayerId) -> Result<()> {
        let layout = &self.store().shared.layout;
        self.store().database().transact("forgetting a tree", |tx| {
            tx.execute("UPDATE layers SET tree_size = NULL, tree_chain = NULL, tree_boot = NULL WHERE id = ?1", [id])?;
            trash::discard(layout, &layout.layer(id))?;
            Ok(())
        })
    }
}

impl TreeBuild {
    /// Returns the layer.
    pub fn layer(&self) -> LayerId {
        self.id
    }

    /// Returns the directory that holds both others and nothing else.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the directory to fill: an overlay upper directory, mode 0755 at first.
    pub fn fs(&self) -> PathBuf {
        self.directory.join("fs")
    }

    /// Returns overlay's work directory, on the same file system.
    pub fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    /// Records the tree as whole. `size` is what [`disk_usage`](crate::disk_usage) would tell; `chain`
    /// names the layers below if the tree is right only upon them.
    ///
    /// # Errors
    /// If it cannot be recorded; then it is deleted.
    pub fn finish(mut self, size: u64, chain: Option<ChainId>) -> Result<Tree> {
        let work = self.work();
        if fs::remove_dir(&work).is_err() {
            trash::discard(&self.store.shared.layout, &work)?;
        }
        let (boot, now) = (self.store.boot(), millis(self.store.now()));
        let below = chain.map(|chain| *chain.0.as_bytes());
        let changed = self.store.database().write("recording a tree", |tx| {
            tx.prepare_cached(
                "UPDATE layers SET tree_size = ?2, tree_chain = ?3, tree_boot = ?4, tree_created = ?5 WHERE id = ?1",
            )?
            .execute(params![self.id, size, below, boot, now])
        })?;
        if changed != 1 {
            return Err(Error::NoLayer(self.id));
        }
        self.finished = true;
        Ok(Tree { path: self.fs(), size, chain })
    }
}

impl Drop for TreeBuild {
    fn drop(&mut self) {
        if !self.finished {
            // If it fails, the next attempt or collection does it.
            let _ = trash::discard(&self.store.shared.layout, &self.directory);
        }
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| Error::file("restricting", path, error))
}
