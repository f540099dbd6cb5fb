//! A cache in a SQLite database, shared by any number of processes.
//!
//! Its tables all begin with `cache_` and may stand in a database beside others. The database is in
//! WAL mode with `synchronous=NORMAL`: readers never wait, few commits cost an fsync, and losing power
//! loses the last commits but nothing of what they stood on. A record may then outlive the layers
//! it speaks of, which is why loading one may always find nothing.
//!
//! Integers are milliseconds since 1970 (`*_at`) and bytes (`size`); keys are their 32 raw bytes.

mod prune;
mod rows;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::cache::renewal::former_names;
use crate::cache::{CacheError, CacheStorage, Change, Count, NewRecord, Others, Record};
use crate::key::{Key, Link, Origin, Via};
use rows::{key_of, millis, selector_bytes};

/// How long a request waits for other processes' commits.
const BUSY: Duration = Duration::from_secs(30);

/// A cache in a SQLite database.
#[derive(Debug)]
pub struct SqliteCache {
    /// Reads, which never wait, and the one write at a build's end.
    connection: Mutex<Connection>,
    /// All other writes, which may wait for other processes' writes: reads shall not wait with them.
    /// Opened when first needed; a build that finds everything does not.
    writer: Mutex<Option<Connection>>,
}

impl SqliteCache {
    /// Opens the cache in the database file `path`, creating both if need be.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let connection = Connection::open(path).map_err(|source| CacheError::Open { path: path.to_owned(), source })?;
        Self::new(connection)
    }

    /// Uses the database behind `connection`, creating or migrating the cache's tables if need be.
    pub fn new(mut connection: Connection) -> Result<Self, CacheError> {
        connection.busy_timeout(BUSY).map_err(wrap("configuring"))?;
        schema::configure(&connection).map_err(wrap("configuring"))?;
        schema::migrate(&mut connection)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self { connection: Mutex::new(connection), writer: Mutex::new(None) })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` in one transaction that holds the write lock from its beginning, so that it never
    /// fails halfway for another writer's sake.
    fn write<T>(
        &self,
        task: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CacheError> {
        let path = self.connection().path().filter(|path| !path.is_empty()).map(PathBuf::from);
        let Some(path) = path else {
            return transact(&mut self.connection(), work).map_err(wrap(task));
        };
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_none() {
            let open = || {
                let connection = Connection::open(&path)?;
                connection.busy_timeout(BUSY)?;
                schema::configure(&connection)?;
                connection.set_prepared_statement_cache_capacity(32);
                Ok(connection)
            };
            *writer = Some(open().map_err(|source| CacheError::Open { path, source })?);
        }
        let writer = writer.as_mut().expect("it was just opened");
        transact(writer, work).map_err(wrap(task))
    }
}

fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

fn wrap(task: &'static str) -> impl Fn(rusqlite::Error) -> CacheError {
    move |source| CacheError::Database { task, source }
}

impl CacheStorage for SqliteCache {
    fn follow(&self, ways: &[(Key, Via)]) -> Result<Vec<Vec<Key>>, CacheError> {
        let connection = self.connection();
        ways.iter()
            .map(|(source, via)| targets(&connection, source, via))
            .collect::<Result<_, _>>()
            .map_err(wrap("following links"))
    }

    fn record(&self, key: &Key) -> Result<Option<Vec<u8>>, CacheError> {
        let connection = self.connection();
        let find = || {
            let mut statement = connection.prepare_cached("SELECT result FROM cache_records WHERE key = ?")?;
            statement.query_row([key.as_bytes()], |row| row.get(0)).optional()
        };
        find().map_err(wrap("looking for a record"))
    }

    fn commit(&self, change: &Change) -> Result<(), CacheError> {
        self.write("writing links and records", |connection| {
            for (key, origin) in &change.origins {
                rows::insert_origin(connection, key, origin)?;
            }
            for link in &change.links {
                insert_link(connection, link)?;
            }
            if change.others == Others::Replace {
                replace(connection, &change.links)?;
            }
            for record in &change.records {
                insert_record(connection, record, change.at)?;
            }
            Ok(())
        })
    }

    fn forget(&self, key: &Key, result: &[u8]) -> Result<(), CacheError> {
        self.write("forgetting a record", |connection| {
            connection
                .prepare_cached("DELETE FROM cache_records WHERE key = ? AND result = ?")?
                .execute(params![key.as_bytes(), result])?;
            Ok(())
        })
    }

    fn touch(&self, keys: &[Key], at: SystemTime) -> Result<(), CacheError> {
        let touch = |connection: &Connection| {
            let mut statement = connection
                .prepare_cached("UPDATE cache_records SET last_used_at = ?, use_count = use_count + 1 WHERE key = ?")?;
            for key in keys {
                statement.execute(params![millis(at), key.as_bytes()])?;
            }
            Ok(())
        };
        transact(&mut self.connection(), touch).map_err(wrap("noting the use of records"))
    }

    fn records(&self) -> Result<Vec<Record>, CacheError> {
        rows::records(&self.connection()).map_err(wrap("listing records"))
    }

    fn remove(&self, keys: &[Key]) -> Result<usize, CacheError> {
        self.write("removing records", |connection| prune::remove(connection, keys))
    }

    fn origin(&self, key: &Key) -> Result<Option<Origin>, CacheError> {
        rows::origin(&self.connection(), key).map_err(wrap("looking for a key"))
    }

    fn links_to(&self, key: &Key) -> Result<Vec<Link>, CacheError> {
        rows::links_to(&self.connection(), key).map_err(wrap("following links back"))
    }

    fn count(&self) -> Result<Count, CacheError> {
        rows::count(&self.connection()).map_err(wrap("counting"))
    }
}

fn targets(connection: &Connection, source: &Key, via: &Via) -> rusqlite::Result<Vec<Key>> {
    let mut statement = connection.prepare_cached(
        "SELECT target FROM cache_links
         WHERE source = ? AND operation = ? AND input = ? AND output = ? AND selector = ?",
    )?;
    let way = params![source.as_bytes(), via.operation.as_bytes(), via.input, via.output, selector_bytes(via)];
    statement.query_map(way, |row| key_of(row, 0))?.collect()
}

fn insert_link(connection: &Connection, link: &Link) -> rusqlite::Result<()> {
    let via = &link.via;
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO cache_links (source, operation, input, output, selector, target)
             VALUES (?, ?, ?, ?, ?, ?)",
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

fn insert_record(connection: &Connection, record: &NewRecord, at: SystemTime) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO cache_records (key, result, size, description, created_at, last_used_at, use_count)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0)
             ON CONFLICT (key) DO UPDATE SET result = ?2, size = ?3, description = ?4, created_at = ?5,
                 last_used_at = ?5",
        )?
        .execute(params![
            record.key.as_bytes(),
            record.result,
            record.size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
            record.description,
            millis(at)
        ])?;
    Ok(())
}

/// Lets what led to former names of the targets of `links` lead to the targets.
fn replace(connection: &Connection, links: &[Link]) -> rusqlite::Result<()> {
    for (old, new) in former_names(links, |source, via| targets(connection, source, via))? {
        prune::supersede(connection, &old, &new)?;
    }
    Ok(())
}
