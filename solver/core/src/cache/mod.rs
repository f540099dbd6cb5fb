//! The memory of the solver: links from the keys of inputs to those of outputs, and records of results.
//!
//! ```text
//! key(FROM alpine) ──RUN a, input 0──▶ key(RUN a) ──COPY, input 0──▶ key(COPY) ─▶ …
//!                                        │ record           ▲ │ record
//! content(./src)  ──COPY, input 1──────────────────────────┘
//! ```
//!
//! A key without a record is still worth having: what was made of it may have one.

mod memory;
mod renewal;
mod sqlite;

use std::path::PathBuf;
use std::time::SystemTime;

pub use memory::MemoryCache;
pub use sqlite::SqliteCache;

use crate::key::{Key, Link, Origin, Via};

/// Why the cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The database file could not be opened.
    #[error("opening the cache database `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The database refused a request.
    #[error("{task} in the cache database")]
    Database {
        /// What was attempted.
        task: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The database was written by a newer program.
    #[error("the cache database has version {found}, this program knows versions up to {known}")]
    Version {
        /// The version found.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// The thread doing the request panicked.
    #[error("{task} in the cache database did not end")]
    Lost {
        /// What was attempted.
        task: &'static str,
    },
}

/// Where links and records are kept. Calls are short but may wait for the disk.
pub trait CacheStorage: Send + Sync + 'static {
    /// Returns where each of the `ways` leads.
    fn follow(&self, ways: &[(Key, Via)]) -> Result<Vec<Vec<Key>>, CacheError>;

    /// Returns what is recorded as the result of `key`.
    fn record(&self, key: &Key) -> Result<Option<Vec<u8>>, CacheError>;

    /// Writes links and records, all or nothing.
    fn commit(&self, change: &Change) -> Result<(), CacheError>;

    /// Removes the record of `key` if it still is `result`, which can no longer be loaded.
    fn forget(&self, key: &Key, result: &[u8]) -> Result<(), CacheError>;

    /// Notes that the records of `keys` were of use; those without a record are passed over.
    fn touch(&self, keys: &[Key], at: SystemTime) -> Result<(), CacheError>;

    /// Returns all records, least recently used first.
    fn records(&self) -> Result<Vec<Record>, CacheError>;

    /// Removes the records of `keys`, then all links that lead to no record or can no longer be
    /// reached. Returns how many records went in all.
    fn remove(&self, keys: &[Key]) -> Result<usize, CacheError>;

    /// Removes the records of which `is_lost` says that their results can no longer be loaded, then the
    /// links that were there for them. Returns how many records went in all.
    ///
    /// A result that is made again meanwhile stays.
    fn remove_lost(&self, is_lost: &mut dyn FnMut(&Record) -> bool) -> Result<usize, CacheError> {
        let lost: Vec<_> = self.records()?.into_iter().filter(|record| is_lost(record)).collect();
        for record in &lost {
            self.forget(&record.key, &record.result)?;
        }
        Ok(lost.len() + self.remove(&[])?)
    }

    /// Returns where a key comes from, if it is known.
    fn origin(&self, key: &Key) -> Result<Option<Origin>, CacheError>;

    /// Returns the links that lead to a key.
    fn links_to(&self, key: &Key) -> Result<Vec<Link>, CacheError>;

    /// Returns how much is kept.
    fn count(&self) -> Result<Count, CacheError>;
}

/// What is written after an operation ran, or after a result was found by a new way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where the keys used below come from.
    pub origins: Vec<(Key, Origin)>,
    /// Links to add.
    pub links: Vec<Link>,
    /// What becomes of links that lead elsewhere by the same ways.
    pub others: Others,
    /// Records to add or to replace.
    pub records: Vec<NewRecord>,
    /// When.
    pub at: SystemTime,
}

/// What becomes of links that lead elsewhere by the same ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They stay.
    Keep,
    /// The step was done anew on purpose. Whatever led to a former name of its output, one that all
    /// inputs lead to, leads to the new one; the former result, and what could be reached only through
    /// it, go: what was made of it must not be found any more.
    Replace,
}

/// A result to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Its key.
    pub key: Key,
    /// What a result store made of it.
    pub result: Vec<u8>,
    /// Its size in bytes, if known.
    pub size: Option<u64>,
    /// The name of the vertex that made it.
    pub description: String,
}

/// A recorded result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Key,
    /// What a result store made of it.
    pub result: Vec<u8>,
    /// Its size in bytes, if known.
    pub size: Option<u64>,
    /// The name of the vertex that made it.
    pub description: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last of use.
    pub last_used_at: SystemTime,
    /// How often it was of use.
    pub use_count: u64,
}

/// How much a cache holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Keys of known origin.
    pub keys: u64,
    /// Links.
    pub links: u64,
    /// Records.
    pub records: u64,
}
