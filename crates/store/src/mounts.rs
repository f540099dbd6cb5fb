//! Cache mounts: directories that outlive the steps that use them.
//!
//! ```text
//! cachemounts/<hash of id>/0/data     what all sharing modes use if they can
//!                         /0/ready    it was seeded; without it, whoever comes next seeds it
//!                         /0.lock     shared: many steps; locked and private: one step
//!                         /1/…        for a private mount while 0 is in use
//! ```
//!
//! Copies of clients' directories lie here too, as `cachemounts/local-<hash of key>/…`: they are wanted by one
//! build at a time, and may be pruned when none wants them. Beside their data stands the boot they were written in:
//! a power cut may have taken contents whose sizes and times stayed.
//!
//! A lock file stays as long as its directory. A step that wants several mounts takes them in one call,
//! in the order of their hashes, so that two steps never wait for each other.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_oci::Digest;
use rusqlite::params;

use crate::error::{Context, Error, Result};
use crate::lock::{self, LockMode};
use crate::store::{make_dir, millis};
use crate::{Store, gc, trash};

/// What names of copies of clients' directories begin with.
pub(crate) const LOCAL_PREFIX: &str = "local-";

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sharing {
    /// Any number of steps.
    Shared,
    /// One step; another one gets a directory of its own.
    Private,
    /// One step; another one waits.
    Locked,
}

/// A cache mount that a step wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMountRequest {
    /// Names the mount; whatever decides about its identity is in it.
    pub id: String,
    /// Who may use it at the same time.
    pub sharing: Sharing,
    /// Whether it is to be emptied first, as `--no-cache` demands.
    pub reset: bool,
}

/// A cache mount in use; dropping it lets go.
#[derive(Debug)]
pub struct CacheMount {
    slot: PathBuf,
    file: File,
    lock_path: PathBuf,
    sharing: Sharing,
    fresh: bool,
}

/// The cache mounts of a store.
#[derive(Debug, Clone, Copy)]
pub struct CacheMounts<'a> {
    store: &'a Store,
}

impl CacheMount {
    /// Returns the directory.
    pub fn path(&self) -> PathBuf {
        self.slot.join("data")
    }

    /// Records that the directory has what it should begin with; without that, whoever comes next empties
    /// it. A shared mount is shared from here on; returns false if it was lost on the way.
    fn seeded(&mut self) -> Result<bool> {
        File::create(self.ready()).on("creating", &self.ready())?;
        self.fresh = false;
        self.share()
    }

    /// Lets others in if the mount may be shared; returns false if one of them took it away.
    fn share(&self) -> Result<bool> {
        Ok(self.sharing != Sharing::Shared
            || lock::relock(&self.file, LockMode::Shared, &self.lock_path)? && self.ready().exists())
    }

    fn ready(&self) -> PathBuf {
        self.slot.join("ready")
    }
}

impl<'a> CacheMounts<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Takes all mounts of one step, waiting for those that are locked by others. The answers are in the order
    /// of the requests; equal ids get the same mount, by the strictest of their modes.
    ///
    /// `seed` is called for each new directory (empty, mode 0755), while nobody else has it, to put in what it
    /// should begin with.
    ///
    /// # Errors
    /// If a directory or lock cannot be made, or `seed` fails; then no mount is taken.
    pub fn acquire<E: From<Error>>(
        &self,
        requests: &[CacheMountRequest],
        mut seed: impl FnMut(&CacheMountRequest, &Path) -> Result<(), E>,
    ) -> Result<Vec<Arc<CacheMount>>, E> {
        let mut wanted: Vec<(String, CacheMountRequest)> = Vec::new();
        for request in requests {
            match wanted.iter_mut().find(|(_, known)| known.id == request.id) {
                Some((_, known)) => {
                    known.sharing = known.sharing.max(request.sharing);
                    known.reset |= request.reset;
                }
                None => wanted.push((hash(&request.id), request.clone())),
            }
        }
        wanted.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut taken: Vec<(String, Arc<CacheMount>)> = Vec::with_capacity(wanted.len());
        for (hash, request) in wanted {
            let mount = loop {
                let mut mount = self.take(&hash, &request)?;
                if !mount.fresh {
                    break mount;
                }
                seed(&request, &mount.path())?;
                if mount.seeded()? {
                    break mount;
                }
            };
            taken.push((request.id, Arc::new(mount)));
        }
        let find = |id: &str| taken.iter().find(|(known, _)| known == id).map(|(_, mount)| Arc::clone(mount));
        Ok(requests.iter().map(|request| find(&request.id).expect("each requested id was taken")).collect())
    }

    /// Takes a directory for a copy of a client's directory: the one that held its last copy if nobody uses that,
    /// else one of its own. What `key` says decides about its identity, `description` is for people.
    ///
    /// # Errors
    /// If a directory or lock cannot be made.
    pub fn copy_of_local(&self, key: &str, description: &str) -> Result<CacheMount> {
        let request = CacheMountRequest { id: description.to_owned(), sharing: Sharing::Private, reset: false };
        // No id of a cache mount has such a name.
        let mut mount = self.take(&format!("{LOCAL_PREFIX}{}", hash(key)), &request)?;
        let boot_path = mount.slot.join("boot");
        let boot = self.store.boot();
        if !mount.fresh && fs::read_to_string(&boot_path).ok().as_deref() == Some(boot) {
            return Ok(mount);
        }
        if !mount.fresh {
            self.make_slot(&mount)?;
        }
        fs::write(&boot_path, boot).on("writing", &boot_path)?;
        mount.seeded()?;
        Ok(mount)
    }

    /// Makes an empty directory for a mount, which is locked.
    fn make_slot(&self, mount: &CacheMount) -> Result<()> {
        trash::discard(&self.store.shared.layout, &mount.slot)?;
        make_dir(&mount.slot)?;
        make_dir(&mount.path())?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(mount.path(), mode).on("restricting", &mount.path())
    }

    fn take(&self, hash: &str, request: &CacheMountRequest) -> Result<CacheMount> {
        let directory = self.store.shared.layout.cache_mounts().join(hash);
        for number in 0_u32.. {
            make_dir(&directory)?;
            let lock_path = directory.join(format!("{number}.lock"));
            let slot = directory.join(number.to_string());
            let exclusive = |file| (file, LockMode::Exclusive);
            let locked = match request.sharing {
                Sharing::Private => {
                    lock::try_lock_file(&lock_path, LockMode::Exclusive).map(|file| file.map(exclusive))
                }
                Sharing::Shared if !request.reset => lock_to_share(&lock_path, &slot.join("ready")).map(Some),
                _ => lock::lock_file(&lock_path, LockMode::Exclusive).map(|file| Some(exclusive(file))),
            };
            let (file, mode) = match locked {
                Ok(Some(locked)) => locked,
                Ok(None) => continue,
                Err(error) if is_gone(&error) => return self.take(hash, request),
                Err(error) => return Err(error),
            };
            return self.enter(
                hash,
                number,
                request,
                CacheMount { fresh: mode == LockMode::Exclusive, slot, file, lock_path, sharing: request.sharing },
            );
        }
        unreachable!("there are more numbers than processes")
    }

    /// Prepares a locked slot. `mount.fresh` says whether the lock is exclusive.
    fn enter(&self, hash: &str, number: u32, request: &CacheMountRequest, mut mount: CacheMount) -> Result<CacheMount> {
        let exclusive = mount.fresh;
        let ready = mount.ready().exists();
        if !exclusive && !ready {
            // Reset or pruned while this step waited.
            drop(mount);
            return self.take(hash, request);
        }
        mount.fresh = exclusive && (request.reset || !ready);
        if mount.fresh {
            self.make_slot(&mount)?;
        } else if exclusive && !mount.share()? {
            return self.take(hash, request);
        }
        let now = millis(self.store.now());
        self.store.database().write("recording a cache mount", |tx| {
            tx.prepare_cached(
                "INSERT INTO cache_mounts(hash, slot, id, created, used, uses) VALUES(?1, ?2, ?3, ?4, ?4, 1)
                 ON CONFLICT(hash, slot) DO UPDATE SET used = ?4, uses = uses + 1",
            )?
            .execute(params![hash, number, request.id, now])
        })?;
        Ok(mount)
    }
}

/// Locks a mount that others may use at the same time: for itself as long as it is to be seeded.
///
/// Whoever seeds it goes on to share it, perhaps for long. So its lock is never waited for but to see whether it is
/// seeded then.
fn lock_to_share(lock_path: &Path, ready: &Path) -> Result<(File, LockMode)> {
    loop {
        if !ready.exists()
            && let Some(file) = lock::try_lock_file(lock_path, LockMode::Exclusive)?
        {
            return Ok((file, LockMode::Exclusive));
        }
        let file = lock::lock_file(lock_path, LockMode::Shared)?;
        if ready.exists() {
            return Ok((file, LockMode::Shared));
        }
    }
}

/// Removes a mount that nobody uses; returns whether it could be.
pub(crate) fn remove(store: &Store, hash: &str, number: u32) -> Result<bool> {
    remove_if(store, hash, number, || Ok(true))
}

/// Removes directories and locks of mounts that were never recorded: their maker was killed.
pub(crate) fn sweep(store: &Store) -> Result<()> {
    let root = store.shared.layout.cache_mounts();
    for hash in gc::list(&root)? {
        let directory = root.join(&hash);
        let names = gc::list(&directory).or_else(|error| if is_gone(&error) { Ok(Vec::new()) } else { Err(error) })?;
        let numbers: BTreeSet<u32> =
            names.iter().filter_map(|name| name.trim_end_matches(".lock").parse().ok()).collect();
        for number in numbers {
            let unrecorded = || Ok(!is_recorded(store, &hash, number)?);
            if unrecorded()? {
                remove_if(store, &hash, number, unrecorded)?;
            }
        }
        // Fails unless nothing is in it.
        let _ = fs::remove_dir(&directory);
    }
    Ok(())
}

fn is_recorded(store: &Store, hash: &str, number: u32) -> Result<bool> {
    store.database().read("looking up a cache mount", |c| {
        c.prepare_cached("SELECT 1 FROM cache_mounts WHERE hash = ?1 AND slot = ?2")?.exists(params![hash, number])
    })
}

/// Removes a mount that nobody uses, if `wanted` still says so once it is locked.
fn remove_if(store: &Store, hash: &str, number: u32, wanted: impl Fn() -> Result<bool>) -> Result<bool> {
    let layout = &store.shared.layout;
    let directory = layout.cache_mounts().join(hash);
    let lock_path = directory.join(format!("{number}.lock"));
    let _held = match lock::try_lock_file(&lock_path, LockMode::Exclusive) {
        Ok(Some(held)) => held,
        Ok(None) => return Ok(false),
        Err(error) if is_gone(&error) => return forget_gone(store, hash, number).map(|()| true),
        Err(error) => return Err(error),
    };
    if !wanted()? {
        return Ok(false);
    }
    trash::discard(layout, &directory.join(number.to_string()))?;
    forget(store, hash, number)?;
    fs::remove_file(&lock_path).on("removing", &lock_path)?;
    // Fails while other slots are there.
    let _ = fs::remove_dir(&directory);
    Ok(true)
}

/// Whether somebody uses a mount.
pub(crate) fn in_use(store: &Store, hash: &str, number: u32) -> bool {
    let lock_path = store.shared.layout.cache_mounts().join(hash).join(format!("{number}.lock"));
    File::open(lock_path).is_ok_and(|file| !matches!(lock::try_lock(&file, LockMode::Exclusive), Ok(true)))
}

fn forget(store: &Store, hash: &str, number: u32) -> Result<()> {
    store.database().write("forgetting a cache mount", |tx| {
        tx.execute("DELETE FROM cache_mounts WHERE hash = ?1 AND slot = ?2", params![hash, number]).map(|_| ())
    })
}

/// Forgets a mount whose directory is gone, unless a step is making it again: that one records it afterwards.
fn forget_gone(store: &Store, hash: &str, number: u32) -> Result<()> {
    let directory = store.shared.layout.cache_mounts().join(hash);
    store.database().write("forgetting a cache mount", |tx| {
        if !directory.exists() {
            tx.execute("DELETE FROM cache_mounts WHERE hash = ?1 AND slot = ?2", params![hash, number])?;
        }
        Ok(())
    })
}

/// The directory was pruned between its making and its use.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

fn hash(id: &str) -> String {
    Digest::of(id.as_bytes()).hex()[..32].to_owned()
}
