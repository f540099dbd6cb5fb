//! Opening a store, and the handle that leads to its parts.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::database::Database;
use crate::error::{Context, Error, Result};
use crate::layout::{self, Layout};
use crate::lease::Lease;
use crate::lock::{self, LockMode, NamedLock};
use crate::{Blobs, Builds, CacheMounts, Images, Layers, Results, index, prune, trash};

/// How a store is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The clock that times of creation and use are taken from.
    pub clock: fn() -> SystemTime,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: SystemTime::now }
    }
}

/// A store on disk, together with a lease for what this handle makes and uses.
///
/// Clones share the lease; it ends when the last of them is dropped. A long-lived process takes a
/// [`session`](Self::session) for each piece of work.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lease: Arc<Lease>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) database: Database,
    pub(crate) index_dirty: AtomicBool,
    pub(crate) clock: fn() -> SystemTime,
    boot: OnceLock<String>,
}

impl Store {
    /// Opens the store at `root`; makes it if there is none.
    ///
    /// # Errors
    /// If the directory is something else, belongs to another user, or was made by a newer program.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_with(root, Options::default())
    }

    /// Opens the store at `root` with a given clock.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(root: &Path, options: Options) -> Result<Self> {
        let root = &std::path::absolute(root).on("resolving", root)?;
        let layout = Layout::new(root);
        let create = match read_version(&layout)? {
            Some(version) if version > layout::VERSION => {
                let (what, known) = ("layout".to_owned(), layout::VERSION);
                return Err(Error::Newer { root: root.clone(), what, found: version, known });
            }
            Some(_) => false,
            None => true,
        };
        if create {
            prepare(&layout)?;
        }
        check_owner(root)?;
        let database = Database::open(root, &layout.database(), create)?;
        if create {
            write_version(&layout)?;
        }
        let shared = Arc::new(Shared {
            layout,
            database,
            index_dirty: AtomicBool::new(false),
            clock: options.clock,
            boot: OnceLock::new(),
        });
        let lease = Arc::new(Lease::new(Arc::clone(&shared)));
        Ok(Self { shared, lease })
    }

    /// Returns a handle to the same store with a lease of its own.
    pub fn session(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), lease: Arc::new(Lease::new(Arc::clone(&self.shared))) }
    }

    /// Returns the store's directory.
    pub fn root(&self) -> &Path {
        self.shared.layout.root()
    }

    /// Returns the index, where other rooms keep tables of their own.
    pub fn database(&self) -> &Database {
        &self.shared.database
    }

    /// Returns the content-addressed files.
    pub fn blobs(&self) -> Blobs<'_> {
        Blobs::new(self)
    }

    /// Returns the layers.
    pub fn layers(&self) -> Layers<'_> {
        Layers::new(self)
    }

    /// Returns the images.
    pub fn images(&self) -> Images<'_> {
        Images::new(self)
    }

    /// Returns the solver's results.
    pub fn results(&self) -> Results<'_> {
        Results::new(self)
    }

    /// Returns the history of builds.
    pub fn builds(&self) -> Builds<'_> {
        Builds::new(self)
    }

    /// Returns the cache mounts.
    pub fn cache_mounts(&self) -> CacheMounts<'_> {
        CacheMounts::new(self)
    }

    /// Waits for the lock `name` among all processes of this store.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub fn lock(&self, name: &str, mode: LockMode) -> Result<NamedLock> {
        lock::named(&self.shared.layout.locks(), name, mode)
    }

    /// Takes the lock `name` if nobody is in the way.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn try_lock(&self, name: &str, mode: LockMode) -> Result<Option<NamedLock>> {
        lock::try_named(&self.shared.layout.locks(), name, mode)
    }

    /// Returns a private directory for temporary files, on the store's file system; it goes with the lease.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn temp_dir(&self) -> Result<&Path> {
        self.lease.temp_dir()
    }

    /// Returns the directory in which the solver locks the steps that run, made at the first call.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn steps_dir(&self) -> Result<PathBuf> {
        let path = self.shared.layout.steps();
        if !path.is_dir() {
            make_dir(&path).or_else(|error| if path.is_dir() { Ok(()) } else { Err(error) })?;
        }
        Ok(path)
    }

    /// Returns where the solver keeps its tables.
    pub fn cache_path(&self) -> PathBuf {
        self.shared.layout.database().with_file_name("cache.sqlite")
    }

    /// Returns the directory in which memories of build contexts are kept, one file each; a file must be
    /// replaced whole, by renaming a temporary one.
    pub fn contexts_dir(&self) -> PathBuf {
        self.shared.layout.contexts()
    }

    /// Deletes a file or a directory of this store's file system: renamed away at once, removed by
    /// [`maintain`](Self::maintain).
    ///
    /// # Errors
    /// If it cannot be renamed; what is not there is fine.
    pub fn discard(&self, path: &Path) -> Result<()> {
        trash::discard(&self.shared.layout, path).map(|_| ())
    }

    /// Does what may wait: clears up after dead processes and failed steps, empties the trash, and lets files
    /// that were written a minute ago count as durable. Not short if there is something to do; meant for the
    /// moment after a command has told its result.
    ///
    /// # Errors
    /// The first failure, after trying everything.
    pub fn maintain(&self) -> Result<()> {
        let tidied = self.tidy(true);
        let settled = self.settle(Duration::from_secs(60));
        tidied.and(settled)
    }

    /// Does the part of [`maintain`](Self::maintain) that waits for no disk: clears up after dead processes and
    /// failed steps, and empties the trash. What is not settled by the next boot is checked before it is used.
    ///
    /// Garbage is looked for, which takes time in a large store, if a process died or this one is known to
    /// have made some. While somebody prunes, nothing is done: all this is theirs, and would be waiting for them.
    ///
    /// # Errors
    /// The first failure, after trying everything.
    pub fn tidy(&self, made_garbage: bool) -> Result<()> {
        // Shared, so that tidying is in no other's way.
        let Some(_turn) = self.try_lock(prune::LOCK, LockMode::Shared)? else { return Ok(()) };
        let collected = self.reap_leases().and_then(|dead| match (dead > 0 || made_garbage) && self.has_garbage()? {
            true => self.collect().map(|_| ()),
            false => Ok(()),
        });
        let emptied = trash::empty(&self.shared.layout);
        collected.and(emptied)
    }

    /// Waits until everything older than `age` is on the disk, and remembers it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn settle(&self, age: Duration) -> Result<()> {
        let before = millis(self.now()) - i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let boot = self.boot();
        let waiting = self.database().read("reading unsettled files", |c| {
            c.query_row(
                "SELECT EXISTS(SELECT 1 FROM blobs WHERE boot = ?1 AND created <= ?2)
                     OR EXISTS(SELECT 1 FROM layers WHERE tree_boot = ?1 AND tree_created <= ?2)",
                rusqlite::params![boot, before],
                |row| row.get::<_, bool>(0),
            )
        })?;
        if !waiting {
            return Ok(());
        }
        let root = fs::File::open(self.root()).on("opening", self.root())?;
        rustix::fs::syncfs(&root).on("syncing", self.root())?;
        self.database().write("settling files", |tx| {
            let parameters = rusqlite::params![boot, before];
            tx.execute("UPDATE blobs SET boot = NULL WHERE boot = ?1 AND created <= ?2", parameters)?;
            tx.execute("UPDATE layers SET tree_boot = NULL WHERE tree_boot = ?1 AND tree_created <= ?2", parameters)?;
            Ok(())
        })
    }

    pub(crate) fn now(&self) -> SystemTime {
        (self.shared.clock)()
    }

    /// Returns this boot's name; if the kernel does not tell, one that equals no other.
    pub(crate) fn boot(&self) -> &str {
        self.shared.boot.get_or_init(|| {
            fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_else(|_| format!("unknown-{}", trash::random_name()))
        })
    }

    pub(crate) fn mark_index(&self) {
        self.shared.index_dirty.store(true, Ordering::Relaxed);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.index_dirty.load(Ordering::Relaxed) {
            // The index file is for other tools; the database is what counts.
            let _ = index::write(self);
        }
    }
}

/// Milliseconds since the epoch.
pub(crate) fn millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

/// The inverse of [`millis`].
pub(crate) fn time(millis: i64) -> SystemTime {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let moved = if millis < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    moved.unwrap_or(UNIX_EPOCH)
}

fn read_version(layout: &Layout) -> Result<Option<u32>> {
    let path = layout.version();
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(version) => Ok(Some(version)),
            Err(_) => {
                let reason = "its file `version` does not hold a number".to_owned();
                Err(Error::NotAStore { root: layout.root().to_owned(), reason })
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("reading", &path),
    }
}

/// Makes the directories; what a killed process has made already is fine, foreign files are not.
fn prepare(layout: &Layout) -> Result<()> {
    let root = layout.root();
    if let Some(parent) = root.parent() {
        fs::create_dir_all(parent).on("creating", parent)?;
    }
    make_dir(root)?;
    for entry in fs::read_dir(root).on("reading", root)? {
        let name = entry.on("reading", root)?.file_name();
        let name = name.to_string_lossy();
        if !layout::ENTRIES.contains(&name.as_ref()) && name != "lost+found" && !name.starts_with(".version-") {
            let reason = format!("it holds `{name}` and no file `version`; choose an empty directory");
            return Err(Error::NotAStore { root: root.to_owned(), reason });
        }
    }
    for directory in layout.directories() {
        make_dir(&directory)?;
    }
    index::write_marker(layout)
}

fn write_version(layout: &Layout) -> Result<()> {
    let temporary = layout.root().join(format!(".version-{}", trash::random_name()));
    write_new(&temporary, format!("{}\n", layout::VERSION).as_bytes())?;
    fs::rename(&temporary, layout.version()).on("creating", &layout.version())
}

/// Writes a new file that only its owner can change, whatever the umask.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).on("creating", path)?;
    file.write_all(bytes).on("writing", path)
}

pub(crate) fn make_dir(path: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).on("creating", path),
        _ => Ok(()),
    }
}

/// Setuid files of images must not be reachable by others (CVE-2021-41091).
fn check_owner(root: &Path) -> Result<()> {
    let metadata = fs::metadata(root).on("reading", root)?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        let reason = format!("it belongs to user {}, and this is user {user}", metadata.uid());
        return Err(Error::NotAStore { root: root.to_owned(), reason });
    }
    if metadata.mode() & 0o7777 != 0o700 {
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).on("restricting", root)?;
    }
    Ok(())
}
