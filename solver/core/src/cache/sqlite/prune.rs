//! Removing records, and the links that were only there for them.

use rusqlite::{Connection, params};

use crate::cache::sqlite::rows::{DERIVED, key_of};
use crate::key::Key;

/// What leads nowhere, and what nothing leads to. Deleting the one may make more of the other, so
/// these are repeated until they find nothing. Only derived keys need something to lead to them.
const SWEEPS: [&str; 3] = [
    "DELETE FROM cache_links
     WHERE target NOT IN (SELECT key FROM cache_records) AND target NOT IN (SELECT source FROM cache_links)",
    "DELETE FROM cache_links
     WHERE source IN (SELECT id FROM cache_keys WHERE kind = ?1)
       AND source NOT IN (SELECT target FROM cache_links)",
    "DELETE FROM cache_records
     WHERE key IN (SELECT id FROM cache_keys WHERE kind = ?1) AND key NOT IN (SELECT target FROM cache_links)",
];

const SWEEP_KEYS: &str = "DELETE FROM cache_keys
    WHERE id NOT IN (SELECT key FROM cache_records) AND id NOT IN (SELECT source FROM cache_links)
      AND id NOT IN (SELECT target FROM cache_links)";

/// Removes the records of `keys` and all that is then dangling; returns how many records went.
pub(super) fn remove(connection: &Connection, keys: &[Key]) -> rusqlite::Result<usize> {
    let mut records = 0;
    for key in keys {
        records += delete_record(connection, key)?;
    }
    loop {
        let dead = connection.execute(SWEEPS[0], [])?;
        let adrift = connection.execute(SWEEPS[1], [DERIVED])?;
        let lost = connection.execute(SWEEPS[2], [DERIVED])?;
        records += lost;
        if dead + adrift + lost == 0 {
            break;
        }
    }
    connection.execute(SWEEP_KEYS, [])?;
    Ok(records)
}

/// Lets what led to `old` lead to `new`; `old` goes, and what could be found only through it.
pub(super) fn supersede(connection: &Connection, old: &Key, new: &Key) -> rusqlite::Result<()> {
    let onward = cut(connection, old)?;
    connection
        .prepare_cached("UPDATE OR IGNORE cache_links SET target = ? WHERE target = ?")?
        .execute([new.as_bytes(), old.as_bytes()])?;
    connection.prepare_cached("DELETE FROM cache_links WHERE target = ?")?.execute([old.as_bytes()])?;
    drop_unreachable(connection, onward)
}

/// Removes the `candidates` that can no longer be found because nothing leads to them as that input,
/// and so on to what could be found only through them.
fn drop_unreachable(connection: &Connection, mut candidates: Vec<(Key, u32)>) -> rusqlite::Result<()> {
    let mut reached = connection.prepare_cached("SELECT 1 FROM cache_links WHERE target = ? AND input = ? LIMIT 1")?;
    let mut sources = connection.prepare_cached("SELECT DISTINCT source FROM cache_links WHERE target = ?")?;
    let mut unlink = connection.prepare_cached("DELETE FROM cache_links WHERE target = ?")?;
    let mut sweep = connection.prepare_cached(
        "DELETE FROM cache_keys WHERE id = ?1 AND id NOT IN (SELECT key FROM cache_records WHERE key = ?1)
           AND NOT EXISTS (SELECT 1 FROM cache_links WHERE source = ?1)
           AND NOT EXISTS (SELECT 1 FROM cache_links WHERE target = ?1)",
    )?;
    while let Some((key, input)) = candidates.pop() {
        if reached.exists(params![key.as_bytes(), input])? {
            continue;
        }
        candidates.extend(cut(connection, &key)?);
        let leading: Vec<Key> =
            sources.query_map([key.as_bytes()], |row| key_of(row, 0))?.collect::<rusqlite::Result<_>>()?;
        unlink.execute([key.as_bytes()])?;
        for source in leading {
            sweep.execute([source.as_bytes()])?;
        }
    }
    Ok(())
}

/// Removes all about a key except what leads to it; returns where it led, as what input.
fn cut(connection: &Connection, key: &Key) -> rusqlite::Result<Vec<(Key, u32)>> {
    delete_record(connection, key)?;
    connection.prepare_cached("DELETE FROM cache_keys WHERE id = ?")?.execute([key.as_bytes()])?;
    let mut onward = connection
        .prepare_cached("SELECT DISTINCT target, input FROM cache_links WHERE source = ? ORDER BY target, input")?;
    let onward: Vec<_> = onward
        .query_map([key.as_bytes()], |row| Ok((key_of(row, 0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    connection.prepare_cached("DELETE FROM cache_links WHERE source = ?")?.execute([key.as_bytes()])?;
    Ok(onward)
}

fn delete_record(connection: &Connection, key: &Key) -> rusqlite::Result<usize> {
    connection.prepare_cached("DELETE FROM cache_records WHERE key = ?")?.execute([key.as_bytes()])
}
