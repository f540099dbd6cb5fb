//! The history of builds.

use std::time::SystemTime;

use rusqlite::{Row, params};

use crate::error::Result;
use crate::store::{millis, time};
use crate::{Store, trash};

/// How many builds are remembered.
const KEPT: u32 = 100;

/// How a build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildStatus {
    /// It runs, or its process was killed.
    Running,
    /// It succeeded.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl BuildStatus {
    /// Returns the status as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn from_name(name: &str) -> Self {
        [Self::Completed, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == name)
            .unwrap_or(Self::Running)
    }
}

/// One build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRecord {
    /// Its id.
    pub id: String,
    /// What was built, for people.
    pub name: String,
    /// How it stands.
    pub status: BuildStatus,
    /// When it began.
    pub started: SystemTime,
    /// When it ended.
    pub finished: Option<SystemTime>,
    /// Whatever the builder wants to remember of it.
    pub detail: String,
}

/// The history of builds.
#[derive(Debug, Clone, Copy)]
pub struct Builds<'a> {
    store: &'a Store,
}

impl<'a> Builds<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Records that a build begins; returns its id. Only the last hundred builds are remembered.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn start(&self, name: &str) -> Result<String> {
        let id = trash::random_name();
        let now = millis(self.store.now());
        self.store.database().write("recording a build", |tx| {
            tx.execute(
                "INSERT INTO builds(id, name, status, started, detail) VALUES(?1, ?2, ?3, ?4, '')",
                params![id, name, BuildStatus::Running.as_str(), now],
            )?;
            tx.execute("DELETE FROM builds WHERE number <= (SELECT max(number) FROM builds) - ?1", [KEPT])
        })?;
        Ok(id)
    }

    /// Records that a build ended.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn finish(&self, id: &str, status: BuildStatus, detail: &str) -> Result<()> {
        let now = millis(self.store.now());
        self.store.database().write("recording a build", |tx| {
            tx.execute(
                "UPDATE builds SET status = ?2, finished = ?3, detail = ?4 WHERE id = ?1",
                params![id, status.as_str(), now, detail],
            )
            .map(|_| ())
        })
    }

    /// Lists the builds, the youngest first.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn list(&self) -> Result<Vec<BuildRecord>> {
        self.store.database().read("listing builds", |c| {
            c.prepare_cached("SELECT id, name, status, started, finished, detail FROM builds ORDER BY number DESC")?
                .query_map([], record)?
                .collect()
        })
    }

    /// Forgets a build; returns whether it was there.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn remove(&self, id: &str) -> Result<bool> {
        let removed = self
            .store
            .database()
            .write("forgetting a build", |tx| tx.execute("DELETE FROM builds WHERE id = ?1", [id]))?;
        Ok(removed > 0)
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<BuildRecord> {
    Ok(BuildRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        status: BuildStatus::from_name(&row.get::<_, String>(2)?),
        started: time(row.get(3)?),
        finished: row.get::<_, Option<i64>>(4)?.map(time),
        detail: row.get(5)?,
    })
}
