//! Garbage collection: what no image, result, pin or running session refers to goes.
//!
//! The rules that make it safe beside running builds are in [`layout`](crate::layout).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rbuild_oci::Digest;
use rusqlite::{OptionalExtension, Transaction};

use crate::blob::digest_at;
use crate::error::{Context, Result};
use crate::lock::{self, LockMode};
use crate::usage::{Contents, contents};
use crate::{Kind, LayerId, Record, Store, disk_usage, index, mounts, trash};

/// How many files are moved in one transaction, so that builds wait only shortly.
const BATCH: usize = 128;
/// How old a partial download is before it is given up.
const PARTIAL_AGE: Duration = Duration::from_secs(24 * 3600);

/// Nothing refers to the layer.
const DEAD_LAYER: &str = "id NOT IN (SELECT layer FROM image_layers) AND id NOT IN (SELECT layer FROM result_layers)
    AND id NOT IN (SELECT layer FROM lease_layers) AND id NOT IN (SELECT layer FROM pins)";
/// Nothing refers to the blob.
const FREE_BLOB: &str = "digest NOT IN (SELECT digest FROM layer_blobs)
    AND digest NOT IN (SELECT digest FROM image_blobs) AND digest NOT IN (SELECT digest FROM lease_blobs)
    AND digest NOT IN (SELECT digest FROM blob_pins)";

/// What was freed.
#[derive(Debug, Clone, Default)]
pub struct Reclaimed {
    /// The things that are gone.
    pub records: Vec<Record>,
    /// The bytes of disk they took.
    pub bytes: u64,
}

impl Reclaimed {
    pub(crate) fn add(&mut self, record: Record) {
        self.bytes += record.size;
        self.records.push(record);
    }
}

/// Garbage whose rows are gone and whose files are not yet.
struct Garbage {
    layers: Vec<(LayerId, Record)>,
    /// Blobs of no layer; those of a layer count in the layer's record.
    single: Vec<Record>,
    blobs: Vec<Digest>,
    /// Layers whose tree was never finished, so that the index does not know its size.
    unmeasured: HashSet<LayerId>,
}

impl Store {
    /// Frees what no image, result, pin or running session refers to, and what killed processes left.
    ///
    /// # Errors
    /// If the index or a file cannot be changed; what was freed until then stays freed.
    pub fn collect(&self) -> Result<Reclaimed> {
        self.collect_with(PARTIAL_AGE)
    }

    pub(crate) fn collect_with(&self, partial_age: Duration) -> Result<Reclaimed> {
        self.reap_leases()?;
        let garbage = self.database().write("collecting garbage", unlink)?;
        let mut reclaimed = Reclaimed::default();
        for (id, mut record) in garbage.layers {
            let directory = self.shared.layout.layer(id);
            if garbage.unmeasured.contains(&id) {
                record.size += disk_usage(&directory)?;
            }
            trash::discard(&self.shared.layout, &directory)?;
            reclaimed.add(record);
        }
        for batch in garbage.blobs.chunks(BATCH) {
            self.discard_blobs(batch)?;
        }
        garbage.single.into_iter().for_each(|record| reclaimed.add(record));
        self.sweep(&mut reclaimed)?;
        self.sweep_partials(partial_age, &mut reclaimed)?;
        trash::empty(&self.shared.layout)?;
        Ok(reclaimed)
    }

    /// Whether there are rows that [`collect`](Self::collect) would remove.
    pub(crate) fn has_garbage(&self) -> Result<bool> {
        self.database().read("looking for garbage", |c| {
            let sql = format!(
                "SELECT EXISTS(SELECT 1 FROM layers WHERE {DEAD_LAYER}) OR EXISTS(SELECT 1 FROM blobs WHERE {FREE_BLOB})"
            );
            c.prepare_cached(&sql)?.query_row([], |row| row.get(0))
        })
    }

    /// Moves blobs without a row to the trash; one that was stored again meanwhile has a row and stays.
    fn discard_blobs(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        let layout = &self.shared.layout;
        self.database().transact("removing blobs", |tx| {
            let mut gone = Vec::new();
            for digest in digests {
                let known = tx.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([digest.as_bytes()])?;
                if !known && trash::discard(layout, &layout.blob(digest))? {
                    gone.push(*digest);
                }
            }
            Ok(gone)
        })
    }

    /// Finds files that a killed process left without a row, or whose row a power cut took.
    fn sweep(&self, reclaimed: &mut Reclaimed) -> Result<()> {
        let layout = &self.shared.layout;
        let mut strays = Vec::new();
        for name in list(&layout.blobs())? {
            match format!("sha256:{name}").parse::<Digest>() {
                Ok(digest) => strays.push(digest),
                // Not a blob's name, so nothing of the store.
                Err(_) => drop(trash::discard(layout, &layout.blobs().join(name))?),
            }
        }
        let known: HashSet<Digest> = self.blobs().list()?.into_iter().map(|blob| blob.digest).collect();
        strays.retain(|digest| !known.contains(digest));
        for batch in strays.chunks(BATCH) {
            let sizes: HashMap<Digest, u64> =
                batch.iter().map(|digest| (*digest, disk(&layout.blob(digest)))).collect();
            for digest in self.discard_blobs(batch)? {
                reclaimed.add(stray(format!("blob/{digest}"), Kind::Blob, sizes[&digest]));
            }
        }
        for name in list(&layout.layers())? {
            self.sweep_layer(&name, reclaimed)?;
        }
        index::sweep(layout, self.now())?;
        mounts::sweep(self)
    }

    /// Removes the directory of a layer without a row, and a tree that a killed process left unfinished.
    fn sweep_layer(&self, name: &str, reclaimed: &mut Reclaimed) -> Result<()> {
        let path = self.shared.layout.layers().join(name);
        let finished = self.database().read("looking up a layer", |c| {
            c.prepare_cached("SELECT tree_size IS NOT NULL FROM layers WHERE id = ?1")?
                .query_row([name.parse::<i64>().unwrap_or(0)], |row| row.get::<_, bool>(0))
                .optional()
        })?;
        let _held = match finished {
            Some(true) => return Ok(()),
            Some(false) => match lock::try_lock_dir(&path, LockMode::Exclusive)? {
                Some(lock) => Some(lock),
                None => return Ok(()),
            },
            None => None,
        };
        // Finished between the look and the lock.
        let finished = self.database().read("looking up a layer", |c| {
            c.prepare_cached("SELECT 1 FROM layers WHERE id = ?1 AND tree_size IS NOT NULL")?
                .exists([name.parse::<i64>().unwrap_or(0)])
        })?;
        if !finished {
            let size = disk_usage(&path)?;
            trash::discard(&self.shared.layout, &path)?;
            reclaimed.add(stray(format!("layer/{name}"), Kind::Regular, size));
        }
        Ok(())
    }

    /// Gives up downloads that nobody continues.
    pub(crate) fn sweep_partials(&self, age: Duration, reclaimed: &mut Reclaimed) -> Result<()> {
        let directory = self.shared.layout.partials();
        for name in list(&directory)? {
            let path = directory.join(&name);
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let old = self.now().duration_since(modified).unwrap_or_default() >= age;
            if old && remove_unlocked(&path)? {
                reclaimed.add(stray(format!("partial/{name}"), Kind::Blob, metadata.blocks() * 512));
            }
        }
        Ok(())
    }
}

/// Removes the rows of all garbage, and tells what it was.
fn unlink(tx: &Transaction<'_>) -> rusqlite::Result<Garbage> {
    let before = contents(tx)?;
    let trees: HashMap<LayerId, Option<u64>> = tx
        .prepare_cached("SELECT id, tree_size FROM layers")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let owners: HashMap<Digest, LayerId> = tx
        .prepare_cached("SELECT digest, min(layer) FROM layer_blobs GROUP BY digest")?
        .query_map([], |row| Ok((digest_at(row, 0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let dead: HashSet<LayerId> = tx
        .prepare_cached(&format!("DELETE FROM layers WHERE {DEAD_LAYER} RETURNING id"))?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let free: Vec<(Digest, u64)> = tx
        .prepare_cached(&format!("DELETE FROM blobs WHERE {FREE_BLOB} RETURNING digest, disk"))?
        .query_map([], |row| Ok((digest_at(row, 0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(report(before, &dead, &trees, &owners, free))
}

/// Counts each freed blob with its first layer, and nothing that stays.
fn report(
    before: Contents,
    dead: &HashSet<LayerId>,
    trees: &HashMap<LayerId, Option<u64>>,
    owners: &HashMap<Digest, LayerId>,
    free: Vec<(Digest, u64)>,
) -> Garbage {
    let freed: HashSet<Digest> = free.iter().map(|(digest, _)| *digest).collect();
    let mut sizes: HashMap<LayerId, u64> = HashMap::new();
    for (digest, disk) in free {
        if let Some(layer) = owners.get(&digest) {
            *sizes.entry(*layer).or_default() += disk;
        }
    }
    let tree = |id: &LayerId| trees.get(id).copied().flatten();
    let layers = before.layers.into_iter().filter(|layer| dead.contains(&layer.id)).map(|layer| {
        let size = tree(&layer.id).unwrap_or(0) + sizes.get(&layer.id).copied().unwrap_or(0);
        (layer.id, Record { size, ..layer.record })
    });
    Garbage {
        layers: layers.collect(),
        single: before.blobs.into_iter().filter(|blob| freed.contains(&blob.digest)).map(|blob| blob.record).collect(),
        blobs: freed.into_iter().collect(),
        unmeasured: dead.iter().filter(|id| tree(id).is_none()).copied().collect(),
    }
}

fn stray(id: String, kind: Kind, size: u64) -> Record {
    let then = SystemTime::UNIX_EPOCH;
    let description = "left by an interrupted process".to_owned();
    Record { id, kind, size, shared: false, in_use: false, created: then, used: then, uses: 0, description }
}

/// Removes a file that nobody holds locked.
fn remove_unlocked(path: &Path) -> Result<bool> {
    let Ok(file) = fs::File::open(path) else { return Ok(false) };
    if !lock::try_lock(&file, LockMode::Exclusive).on("locking", path)? {
        return Ok(false);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).on("removing", path),
        removed => Ok(removed.is_ok()),
    }
}

fn disk(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

pub(crate) fn list(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).on("reading", directory)? {
        names.push(entry.on("reading", directory)?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
