//! The cache's tables and how they came to be.

use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::cache::CacheError;
use crate::cache::sqlite::wrap;

/// Each entry takes the tables from the version of its index to the next; entries never change once
/// released.
const STEPS: &[&str] = &["
    CREATE TABLE cache_keys (
        id BLOB PRIMARY KEY,
        kind INTEGER NOT NULL,
        digest BLOB NOT NULL,
        output INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE cache_links (
        source BLOB NOT NULL,
        operation BLOB NOT NULL,
        input INTEGER NOT NULL,
        output INTEGER NOT NULL,
        selector BLOB NOT NULL,
        target BLOB NOT NULL,
        PRIMARY KEY (source, operation, input, output, selector, target)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX cache_links_target ON cache_links (target);
    CREATE TABLE cache_records (
        key BLOB PRIMARY KEY,
        result BLOB NOT NULL,
        size INTEGER,
        description TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        last_used_at INTEGER NOT NULL,
        use_count INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
"];

/// Pages of the log (4 KiB each) after which a commit writes it back.
const CHECKPOINT_PAGES: u32 = 256;

/// Sets what a connection needs.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // Writing the log back on close would make every build pay for its syncs.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode == "wal" || mode == "memory" {
        return Ok(());
    }
    // Changing the mode needs the database to itself and does not wait for that by the busy timeout.
    let change = || connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()));
    for _ in 0..200 {
        match change() {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
    change()
}

/// Brings the tables to the newest version. Costs one read if they have it.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), CacheError> {
    let known = STEPS.len() as i64;
    if version(connection).map_err(wrap("reading the version"))? == known {
        return Ok(());
    }
    let failed = wrap("migrating");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    let found = version(&transaction).map_err(&failed)?;
    if found > known {
        return Err(CacheError::Version { found, known });
    }
    let newer = STEPS.iter().zip(1_i64..).filter(|(_, version)| *version > found);
    for (step, _) in newer {
        transaction.execute_batch(step).map_err(&failed)?;
    }
    transaction
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS cache_version (version INTEGER NOT NULL); DELETE FROM cache_version;",
        )
        .map_err(&failed)?;
    transaction.execute("INSERT INTO cache_version (version) VALUES (?)", [known]).map_err(&failed)?;
    transaction.commit().map_err(&failed)
}

/// The database's own `user_version` is left to whoever owns the file.
fn version(connection: &Connection) -> rusqlite::Result<i64> {
    let exists: bool = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'cache_version'", [], |_| Ok(true))
        .optional()?
        .unwrap_or(false);
    if !exists {
        return Ok(0);
    }
    let version = connection.query_row("SELECT version FROM cache_version", [], |row| row.get(0)).optional()?;
    Ok(version.unwrap_or(0))
}
