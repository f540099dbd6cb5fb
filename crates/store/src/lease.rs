//! Leases: what a running session has made or uses stays until the session ends.
//!
//! A lease is a file that its process keeps locked, and rows that say what it holds. It is made when
//! the first thing is held. A lease whose file can be locked by somebody else belongs to a dead process.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rbuild_oci::Digest;
use rusqlite::{Transaction, params};

use crate::database::Failure;
use crate::error::{Context, Result};
use crate::lock::{self, LockMode};
use crate::store::{Shared, make_dir, millis};
use crate::{LayerId, Store, gc, trash};

#[derive(Debug)]
pub(crate) struct Lease {
    shared: Arc<Shared>,
    id: String,
    file: Mutex<Option<File>>,
    held: Mutex<Held>,
    temp: OnceLock<PathBuf>,
}

/// What is known to be in the lease's rows, so that it is not written again.
#[derive(Debug, Default)]
struct Held {
    row: bool,
    layers: HashSet<LayerId>,
    blobs: HashSet<Digest>,
}

impl Lease {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, id: trash::random_name(), file: Mutex::new(None), held: Mutex::default(), temp: OnceLock::new() }
    }

    pub(crate) fn temp_dir(&self) -> Result<&Path> {
        if let Some(path) = self.temp.get() {
            return Ok(path);
        }
        self.ensure_file()?;
        let path = self.shared.layout.tmp().join(&self.id);
        make_dir(&path)?;
        Ok(self.temp.get_or_init(|| path))
    }

    pub(crate) fn holds_blob(&self, digest: &Digest) -> bool {
        guard(&self.held).blobs.contains(digest)
    }

    /// Must come before the transaction in which something is held.
    pub(crate) fn ensure_file(&self) -> Result<()> {
        let mut file = guard(&self.file);
        if file.is_none() {
            *file = Some(lock::lock_file(&self.path(), LockMode::Exclusive)?);
        }
        Ok(())
    }

    pub(crate) fn hold_layers(&self, tx: &Transaction<'_>, layers: &[LayerId]) -> Result<(), Failure> {
        self.ensure_row(tx)?;
        let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO lease_layers(lease, layer) VALUES(?1, ?2)")?;
        for layer in layers {
            insert.execute(params![self.id, layer])?;
        }
        Ok(())
    }

    pub(crate) fn hold_blob(&self, tx: &Transaction<'_>, digest: &Digest) -> Result<(), Failure> {
        self.ensure_row(tx)?;
        tx.prepare_cached("INSERT OR IGNORE INTO lease_blobs(lease, digest) VALUES(?1, ?2)")?
            .execute(params![self.id, digest.as_bytes()])?;
        Ok(())
    }

    /// Remembers, after the transaction was committed, what it has held.
    pub(crate) fn committed(&self, layers: &[LayerId], blobs: &[Digest]) {
        let mut held = guard(&self.held);
        held.row = true;
        held.layers.extend(layers);
        held.blobs.extend(blobs);
    }

    fn ensure_row(&self, tx: &Transaction<'_>) -> Result<(), Failure> {
        if !guard(&self.held).row {
            let pid = std::process::id();
            let now = millis((self.shared.clock)());
            tx.prepare_cached("INSERT OR IGNORE INTO leases(id, created, pid) VALUES(?1, ?2, ?3)")?
                .execute(params![self.id, now, pid])?;
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.shared.layout.leases().join(&self.id)
    }
}

/// Ends the lease. Whatever fails here is done again for a dead process by the next collection.
impl Drop for Lease {
    fn drop(&mut self) {
        if guard(&self.held).row {
            let _ = self.shared.database.write("ending a lease", |tx| delete_row(tx, &self.id));
        }
        if let Some(path) = self.temp.get() {
            let _ = fs::remove_dir(path).or_else(|_| trash::remove_now(&self.shared.layout, path));
        }
        if guard(&self.file).is_some() {
            let _ = fs::remove_file(self.path());
        }
    }
}

fn delete_row(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM leases WHERE id = ?1")?.execute([id]).map(|_| ())
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Ends the leases of dead processes and throws their temporary files away; returns how many there were.
    ///
    /// # Errors
    /// If files or rows cannot be removed.
    pub fn reap_leases(&self) -> Result<usize> {
        let layout = &self.shared.layout;
        let mut ids = self.database().read("reading leases", |c| {
            c.prepare_cached("SELECT id FROM leases")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<HashSet<String>, _>>()
        })?;
        for directory in [layout.leases(), layout.tmp()] {
            for entry in fs::read_dir(&directory).on("reading", &directory)? {
                ids.insert(entry.on("reading", &directory)?.file_name().to_string_lossy().into_owned());
            }
        }
        let mut dead = 0;
        for id in ids {
            dead += usize::from(self.reap(&id)?);
        }
        Ok(dead)
    }

    /// Removes the lock files of steps whose builds were killed.
    pub(crate) fn reap_steps(&self) -> Result<()> {
        use std::os::unix::fs::MetadataExt;
        let directory = self.shared.layout.steps();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).on("reading", &directory),
        };
        for entry in entries {
            let path = entry.on("reading", &directory)?.path();
            let Ok(file) = File::open(&path) else { continue };
            if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            // A build that waits for this lock finds that the name is gone, and makes it anew.
            let (ours, named) = (file.metadata().on("reading", &path)?, fs::metadata(&path));
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
                fs::remove_file(&path).on("removing", &path)?;
            }
        }
        Ok(())
    }

    /// Throws away the temporary files of dead processes, which takes no row: on a full disk there is no room for one.
    pub(crate) fn discard_temporaries(&self) -> Result<()> {
        let layout = &self.shared.layout;
        for id in gc::list(&layout.tmp())? {
            if let Some(_lock) = self.lock_dead(&id)? {
                trash::discard(layout, &layout.tmp().join(id))?;
            }
        }
        Ok(())
    }

    fn reap(&self, id: &str) -> Result<bool> {
        let layout = &self.shared.layout;
        let path = layout.leases().join(id);
        // Locked while it is cleared: a session that is just opening this file will see that it lost its name.
        let Some(lock) = self.lock_dead(id)? else { return Ok(false) };
        self.database().write("ending a lease", |tx| delete_row(tx, id))?;
        trash::discard(layout, &layout.tmp().join(id))?;
        if lock.is_some() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).on("removing", &path),
                _ => {}
            }
        }
        Ok(true)
    }

    /// Locks the file, if there is one, of a lease whose process is dead; `None` if it lives.
    fn lock_dead(&self, id: &str) -> Result<Option<Option<File>>> {
        let path = self.shared.layout.leases().join(id);
        let lock = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).on("opening", &path),
        };
        let alive = |file| lock::try_lock(file, LockMode::Exclusive).on("locking", &path).map(|free| !free);
        let alive = lock.as_ref().map(alive).transpose()?.unwrap_or(false);
        Ok((!alive).then_some(lock))
    }
}
