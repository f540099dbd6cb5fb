//! The table of finished builds, and which blobs each of them keeps.

use std::collections::BTreeSet;
use std::time::SystemTime;

use prost::Message;
use rbuild_buildkit_api::control::BuildHistoryRecord;
use rbuild_oci::Digest;
use rbuild_store::rusqlite::{OptionalExtension, params};
use rbuild_store::{Blobs, Store};

use super::HistoryError;
use super::keep::kept;

/// What the names of owners of pinned blobs begin with.
pub const OWNER: &str = "history/";

const VERSION: u32 = 1;

/// `record` is a `BuildHistoryRecord`; times are milliseconds since the epoch.
const TABLES: &str = "
CREATE TABLE history_builds(
    number INTEGER PRIMARY KEY AUTOINCREMENT, ref TEXT NOT NULL UNIQUE, record BLOB NOT NULL,
    completed INTEGER NOT NULL, pinned INTEGER NOT NULL
);
";

pub(super) fn prepare(store: &Store) -> Result<(), HistoryError> {
    Ok(store.database().ensure_schema("history", VERSION, |tx, _| tx.execute_batch(TABLES))?)
}

fn owner(reference: &str) -> String {
    format!("{OWNER}{reference}")
}

/// Stores a record, and keeps its blobs, which a lease holds until then.
pub(super) fn put(store: &Store, record: &BuildHistoryRecord) -> Result<(), HistoryError> {
    let blobs: BTreeSet<Digest> = kept(store, record);
    let owner = owner(&record.r#ref);
    let bytes = record.encode_to_vec();
    let completed = millis(record);
    store.database().write("recording a build", |tx| {
        Blobs::unpin(tx, &owner)?;
        for digest in &blobs {
            Blobs::pin(tx, &owner, digest)?;
        }
        tx.prepare_cached(
            "INSERT INTO history_builds(ref, record, completed, pinned) VALUES(?1, ?2, ?3, ?4)
             ON CONFLICT(ref) DO UPDATE SET record = ?2, completed = ?3, pinned = ?4",
        )?
        .execute(params![record.r#ref, bytes, completed, record.pinned])
    })?;
    Ok(())
}

pub(super) fn get(store: &Store, reference: &str) -> Result<Option<BuildHistoryRecord>, HistoryError> {
    let bytes: Option<Vec<u8>> = store.database().read("reading a build", |connection| {
        connection
            .prepare_cached("SELECT record FROM history_builds WHERE ref = ?1")?
            .query_row([reference], |row| row.get(0))
            .optional()
    })?;
    bytes.map(|bytes| decode(&bytes)).transpose()
}

pub(super) fn list(store: &Store) -> Result<Vec<BuildHistoryRecord>, HistoryError> {
    let all: Vec<Vec<u8>> = store.database().read("listing builds", |connection| {
        connection
            .prepare_cached("SELECT record FROM history_builds ORDER BY number")?
            .query_map([], |row| row.get(0))?
            .collect()
    })?;
    all.iter().map(|bytes| decode(bytes)).collect()
}

/// Changes a record in one transaction; none if there is no such build.
pub(super) fn change(
    store: &Store,
    reference: &str,
    change: impl FnOnce(&mut BuildHistoryRecord),
) -> Result<Option<BuildHistoryRecord>, HistoryError> {
    let changed = store.database().write("changing a build", |tx| {
        let found: Option<Vec<u8>> = tx
            .prepare_cached("SELECT record FROM history_builds WHERE ref = ?1")?
            .query_row([reference], |row| row.get(0))
            .optional()?;
        let Some(found) = found else { return Ok(None) };
        let decoded = decode(&found).map(|mut record| {
            change(&mut record);
            record.generation = record.generation.saturating_add(1);
            record
        });
        if let Ok(record) = &decoded {
            tx.prepare_cached("UPDATE history_builds SET record = ?2, pinned = ?3 WHERE ref = ?1")?
                .execute(params![reference, record.encode_to_vec(), record.pinned])?;
        }
        Ok(Some(decoded))
    })?;
    changed.transpose()
}

pub(super) fn delete(store: &Store, reference: &str) -> Result<bool, HistoryError> {
    let owner = owner(reference);
    let deleted = store.database().write("forgetting a build", |tx| {
        Blobs::unpin(tx, &owner)?;
        tx.prepare_cached("DELETE FROM history_builds WHERE ref = ?1")?.execute([reference])
    })?;
    Ok(deleted > 0)
}

/// Names the builds that ended before `oldest` and are not among the `entries` youngest; pinned ones do not count.
pub(super) fn beyond(store: &Store, entries: usize, oldest: SystemTime) -> Result<Vec<String>, HistoryError> {
    let oldest = oldest.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let (oldest, entries) = (i64::try_from(oldest).unwrap_or(i64::MAX), i64::try_from(entries).unwrap_or(i64::MAX));
    let names = store.database().read("looking for old builds", |connection| {
        connection
            .prepare_cached(
                "SELECT ref FROM (SELECT ref, completed FROM history_builds WHERE NOT pinned
                    ORDER BY completed DESC, number DESC LIMIT -1 OFFSET ?1) WHERE completed < ?2",
            )?
            .query_map([entries, oldest], |row| row.get(0))?
            .collect()
    })?;
    Ok(names)
}

fn decode(bytes: &[u8]) -> Result<BuildHistoryRecord, HistoryError> {
    BuildHistoryRecord::decode(bytes).map_err(|source| HistoryError::Malformed { what: "a record of a build", source })
}

fn millis(record: &BuildHistoryRecord) -> i64 {
    let completed = record.completed_at.unwrap_or_default();
    completed.seconds.saturating_mul(1000).saturating_add(i64::from(completed.nanos / 1_000_000))
}
