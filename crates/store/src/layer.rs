//! Layers: one change upon whatever lies below, as a tree, as blobs, or still in a registry.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use rbuild_oci::{ChainId, Descriptor, DiffId, Digest};
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::blob::digest_at;
use crate::error::{Error, Result};
use crate::store::{millis, time};
use crate::{Kind, Store};

/// Identifies a layer in one store; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerId(u64);

impl LayerId {
    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ToSql for LayerId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for LayerId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        u64::column_result(value).map(Self)
    }
}

/// What a new layer is.
#[derive(Debug, Clone, Default)]
pub struct NewLayer {
    /// What made it, for `du`.
    pub description: String,
    /// What kind of thing it is, for `du`.
    pub kind: Kind,
    /// Its diff id, if known already.
    pub diff_id: Option<DiffId>,
}

/// A layer and its forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The id.
    pub id: LayerId,
    /// The digest of the uncompressed tar, once known.
    pub diff_id: Option<DiffId>,
    /// The unpacked tree, if it is there and whole.
    pub tree: Option<Tree>,
    /// The blobs that are in the store.
    pub blobs: Vec<LayerBlob>,
    /// Where blobs can be fetched.
    pub remotes: Vec<Remote>,
    /// What made it.
    pub description: String,
    /// What kind of thing it is.
    pub kind: Kind,
    /// When it was made.
    pub created: SystemTime,
}

impl Layer {
    /// Returns whether the content is known to have the diff id: it was unpacked, made here, or is named by it.
    pub fn is_verified(&self) -> bool {
        self.tree.is_some()
            || self.diff_id.is_some_and(|id| self.blobs.iter().any(|blob| blob.descriptor.digest == id.0))
    }

    /// Returns whether `blob` is one of the layer's, here or at a registry.
    pub fn is_of(&self, blob: &Digest) -> bool {
        self.blobs.iter().any(|known| known.descriptor.digest == *blob)
            || self.remotes.iter().any(|known| known.descriptor.digest == *blob)
    }

    /// Whether the layer can be had at all.
    pub fn is_available(&self) -> bool {
        self.tree.is_some() || !self.blobs.is_empty() || !self.remotes.is_empty()
    }
}

/// A layer's unpacked tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The directory.
    pub path: PathBuf,
    /// The bytes of disk it takes.
    pub size: u64,
    /// The layers below that the tree was made upon, if it is right only there (hard links to files
    /// below); none if it is right upon anything.
    pub chain: Option<ChainId>,
}

/// One blob of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// How it was compressed, in words of whoever did it, such as `uncompressed` or `gzip:6`.
    pub variant: String,
}

/// Where a blob of a layer can be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The repository, such as `docker.io/library/alpine`.
    pub reference: String,
    /// Media type, digest and size.
    pub descriptor: Descriptor,
}

/// The layers of a store.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    store: &'a Store,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    pub(crate) fn store(&self) -> &'a Store {
        self.store
    }

    /// Makes a layer without any form, held by the lease.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn create(&self, new: &NewLayer) -> Result<LayerId> {
        let lease = &self.store.lease;
        lease.ensure_file()?;
        let now = millis(self.store.now());
        let id = self.store.database().transact("making a layer", |tx| {
            tx.prepare_cached("INSERT INTO layers(diff_id, kind, description, created) VALUES(?1, ?2, ?3, ?4)")?
                .execute(params![new.diff_id.map(bytes), new.kind.as_str(), new.description, now])?;
            let id = LayerId(u64::try_from(tx.last_insert_rowid()).expect("row ids are positive"));
            lease.hold_layers(tx, &[id])?;
            Ok(id)
        })?;
        lease.committed(&[id], &[]);
        Ok(id)
    }

    /// Returns a layer.
    ///
    /// # Errors
    /// If it is not in the store.
    pub fn get(&self, id: LayerId) -> Result<Layer> {
        let found = self.store.database().read("reading a layer", |c| self.find(c, id))?;
        found.ok_or(Error::NoLayer(id))
    }

    /// Keeps layers until this handle's lease ends; false, and nothing held, if any is gone.
    ///
    /// # Errors
    /// If the index cannot be used.
    pub fn hold(&self, ids: &[LayerId]) -> Result<bool> {
        let lease = &self.store.lease;
        lease.ensure_file()?;
        let all = self.store.database().transact("leasing layers", |tx| {
            for id in ids {
                if !exists(tx, *id)? {
                    return Ok(false);
                }
            }
            lease.hold_layers(tx, ids)?;
            Ok(true)
        })?;
        if all {
            lease.committed(ids, &[]);
        }
        Ok(all)
    }

    /// Returns the layer with this diff id that needs the least work to be used, held by the lease.
    ///
    /// # Errors
    /// If the index cannot be used.
    pub fn find_by_diff_id(&self, diff_id: DiffId) -> Result<Option<LayerId>> {
        self.find_held("tree_size IS NOT NULL DESC, id", diff_id, |_| true)
    }

    /// Returns a layer with this diff id that has a tree which is right upon `below`, held by the lease.
    ///
    /// # Errors
    /// If the index cannot be used.
    pub fn find_tree(&self, diff_id: DiffId, below: Option<ChainId>) -> Result<Option<LayerId>> {
        let fits = |layer: &Layer| layer.tree.as_ref().is_some_and(|tree| tree.chain.is_none() || tree.chain == below);
        self.find_held("id", diff_id, fits)
    }

    /// Returns a layer whose content is known to have this diff id, held by the lease.
    ///
    /// # Errors
    /// If the index cannot be used.
    pub fn find_verified(&self, diff_id: DiffId) -> Result<Option<LayerId>> {
        self.find_held("tree_size IS NOT NULL DESC, id", diff_id, |layer| layer.is_verified())
    }

    /// Returns the layer that an image means by this diff id and this `blob`, or makes one.
    ///
    /// What an image says of the diff id of a blob is only its word until the blob was unpacked. Were
    /// that enough, an image could put its own blob under another's diff id. So layers are shared whose
    /// content is known to have the diff id, or which are of the very same blob.
    ///
    /// # Errors
    /// If the index cannot be used.
    pub fn find_or_create(&self, diff_id: DiffId, blob: &Digest, new: &NewLayer) -> Result<LayerId> {
        let means = |layer: &Layer| layer.is_verified() || layer.is_of(blob);
        match self.find_held("tree_size IS NOT NULL DESC, id", diff_id, means)? {
            Some(id) => Ok(id),
            None => self.create(&NewLayer { diff_id: Some(diff_id), ..new.clone() }),
        }
    }

    /// Records the diff id.
    ///
    /// # Errors
    /// If the layer is not in the store.
    pub fn set_diff_id(&self, id: LayerId, diff_id: DiffId) -> Result<()> {
        let changed = self.store.database().write("recording a diff id", |tx| {
            tx.prepare_cached("UPDATE layers SET diff_id = ?2 WHERE id = ?1")?.execute(params![id, bytes(diff_id)])
        })?;
        if changed == 1 { Ok(()) } else { Err(Error::NoLayer(id)) }
    }

    /// Records when the layer was made, if that was elsewhere.
    ///
    /// # Errors
    /// If the layer is not in the store.
    pub fn set_created(&self, id: LayerId, created: SystemTime) -> Result<()> {
        let changed = self.store.database().write("recording a layer's time", |tx| {
            tx.prepare_cached("UPDATE layers SET created = ?2 WHERE id = ?1")?.execute(params![id, millis(created)])
        })?;
        if changed == 1 { Ok(()) } else { Err(Error::NoLayer(id)) }
    }

    /// Records a blob of the layer; it must be in the store and held by the lease.
    ///
    /// # Errors
    /// If the layer or the blob is not in the store.
    pub fn add_blob(&self, id: LayerId, blob: &LayerBlob) -> Result<()> {
        let digest = blob.descriptor.digest;
        self.store.database().transact("recording a layer's blob", |tx| {
            if !exists(tx, id)? {
                return Err(Error::NoLayer(id).into());
            }
            let known = tx.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([digest.as_bytes()])?;
            if !known {
                return Err(Error::NoBlob(digest).into());
            }
            tx.prepare_cached(
                "INSERT OR REPLACE INTO layer_blobs(layer, digest, variant, descriptor) VALUES(?1, ?2, ?3, ?4)",
            )?
            .execute(params![id, digest.as_bytes(), blob.variant, to_json(&blob.descriptor)])?;
            Ok(())
        })
    }

    /// Records where a blob of the layer can be fetched.
    ///
    /// # Errors
    /// If the layer is not in the store.
    pub fn add_remote(&self, id: LayerId, remote: &Remote) -> Result<()> {
        let digest = remote.descriptor.digest;
        self.store.database().transact("recording where a layer is", |tx| {
            if !exists(tx, id)? {
                return Err(Error::NoLayer(id).into());
            }
            tx.prepare_cached(
                "INSERT OR REPLACE INTO layer_remotes(layer, reference, digest, descriptor) VALUES(?1, ?2, ?3, ?4)",
            )?
            .execute(params![id, remote.reference, digest.as_bytes(), to_json(&remote.descriptor)])?;
            Ok(())
        })
    }

    /// Keeps layers for something long-lived, such as a container, until it is [unpinned](Self::unpin).
    ///
    /// # Errors
    /// If a layer is not in the store.
    pub fn pin(&self, owner: &str, ids: &[LayerId]) -> Result<()> {
        self.store.database().transact("pinning layers", |tx| {
            for id in ids {
                if !exists(tx, *id)? {
                    return Err(Error::NoLayer(*id).into());
                }
                tx.execute("INSERT OR IGNORE INTO pins(owner, layer) VALUES(?1, ?2)", params![owner, id])?;
            }
            Ok(())
        })
    }

    /// Lets go what `owner` had pinned.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn unpin(&self, owner: &str) -> Result<()> {
        self.store
            .database()
            .write("unpinning layers", |tx| tx.execute("DELETE FROM pins WHERE owner = ?1", [owner]).map(|_| ()))
    }

    fn find_held(&self, order: &str, diff_id: DiffId, fits: impl Fn(&Layer) -> bool) -> Result<Option<LayerId>> {
        let sql = format!("SELECT id FROM layers WHERE diff_id = ?1 ORDER BY {order}");
        let candidates = self.store.database().read("looking up a layer", |c| {
            let ids: Vec<LayerId> = c
                .prepare_cached(&sql)?
                .query_map([bytes(diff_id)], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            ids.into_iter().map(|id| self.find(c, id)).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        for layer in candidates.into_iter().flatten().filter(fits) {
            if self.hold(&[layer.id])? {
                return Ok(Some(layer.id));
            }
        }
        Ok(None)
    }

    fn find(&self, connection: &Connection, id: LayerId) -> rusqlite::Result<Option<Layer>> {
        let row = connection
            .prepare_cached(
                "SELECT diff_id, kind, description, created, tree_size, tree_chain, tree_boot FROM layers WHERE id = ?1",
            )?
            .query_row([id], |row| self.row(id, row))
            .optional()?;
        let Some(mut layer) = row else { return Ok(None) };
        layer.blobs = connection
            .prepare_cached("SELECT digest, variant, descriptor FROM layer_blobs WHERE layer = ?1")?
            .query_map([id], |row| {
                let descriptor = from_json(row, 2)?;
                Ok((digest_at(row, 0)?, LayerBlob { descriptor, variant: row.get(1)? }))
            })?
            .filter(|found| found.as_ref().map_or(true, |(digest, _)| self.store.blobs().path(digest).exists()))
            .map(|found| found.map(|(_, blob)| blob))
            .collect::<rusqlite::Result<_>>()?;
        layer.remotes = connection
            .prepare_cached("SELECT reference, descriptor FROM layer_remotes WHERE layer = ?1")?
            .query_map([id], |row| Ok(Remote { reference: row.get(0)?, descriptor: from_json(row, 1)? }))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Some(layer))
    }

    /// A tree of another boot that may never have reached the disk does not count.
    fn row(&self, id: LayerId, row: &Row<'_>) -> rusqlite::Result<Layer> {
        let path = self.store.shared.layout.layer(id).join("fs");
        let boot: Option<String> = row.get(6)?;
        let durable = boot.is_none_or(|boot| boot == self.store.boot());
        let size: Option<u64> = row.get(4)?;
        let chain: Option<[u8; 32]> = row.get(5)?;
        let chain = chain.map(|bytes| ChainId(Digest::from_bytes(bytes)));
        let tree = size.filter(|_| durable && path.is_dir()).map(|size| Tree { path, size, chain });
        let diff_id: Option<[u8; 32]> = row.get(0)?;
        Ok(Layer {
            id,
            diff_id: diff_id.map(|bytes| DiffId(Digest::from_bytes(bytes))),
            tree,
            blobs: Vec::new(),
            remotes: Vec::new(),
            kind: Kind::from_name(&row.get::<_, String>(1)?),
            description: row.get(2)?,
            created: time(row.get(3)?),
        })
    }
}

/// Whether a layer has a row.
pub(crate) fn exists(connection: &Connection, id: LayerId) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?.exists([id])
}

fn bytes(diff_id: DiffId) -> [u8; 32] {
    *diff_id.0.as_bytes()
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("descriptors and platforms have string keys only")
}

pub(crate) fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error)))
}
