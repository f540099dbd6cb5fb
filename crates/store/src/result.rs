//! Results of the solver: lists of layers that a cache key led to.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::database::Failure;
use crate::error::{Error, Result};
use crate::layer::exists;
use crate::store::{millis, time};
use crate::{Kind, LayerId, Store};

/// A result to be kept.
#[derive(Debug, Clone)]
pub struct NewResult<'a> {
    /// The id the caller gives it.
    pub id: &'a str,
    /// What kind of thing it is.
    pub kind: Kind,
    /// What made it, for people.
    pub description: &'a str,
    /// The layers, bottom first.
    pub layers: &'a [LayerId],
    /// Whatever else belongs to it; the store does not look into it.
    pub value: &'a [u8],
}

/// A result that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResult {
    /// The id.
    pub id: String,
    /// What kind of thing it is.
    pub kind: Kind,
    /// What made it.
    pub description: String,
    /// The layers, bottom first.
    pub layers: Vec<LayerId>,
    /// Whatever else belongs to it.
    pub value: Vec<u8>,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last loaded.
    pub used: SystemTime,
    /// How often it was loaded.
    pub uses: u64,
}

/// The results of a store.
///
/// They keep their layers until they are pruned. A table of the solver that refers to `results(id)` with
/// `ON DELETE CASCADE` is cleared with them.
#[derive(Debug, Clone, Copy)]
pub struct Results<'a> {
    store: &'a Store,
}

impl<'a> Results<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Keeps a result; one with the same id is replaced.
    ///
    /// # Errors
    /// If a layer is not in the store.
    pub fn put(&self, result: &NewResult<'_>) -> Result<()> {
        self.store.database().transact("keeping a result", |tx| self.put_in(tx, result))
    }

    /// Returns a result, its layers held by the lease. If a layer cannot be had any more, the result is
    /// forgotten and there is none.
    ///
    /// # Errors
    /// If the index cannot be used.
    pub fn load(&self, id: &str) -> Result<Option<StoredResult>> {
        if self.store.database().read("looking up a result", |c| find(c, id))?.is_none() {
            return Ok(None);
        }
        let lease = &self.store.lease;
        lease.ensure_file()?;
        let loaded = self.store.database().transact("loading a result", |tx| {
            let Some(result) = find(tx, id)? else { return Ok(None) };
            lease.hold_layers(tx, &result.layers)?;
            tx.prepare_cached("UPDATE results SET used = ?2, uses = uses + 1 WHERE id = ?1")?
                .execute(params![id, millis(self.store.now())])?;
            Ok(Some(result))
        })?;
        let Some(result) = loaded else { return Ok(None) };
        lease.committed(&result.layers, &[]);
        for layer in &result.layers {
            if !self.store.layers().get(*layer)?.is_available() {
                self.remove(id)?;
                return Ok(None);
            }
        }
        Ok(Some(result))
    }

    /// Returns a result without using it.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<StoredResult>> {
        self.store.database().read("looking up a result", |c| find(c, id))
    }

    /// Lists all results, the longest unused first.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn list(&self) -> Result<Vec<StoredResult>> {
        self.store.database().read("listing results", list)
    }

    /// Forgets a result; returns whether it was there.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn remove(&self, id: &str) -> Result<bool> {
        let removed = self
            .store
            .database()
            .write("removing a result", |tx| tx.execute("DELETE FROM results WHERE id = ?1", [id]))?;
        Ok(removed > 0)
    }

    /// Forgets all results with this layer; returns how many there were.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn remove_with_layer(&self, layer: LayerId) -> Result<usize> {
        self.store.database().write("removing results", |tx| {
            tx.execute("DELETE FROM results WHERE id IN (SELECT result FROM result_layers WHERE layer = ?1)", [layer])
        })
    }

    fn put_in(&self, tx: &Transaction<'_>, result: &NewResult<'_>) -> Result<(), Failure> {
        let now = millis(self.store.now());
        // Not INSERT OR REPLACE: deleting the row would clear the solver's rows that refer to it.
        tx.prepare_cached(
            "INSERT INTO results(id, kind, description, value, created, used, uses) VALUES(?1, ?2, ?3, ?4, ?5, ?5, 0)
             ON CONFLICT(id) DO UPDATE SET kind = ?2, description = ?3, value = ?4, created = ?5, used = ?5",
        )?
        .execute(params![result.id, result.kind.as_str(), result.description, result.value, now])?;
        tx.prepare_cached("DELETE FROM result_layers WHERE result = ?1")?.execute([result.id])?;
        for (position, layer) in result.layers.iter().enumerate() {
            if !exists(tx, *layer)? {
                return Err(Error::NoLayer(*layer).into());
            }
            tx.prepare_cached("INSERT INTO result_layers(result, position, layer) VALUES(?1, ?2, ?3)")?
                .execute(params![result.id, position, layer])?;
        }
        Ok(())
    }
}

pub(crate) fn list(connection: &Connection) -> rusqlite::Result<Vec<StoredResult>> {
    let ids: Vec<String> = connection
        .prepare_cached("SELECT id FROM results ORDER BY used, id")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut results = Vec::with_capacity(ids.len());
    for id in ids {
        results.extend(find(connection, &id)?);
    }
    Ok(results)
}

fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<StoredResult>> {
    let found = connection
        .prepare_cached("SELECT kind, description, value, created, used, uses FROM results WHERE id = ?1")?
        .query_row([id], |row| {
            Ok(StoredResult {
                id: id.to_owned(),
                kind: Kind::from_name(&row.get::<_, String>(0)?),
                description: row.get(1)?,
                layers: Vec::new(),
                value: row.get(2)?,
                created: time(row.get(3)?),
                used: time(row.get(4)?),
                uses: row.get(5)?,
            })
        })
        .optional()?;
    let Some(mut result) = found else { return Ok(None) };
    result.layers = connection
        .prepare_cached("SELECT layer FROM result_layers WHERE result = ?1 ORDER BY position")?
        .query_map([id], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(result))
}
