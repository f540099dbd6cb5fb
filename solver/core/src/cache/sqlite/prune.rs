//! Removing records, and the links that were only there for them.

use rusqlite::{Connection, params};

use crate::cache::sqlite::rows::{DERIVED, key_of, selector_bytes};
use crate::key::{Key, Link};

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

/// Removes those of `candidates`, which had links to them, that have none any more, and so on to what
/// could be reached only through them.
pub(super) fn drop_unreachable(connection: &Connection, mut candidates: Vec<Key>) -> rusqlite::Result<()> {
    while let Some(key) = candidates.pop() {
        let mut reached = connection.prepare_cached("SELECT 1 FROM cache_links WHERE target = ? LIMIT 1")?;
        if reached.exists([key.as_bytes()])? {
            continue;
        }
        delete_record(connection, &key)?;
        let mut onward = connection.prepare_cached("SELECT DISTINCT target FROM cache_links WHERE source = ?")?;
        for target in onward.query_map([key.as_bytes()], |row| key_of(row, 0))? {
            candidates.push(target?);
        }
        connection.prepare_cached("DELETE FROM cache_links WHERE source = ?")?.execute([key.as_bytes()])?;
        connection.prepare_cached("DELETE FROM cache_keys WHERE id = ?")?.execute([key.as_bytes()])?;
    }
    Ok(())
}

fn delete_record(connection: &Connection, key: &Key) -> rusqlite::Result<usize> {
    connection.prepare_cached("DELETE FROM cache_records WHERE key = ?")?.execute([key.as_bytes()])
}

pub(super) fn delete_link(connection: &Connection, link: &Link) -> rusqlite::Result<()> {
    let via = &link.via;
    connection
        .prepare_cached(
            "DELETE FROM cache_links WHERE source = ? AND operation = ? AND input = ? AND output = ?
                 AND selector = ? AND target = ?",
        )?
        .execute(params![
            link.source.as_bytes(),
            via.operation.as_bytes(),
            via.input,
            via.output,
            selector_bytes(via),
            link.target.as_bytes()
        ])?;
    Ok(())
}
