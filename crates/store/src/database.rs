//! The index: one SQLite file in WAL mode, shared by all rooms that remember something.
//!
//! The checkpoint on close is off, because its two syncs would be paid by every short command; a small
//! automatic checkpoint keeps the log, and so the time to open, short.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::error::{Error, Result};
use crate::schema;

/// How long a writer waits for another one.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pages of the log (4 KiB each) after which it is written back.
const CHECKPOINT_PAGES: u32 = 256;

/// The index of a store.
///
/// Rooms above keep tables of their own in it; table names begin with the room's name. A table that refers
/// to `results(id)` or `layers(id)` should do so with `ON DELETE CASCADE`, then garbage collection clears it.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    root: PathBuf,
    connection: Mutex<Connection>,
}

/// Why a transaction was rolled back.
pub(crate) enum Failure {
    Sql(rusqlite::Error),
    Store(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Database {
    pub(crate) fn open(root: &Path, path: &Path, create: bool) -> Result<Self> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let fail = |source| fail("opening", path, source);
        let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        let database = Self { path: path.to_owned(), root: root.to_owned(), connection: Mutex::new(connection) };
        database.configure(create).map_err(fail)?;
        if create {
            database.create_tables()?;
        }
        database.check_version()?;
        let (room, version, tables) = schema::BLOB_PINS;
        database.ensure_schema(room, version, |tx, _| tx.execute_batch(tables))?;
        Ok(database)
    }

    fn configure(&self, create: bool) -> rusqlite::Result<()> {
        let connection = self.lock();
        connection.busy_timeout(PATIENCE)?;
        connection.set_prepared_statement_cache_capacity(128);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        if create {
            // Before anything else is written, else it has no effect.
            connection.pragma_update(None, "auto_vacuum", "incremental")?;
            connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        }
        connection.execute_batch(&format!(
            "PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};"
        ))
    }

    fn create_tables(&self) -> Result<()> {
        self.write("creating tables", |tx| {
            if user_version(tx)? == 0 {
                tx.execute_batch(schema::TABLES)?;
                tx.pragma_update(None, "user_version", schema::VERSION)?;
            }
            Ok(())
        })
    }

    fn check_version(&self) -> Result<()> {
        let found = self.read("reading the version", user_version)?;
        if found > schema::VERSION {
            let root = self.root.clone();
            return Err(Error::Newer { root, what: "index".to_owned(), found, known: schema::VERSION });
        }
        if found == 0 {
            let reason = "its index has no tables".to_owned();
            return Err(Error::NotAStore { root: self.root.clone(), reason });
        }
        Ok(())
    }

    /// Runs `f` with the connection; `action` says what was attempted if it fails.
    ///
    /// # Errors
    /// What `f` returns.
    pub fn read<T>(&self, action: &'static str, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let connection = self.lock();
        f(&connection).map_err(|source| fail(action, &self.path, source))
    }

    /// Runs `f` in an immediate transaction, that is, as the only writer of all processes.
    ///
    /// # Errors
    /// What `f` returns; then nothing has changed.
    pub fn write<T>(&self, action: &'static str, f: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        self.transact(action, |tx| f(tx).map_err(Failure::Sql))
    }

    /// Makes or migrates the tables of a room: if `room` has an older version than `version`, or none (0), calls
    /// `migrate` with it, in a transaction.
    ///
    /// # Errors
    /// If the tables were made by a newer program, or `migrate` fails.
    pub fn ensure_schema(
        &self,
        room: &str,
        version: u32,
        migrate: impl FnOnce(&Transaction<'_>, u32) -> rusqlite::Result<()>,
    ) -> Result<()> {
        let found = self.read("reading versions", |connection| schema_version(connection, room))?;
        if found == version {
            return Ok(());
        }
        let newer =
            |found| Error::Newer { root: self.root.clone(), what: format!("{room} tables"), found, known: version };
        if found > version {
            return Err(newer(found));
        }
        self.transact("migrating tables", |tx| {
            let found = schema_version(tx, room)?;
            if found > version {
                return Err(newer(found).into());
            }
            if found < version {
                migrate(tx, found)?;
                tx.execute("INSERT OR REPLACE INTO schemas(room, version) VALUES(?1, ?2)", params![room, version])?;
            }
            Ok(())
        })
    }

    /// Like [`write`](Self::write), for transactions that move files too.
    pub(crate) fn transact<T>(
        &self,
        action: &'static str,
        f: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let wrap = |failure| match failure {
            Failure::Sql(source) => fail(action, &self.path, source),
            Failure::Store(error) => error,
        };
        let tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|source| fail(action, &self.path, source))?;
        let value = f(&tx).map_err(wrap)?;
        tx.commit().map_err(|source| fail(action, &self.path, source))?;
        Ok(value)
    }

    /// Gives unused pages and the log back to the file system, unless somebody is in the way.
    pub(crate) fn compact(&self) -> Result<()> {
        let connection = self.lock();
        // Each row is a page given back; the checkpoint's row tells whether it was in somebody's way.
        let run = |sql: &str| {
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        let compacted = connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| run("PRAGMA incremental_vacuum"))
            .and_then(|()| run("PRAGMA wal_checkpoint(TRUNCATE)"));
        let restored = connection.busy_timeout(PATIENCE);
        match compacted.and(restored) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
            other => other.map_err(|source| fail("compacting", &self.path, source)),
        }
    }

    /// A panic in a closure rolled its transaction back, so the connection is sound.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn user_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn schema_version(connection: &Connection, room: &str) -> rusqlite::Result<u32> {
    let found = connection
        .prepare_cached("SELECT version FROM schemas WHERE room = ?1")?
        .query_row([room], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

fn fail(action: &'static str, path: &Path, source: rusqlite::Error) -> Error {
    let path = path.to_owned();
    if source.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        return Error::NoSpace { action, path, source: std::io::Error::other(source) };
    }
    Error::Database { action, path, source }
}
