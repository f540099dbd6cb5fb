//! What was fetched before: a small file for each address, so that an unchanged file is not fetched
//! again.
//!
//! Each is a JSON list of [`Record`]s, the newest first, beside the memories of build contexts; it may be
//! deleted at any time. It lies under a hash, since an address may hold a token.

use std::io::Write;
use std::path::{Path, PathBuf};

use rbuild_oci::Digest;
use rbuild_store::{LayerId, Store};
use serde::{Deserialize, Serialize};

use crate::OpsError;

/// How many versions of a file are remembered.
const MOST_RECORDS: usize = 8;
/// The largest memory that is read.
const LARGEST: u64 = 1 << 20;

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The server's tag of this version, without the mark of weak ones.
    pub(super) etag: Option<String>,
    /// When the server says it was modified.
    pub(super) last_modified: Option<i64>,
    /// Its content.
    pub(super) digest: Digest,
    /// Its name in the layer.
    pub(super) name: String,
    /// The layer that holds it.
    pub(super) layer: LayerId,
}

/// The memory of one address.
pub(super) struct Memory {
    path: PathBuf,
}

impl Memory {
    /// Returns the memory under `key`, which holds whatever decides about the layers.
    pub(super) fn new(store: &Store, key: &str) -> Self {
        let name = format!("http-{}", Digest::of(key.as_bytes()).hex());
        Self { path: store.contexts_dir().join(name) }
    }

    /// Returns what is known and still there; a memory that cannot be read is none.
    pub(super) fn recall(&self, store: &Store) -> Result<Vec<Record>, OpsError> {
        let mut kept = Vec::new();
        for record in self.read() {
            if store.layers().hold(&[record.layer])? {
                kept.push(record);
            }
        }
        Ok(kept)
    }

    fn read(&self) -> Vec<Record> {
        let small = std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() <= LARGEST);
        let bytes = if small { std::fs::read(&self.path).unwrap_or_default() } else { Vec::new() };
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Adds a record; the same version is known once. `scratch` lies on the store's file system.
    pub(super) fn keep(&self, record: Record, scratch: &Path) -> Result<(), OpsError> {
        let mut records = self.read();
        records.retain(|known| known.digest != record.digest && (known.etag.is_none() || known.etag != record.etag));
        records.insert(0, record);
        records.truncate(MOST_RECORDS);
        let failed = |error| OpsError::io("remembering a download", error);
        let mut file = tempfile::NamedTempFile::new_in(scratch).map_err(failed)?;
        file.write_all(&serde_json::to_vec(&records).map_err(|error| failed(error.into()))?).map_err(failed)?;
        file.persist(&self.path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}
