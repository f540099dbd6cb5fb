//! Content-addressed files: layers, manifests, configurations.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rbuild_oci::{Descriptor, Digest, json};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use rustix::fs::OFlags;
use serde::de::DeserializeOwned;

use crate::database::Failure;
use crate::error::{Context, Error, Result};
use crate::store::{millis, time};
use crate::{BlobReader, Ingest, Resumable, Store, ingest, trash};

/// The content-addressed files of a store.
///
/// What is opened, read or written is added to the lease of the store's handle.
#[derive(Debug, Clone, Copy)]
pub struct Blobs<'a> {
    store: &'a Store,
}

/// What the index knows of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// The digest.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
    /// The bytes of disk it takes.
    pub disk: u64,
    /// When it was stored.
    pub created: SystemTime,
}

/// A row of the index.
struct Entry {
    size: u64,
    boot: Option<String>,
}

impl<'a> Blobs<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Returns where a blob's file is if it is in the store. Its bytes are not checked: prefer
    /// [`reader`](Self::reader).
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.store.shared.layout.blob(digest)
    }

    /// Whether the blob is in the store, without keeping it there.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn has(&self, digest: &Digest) -> Result<bool> {
        Ok(self.size(digest)?.is_some())
    }

    /// Returns the blob's size if it is in the store, without keeping it there.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let entry = self.store.database().read("looking up a blob", |c| find(c, digest))?;
        Ok(entry.filter(|entry| self.has_file(digest, entry.size)).map(|entry| entry.size))
    }

    /// Whether the blob is in the store; if so, it stays until this handle's lease ends.
    ///
    /// # Errors
    /// If the index cannot be used.
    pub fn hold(&self, digest: &Digest) -> Result<bool> {
        Ok(self.held(digest)?.is_some())
    }

    /// Opens a blob, without checking its bytes but for the size (and all of them if they were written in
    /// an earlier boot and perhaps never reached the disk).
    ///
    /// # Errors
    /// If the blob is not there or is known to be corrupt.
    pub fn open(&self, digest: &Digest) -> Result<File> {
        let Some(entry) = self.held(digest)? else { return Err(Error::NoBlob(*digest)) };
        if entry.boot.as_deref().is_some_and(|boot| boot != self.store.boot()) {
            self.verify(digest)?;
        }
        self.open_unchecked(digest, entry.size)
    }

    /// Opens a blob for reading; the bytes are hashed on the way, and a corrupt blob fails before its last
    /// byte is given and is removed from the store.
    ///
    /// # Errors
    /// If the blob is not there.
    pub fn reader(&self, digest: &Digest) -> Result<BlobReader> {
        let Some(entry) = self.held(digest)? else { return Err(Error::NoBlob(*digest)) };
        let file = self.open_unchecked(digest, entry.size)?;
        Ok(BlobReader::new(self.store.clone(), file, *digest, entry.size))
    }

    /// Reads a whole blob of at most `limit` bytes, checked.
    ///
    /// # Errors
    /// If the blob is not there, too large, or corrupt.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let reader = self.reader(digest)?;
        let size = reader.size();
        if size > limit {
            return Err(Error::TooLarge { digest: *digest, size, limit });
        }
        reader.read_whole()
    }

    /// Reads a manifest, index or configuration, checked and strictly.
    ///
    /// # Errors
    /// If the blob is not there, corrupt, or not the JSON of a `T`.
    pub fn read_json<T: DeserializeOwned>(&self, digest: &Digest) -> Result<T> {
        let bytes = self.read(digest, json::MAX_DOCUMENT as u64)?;
        json::from_slice(&bytes).map_err(|source| Error::Json { digest: *digest, source })
    }

    /// Stores a small blob.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if self.held(&digest)?.is_some_and(|entry| entry.boot.is_none_or(|boot| boot == self.store.boot())) {
            return Ok(digest);
        }
        let mut ingest = self.ingest(Some(&Descriptor::new("", digest, bytes.len() as u64)))?;
        ingest.write_all(bytes).map_err(|error| ingest.explain(error))?;
        ingest.commit()
    }

    /// Begins to store a blob; if `expected` is given, only content of that digest and size is accepted.
    ///
    /// # Errors
    /// If the temporary file cannot be made.
    pub fn ingest(&self, expected: Option<&Descriptor>) -> Result<Ingest> {
        Ingest::new(self.store.clone(), expected)
    }

    /// Begins or continues a download. Waits while another session downloads the same blob, and then
    /// perhaps has it.
    ///
    /// # Errors
    /// If the partial file cannot be opened or read.
    pub fn ingest_resumable(&self, expected: &Descriptor) -> Result<Resumable> {
        ingest::resume(self.store.clone(), expected)
    }

    /// Reads the whole blob and compares its digest; a corrupt one is removed from the store.
    ///
    /// # Errors
    /// If the blob is not there or corrupt.
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        self.reader(digest)?.drain()?;
        self.store.database().write("remembering a checked blob", |tx| {
            tx.prepare_cached("UPDATE blobs SET boot = NULL WHERE digest = ?1 AND boot IS NOT ?2")?
                .execute(params![digest.as_bytes(), self.store.boot()])
                .map(|_| ())
        })
    }

    /// Lists all blobs.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn list(&self) -> Result<Vec<BlobInfo>> {
        self.store.database().read("listing blobs", |c| {
            c.prepare_cached("SELECT digest, size, disk, created FROM blobs ORDER BY digest")?
                .query_map([], info)?
                .collect()
        })
    }

    /// Keeps a blob for a long-lived owner until it is [`unpin`](Self::unpin)ned; returns whether it is there. For
    /// transactions of rooms above, whose rows refer to the blob.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn pin(tx: &Transaction<'_>, owner: &str, digest: &Digest) -> rusqlite::Result<bool> {
        if find(tx, digest)?.is_none() {
            return Ok(false);
        }
        tx.prepare_cached("INSERT OR IGNORE INTO blob_pins(owner, digest) VALUES(?1, ?2)")?
            .execute(params![owner, digest.as_bytes()])?;
        Ok(true)
    }

    /// Gives up all that an owner has pinned.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn unpin(tx: &Transaction<'_>, owner: &str) -> rusqlite::Result<()> {
        tx.prepare_cached("DELETE FROM blob_pins WHERE owner = ?1")?.execute([owner]).map(|_| ())
    }

    /// Lists the blobs that owners with such names have pinned.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn pinned(&self, owners: &str) -> Result<Vec<BlobInfo>> {
        self.store.database().read("listing pinned blobs", |c| {
            c.prepare_cached(
                "SELECT digest, size, disk, created FROM blobs WHERE digest IN
                    (SELECT digest FROM blob_pins WHERE substr(owner, 1, length(?1)) = ?1) ORDER BY digest",
            )?
            .query_map([owners], info)?
            .collect()
        })
    }

    /// Takes a blob whose bytes are wrong out of the store.
    pub(crate) fn quarantine(&self, digest: &Digest) -> Result<()> {
        let layout = &self.store.shared.layout;
        self.store.database().transact("removing a corrupt blob", |tx| {
            tx.execute("DELETE FROM blobs WHERE digest = ?1", [digest.as_bytes()])?;
            tx.execute("DELETE FROM layer_blobs WHERE digest = ?1", [digest.as_bytes()])?;
            trash::discard(layout, &layout.blob(digest))?;
            Ok(())
        })
    }

    /// Gives a finished temporary file its name and row; replaces what is there, since this one was just
    /// hashed.
    pub(crate) fn adopt(&self, path: &Path, digest: &Digest, size: u64, disk: u64) -> Result<()> {
        let target = self.path(digest);
        self.store.lease.ensure_file()?;
        self.store.database().transact("recording a blob", |tx| {
            fs::rename(path, &target).on("creating", &target)?;
            tx.prepare_cached(
                "INSERT INTO blobs(digest, size, disk, created, boot) VALUES(?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT(digest) DO UPDATE SET size = ?2, disk = ?3, created = ?4, boot = ?5",
            )?
            .execute(params![
                digest.as_bytes(),
                size,
                disk,
                millis(self.store.now()),
                self.store.boot()
            ])?;
            self.store.lease.hold_blob(tx, digest)
        })?;
        self.store.lease.committed(&[], &[*digest]);
        Ok(())
    }

    /// Finds a blob and leases it in one transaction.
    fn held(&self, digest: &Digest) -> Result<Option<Entry>> {
        let lease = &self.store.lease;
        let entry = if lease.holds_blob(digest) {
            self.store.database().read("looking up a blob", |c| find(c, digest))?
        } else if self.store.database().read("looking up a blob", |c| find(c, digest))?.is_none() {
            None
        } else {
            self.lease_existing(digest)?
        };
        Ok(entry.filter(|entry| self.has_file(digest, entry.size)))
    }

    /// Like [`hold`](Self::hold), but waits for a transaction in which the blob is just being recorded: its
    /// partial file may have been renamed already.
    pub(crate) fn hold_settled(&self, digest: &Digest) -> Result<bool> {
        let entry = self.lease_existing(digest)?;
        Ok(entry.is_some_and(|entry| self.has_file(digest, entry.size)))
    }

    fn lease_existing(&self, digest: &Digest) -> Result<Option<Entry>> {
        let lease = &self.store.lease;
        lease.ensure_file()?;
        let entry = self.store.database().transact("leasing a blob", |tx| lease_blob(self.store, tx, digest))?;
        if entry.is_some() {
            lease.committed(&[], &[*digest]);
        }
        Ok(entry)
    }

    fn has_file(&self, digest: &Digest, size: u64) -> bool {
        fs::symlink_metadata(self.path(digest)).is_ok_and(|file| file.is_file() && file.size() == size)
    }

    fn open_unchecked(&self, digest: &Digest, size: u64) -> Result<File> {
        let path = self.path(digest);
        let file = File::options()
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .on("opening", &path)?;
        let metadata = file.metadata().on("reading", &path)?;
        if metadata.is_file() && metadata.size() == size {
            return Ok(file);
        }
        self.quarantine(digest)?;
        let reason = format!("its file has {} bytes instead of {size}", metadata.size());
        Err(Error::Corrupt { digest: *digest, reason })
    }
}

fn info(row: &Row<'_>) -> rusqlite::Result<BlobInfo> {
    Ok(BlobInfo { digest: digest_at(row, 0)?, size: row.get(1)?, disk: row.get(2)?, created: time(row.get(3)?) })
}

fn lease_blob(store: &Store, tx: &Transaction<'_>, digest: &Digest) -> Result<Option<Entry>, Failure> {
    let entry = find(tx, digest)?;
    if entry.is_some() {
        store.lease.hold_blob(tx, digest)?;
    }
    Ok(entry)
}

fn find(connection: &rusqlite::Connection, digest: &Digest) -> rusqlite::Result<Option<Entry>> {
    connection
        .prepare_cached("SELECT size, boot FROM blobs WHERE digest = ?1")?
        .query_row([digest.as_bytes()], |row| Ok(Entry { size: row.get(0)?, boot: row.get(1)? }))
        .optional()
}

/// Reads a digest column.
pub(crate) fn digest_at(row: &Row<'_>, index: usize) -> rusqlite::Result<Digest> {
    row.get(index).map(Digest::from_bytes)
}

/// Turns an IO error of a blob's reader back into the store's error it carries.
pub(crate) fn unwrap_io(error: io::Error, path: &Path) -> Error {
    match error.downcast::<Error>() {
        Ok(inner) => inner,
        Err(error) => Error::file("reading", path, error),
    }
}
