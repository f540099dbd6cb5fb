//! Values to rows and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rbuild_oci::Digest;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::cache::{Count, Record};
use crate::key::{Key, Link, Origin, Via};

const ROOT: i64 = 0;
const CONTENT: i64 = 1;
pub(super) const DERIVED: i64 = 2;

/// Milliseconds since 1970; times outside what fits are cut to it.
pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// No selector is an empty one: NULL would not be equal to itself.
pub(super) fn selector_bytes(via: &Via) -> &[u8] {
    via.selector.as_ref().map_or(&[][..], |selector| selector.as_bytes())
}

pub(super) fn key_of(row: &Row<'_>, index: usize) -> rusqlite::Result<Key> {
    Ok(Key::from_bytes(row.get(index)?))
}

pub(super) fn insert_origin(connection: &Connection, key: &Key, origin: &Origin) -> rusqlite::Result<()> {
    let (kind, digest, output) = match origin {
        Origin::Root { operation, output } => (ROOT, operation, *output),
        Origin::Content(digest) => (CONTENT, digest, 0),
        Origin::Derived { operation, output } => (DERIVED, operation, *output),
    };
    connection
        .prepare_cached("INSERT OR IGNORE INTO cache_keys (id, kind, digest, output) VALUES (?, ?, ?, ?)")?
        .execute(params![key.as_bytes(), kind, digest.as_bytes(), output])?;
    Ok(())
}

pub(super) fn origin(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Origin>> {
    connection
        .prepare_cached("SELECT kind, digest, output FROM cache_keys WHERE id = ?")?
        .query_row([key.as_bytes()], |row| {
            let digest = Digest::from_bytes(row.get(1)?);
            let output = row.get(2)?;
            Ok(match row.get(0)? {
                ROOT => Origin::Root { operation: digest, output },
                CONTENT => Origin::Content(digest),
                _ => Origin::Derived { operation: digest, output },
            })
        })
        .optional()
}

pub(super) fn records(connection: &Connection) -> rusqlite::Result<Vec<Record>> {
    let mut statement = connection.prepare_cached(
        "SELECT key, result, size, description, created_at, last_used_at, use_count
         FROM cache_records ORDER BY last_used_at, key",
    )?;
    let record = |row: &Row<'_>| {
        Ok(Record {
            key: key_of(row, 0)?,
            result: row.get(1)?,
            size: row.get::<_, Option<i64>>(2)?.and_then(|size| u64::try_from(size).ok()),
            description: row.get(3)?,
            created_at: time(row.get(4)?),
            last_used_at: time(row.get(5)?),
            use_count: u64::try_from(row.get::<_, i64>(6)?).unwrap_or(0),
        })
    };
    statement.query_map([], record)?.collect()
}

pub(super) fn links_to(connection: &Connection, key: &Key) -> rusqlite::Result<Vec<Link>> {
    let mut statement = connection.prepare_cached(
        "SELECT source, operation, input, output, selector FROM cache_links WHERE target = ?
         ORDER BY source, operation, input, output, selector",
    )?;
    let link = |row: &Row<'_>| {
        let selector: Vec<u8> = row.get(4)?;
        let via = Via {
            operation: Digest::from_bytes(row.get(1)?),
            input: row.get(2)?,
            output: row.get(3)?,
            selector: <[u8; 32]>::try_from(selector).ok().map(Digest::from_bytes),
        };
        Ok(Link { source: key_of(row, 0)?, via, target: *key })
    };
    statement.query_map([key.as_bytes()], link)?.collect()
}

pub(super) fn count(connection: &Connection) -> rusqlite::Result<Count> {
    let of = |table: &str| {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            Ok(u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0))
        })
    };
    Ok(Count { keys: of("cache_keys")?, links: of("cache_links")?, records: of("cache_records")? })
}
