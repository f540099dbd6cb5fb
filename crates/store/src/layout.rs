//! The store's directory, and the rules that keep it whole.
//!
//! ```text
//! ROOT/                      0700, owned by the user of the store
//! ├── version                "1": layout version; a newer one is refused, nothing is touched
//! ├── oci/                   an OCI image layout that other tools can read
//! │   ├── oci-layout
//! │   ├── index.json         the tagged images that have a manifest; rewritten after changes
//! │   └── blobs/sha256/<hex> 0444, whole or not there
//! ├── db/v1/store.sqlite     the index (WAL): what each file is, who refers to it, what the solver knows
//! ├── layers/<id>/fs         a layer as a tree: an overlay lower directory; <id> is locked (flock) while it is made
//! │              work        overlay's work directory while the tree is made
//! ├── cachemounts/<hash>/<n>/{data,ready} and <n>.lock
//! ├── contexts/<name>        memories of build contexts; each file is replaced whole by its owner
//! ├── partial/<hex>          downloads that were cut off, locked while they grow
//! ├── locks                  a file of which each named lock is one byte
//! ├── steps/<name>           locks of the solver, one file for each step that runs
//! ├── leases/<id>            one file for each running session, locked (flock) as long as it lives
//! ├── tmp/<lease>/           temporary files of a session
//! └── trash/<random>         what is being deleted
//! ```
//!
//! # A row is the claim, the file is the proof
//!
//! Files come and go only inside an *immediate* transaction of the index, so SQLite's write lock is the one
//! lock of the store, and it falls when its holder dies:
//!
//! ```text
//!   making:    write tmp file, hash it ──▶ BEGIN IMMEDIATE ─ rename into place ─ insert row and lease ─ COMMIT
//!   removing:  BEGIN IMMEDIATE ─ delete rows ─ COMMIT ──▶ BEGIN IMMEDIATE ─ row still gone? rename to trash ─ COMMIT
//! ```
//!
//! Killed between any two of these steps, there is at worst a file without a row (swept by
//! [`Store::collect`](crate::Store::collect)), never a row that is wrong in a running system. After a power
//! cut the index may have lost its last transactions (WAL, `synchronous=NORMAL`), deletions included, so a row
//! may lack its file: whoever asks for a blob or tree is answered from row *and* file.
//!
//! # What is synced, and why so little
//!
//! Page cache survives every kill, so nothing is synced for that. Only a power cut can leave a file that
//! has its name and size but not its bytes. Instead of syncing every file, each row remembers the *boot* it
//! was written in until its file is known to be on the disk:
//!
//! ```text
//!   written ── row.boot = this boot ──┬── a minute later: syncfs, row.boot = NULL     (cheap: written back by then)
//!                                     └── power cut, next boot: row.boot ≠ this boot
//!                                            blob: hashed before it is handed out; tree: made again or forgotten
//! ```
//!
//! So a finished build costs no waiting for the disk, and nothing unsynced is trusted after a power cut.
//! Bytes are checked again whenever they leave the store: [`BlobReader`](crate::BlobReader) hashes what it reads and fails before it gives the
//! last byte of a corrupt blob.
//!
//! # Who keeps what
//!
//! ```text
//!   image names ─▶ images ─▶ blobs (manifest, config)      lease of a running session ─▶ layers, blobs
//!   pins of rooms above ─▶ layers, blobs
//!                     └────▶ layers ─▶ tree, blobs ◀─ results of the solver ◀─ the solver's own tables
//! ```
//!
//! Everything a session makes or looks up is added to its lease in the transaction that makes or finds it;
//! what a lease, an image, a result or a pin refers to is kept. A lease whose file is not locked
//! belongs to a dead process and counts for nothing. Garbage is found and unlinked from the index in one
//! immediate transaction, so nobody can begin to use what is about to go: a session either finds the row and
//! leases it before, or does not find it after.
//!
//! Whoever prunes holds the named lock `prune`. Others who would clear up after the dead leave that to it: listing
//! takes no lock at all, and so does not wait for a large trash to be emptied either.

use std::path::{Path, PathBuf};

use rbuild_oci::Digest;

use crate::LayerId;

/// The version of the directory layout this program writes.
pub const VERSION: u32 = 1;

/// The entries of a store's root.
pub(crate) const ENTRIES: [&str; 12] = [
    "version",
    "oci",
    "db",
    "layers",
    "cachemounts",
    "contexts",
    "partial",
    "locks",
    "steps",
    "leases",
    "tmp",
    "trash",
];

/// Paths inside a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn version(&self) -> PathBuf {
        self.root.join("version")
    }

    pub(crate) fn oci(&self) -> PathBuf {
        self.root.join("oci")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("oci/blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("db/v1/store.sqlite")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn layer(&self, id: LayerId) -> PathBuf {
        self.layers().join(id.to_string())
    }

    pub(crate) fn cache_mounts(&self) -> PathBuf {
        self.root.join("cachemounts")
    }

    pub(crate) fn contexts(&self) -> PathBuf {
        self.root.join("contexts")
    }

    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(crate) fn steps(&self) -> PathBuf {
        self.root.join("steps")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// All directories, parents first.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let nested = ["oci", "oci/blobs", "oci/blobs/sha256", "db", "db/v1"];
        let flat = ["layers", "cachemounts", "contexts", "partial", "leases", "tmp", "trash"];
        nested.iter().chain(&flat).map(|name| self.root.join(name)).collect()
    }
}
