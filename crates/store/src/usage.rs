//! What takes how much disk, and for whom.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use rbuild_oci::Digest;
use rusqlite::Connection;

use crate::blob::digest_at;
use crate::error::{Context, Result};
use crate::store::time;
use crate::{LayerId, Store, disk_usage, mounts};

/// What kind of thing takes space; the names are BuildKit's where it has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A build step's layer or result.
    #[default]
    Regular,
    /// Something the builder needs for itself.
    Internal,
    /// A frontend.
    Frontend,
    /// The memory of a build context, or a copy of one.
    Local,
    /// A git checkout.
    Git,
    /// A cache mount.
    CacheMount,
    /// An image.
    Image,
    /// A blob that belongs to no layer, such as a manifest.
    Blob,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Regular,
        Self::Internal,
        Self::Frontend,
        Self::Local,
        Self::Git,
        Self::CacheMount,
        Self::Image,
        Self::Blob,
    ];

    /// Returns the name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Internal => "internal",
            Self::Frontend => "frontend",
            Self::Local => "source.local",
            Self::Git => "source.git.checkout",
            Self::CacheMount => "exec.cachemount",
            Self::Image => "image",
            Self::Blob => "blob",
        }
    }

    /// Whether later uses may change what is kept.
    pub const fn is_mutable(self) -> bool {
        matches!(self, Self::CacheMount | Self::Local)
    }

    /// Returns the kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Reads a column; a kind of a newer program counts as regular.
    pub(crate) fn from_name(name: &str) -> Self {
        Self::parse(name).unwrap_or_default()
    }
}

/// One thing that takes space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Names it: `layer/<id>`, `blob/<digest>`, `mount/<hash>/<slot>`, `context/<name>`, `image/<id>`.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// The bytes of disk it takes.
    pub size: u64,
    /// Whether an image needs it, so that pruning the cache does not free it.
    pub shared: bool,
    /// Whether a running session, or something long-lived such as a container, needs it.
    pub in_use: bool,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last used.
    pub used: SystemTime,
    /// How often it was used.
    pub uses: u64,
    /// What made it.
    pub description: String,
}

/// What takes how much disk.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Everything that was made on purpose.
    pub records: Vec<Record>,
    /// The bytes of all records.
    pub total: u64,
    /// The bytes of records that neither an image nor a running session needs.
    pub reclaimable: u64,
    /// The bytes of the store itself: index, temporary and partial files, trash, directories.
    pub overhead: u64,
}

/// The rows about layers and blobs.
pub(crate) struct Contents {
    pub(crate) layers: Vec<LayerRow>,
    pub(crate) blobs: Vec<BlobRow>,
}

pub(crate) struct LayerRow {
    pub(crate) id: LayerId,
    pub(crate) record: Record,
}

pub(crate) struct BlobRow {
    pub(crate) record: Record,
    pub(crate) digest: Digest,
}

impl Store {
    /// Returns what takes how much disk. Cache mounts are measured file by file.
    ///
    /// # Errors
    /// If the index or a directory cannot be read.
    pub fn usage(&self) -> Result<Usage> {
        self.reap_leases()?;
        let contents = self.database().read("measuring", contents)?;
        let mut records: Vec<Record> = contents.layers.into_iter().map(|layer| layer.record).collect();
        records.extend(contents.blobs.into_iter().map(|blob| blob.record));
        records.extend(self.mount_records()?.into_iter().map(|(_, _, record)| record));
        records.extend(self.context_records()?);
        let total = records.iter().map(|record| record.size).sum();
        let free = |record: &&Record| !record.shared && !record.in_use;
        let reclaimable = records.iter().filter(free).map(|record| record.size).sum();
        Ok(Usage { records, total, reclaimable, overhead: self.overhead()? })
    }

    pub(crate) fn mount_records(&self) -> Result<Vec<(String, u32, Record)>> {
        let rows: Vec<(String, u32, Record)> = self.database().read("listing cache mounts", |c| {
            c.prepare_cached("SELECT hash, slot, id, created, used, uses FROM cache_mounts ORDER BY hash, slot")?
                .query_map([], |row| {
                    let (hash, slot): (String, u32) = (row.get(0)?, row.get(1)?);
                    let is_local = hash.starts_with(mounts::LOCAL_PREFIX);
                    let record = Record {
                        id: format!("mount/{hash}/{slot}"),
                        kind: if is_local { Kind::Local } else { Kind::CacheMount },
                        size: 0,
                        shared: false,
                        in_use: false,
                        description: row.get(2)?,
                        created: time(row.get(3)?),
                        used: time(row.get(4)?),
                        uses: row.get(5)?,
                    };
                    Ok((hash, slot, record))
                })?
                .collect()
        })?;
        let measured = rows.into_iter().map(|(hash, slot, record)| {
            let path = self.shared.layout.cache_mounts().join(&hash).join(slot.to_string());
            let record = Record { size: disk_usage(&path)?, in_use: mounts::in_use(self, &hash, slot), ..record };
            Ok((hash, slot, record))
        });
        measured.collect()
    }

    pub(crate) fn context_records(&self) -> Result<Vec<Record>> {
        let directory = self.shared.layout.contexts();
        let mut records = Vec::new();
        for entry in fs::read_dir(&directory).on("reading", &directory)? {
            let entry = entry.on("reading", &directory)?;
            let Ok(metadata) = entry.metadata() else { continue };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            records.push(Record {
                id: format!("context/{}", entry.file_name().to_string_lossy()),
                kind: Kind::Local,
                size: metadata.blocks() * 512,
                shared: false,
                in_use: false,
                created: modified,
                used: modified,
                uses: 0,
                description: "memory of a build context".to_owned(),
            });
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(records)
    }

    fn overhead(&self) -> Result<u64> {
        let layout = &self.shared.layout;
        let parts = ["db", "partial", "locks", "leases", "tmp", "trash", "version"];
        let mut sum = 0;
        for part in parts {
            sum += disk_usage(&layout.root().join(part))?;
        }
        for directory in
            [layout.root().to_owned(), layout.oci(), layout.oci().join("blobs"), layout.blobs(), layout.layers()]
        {
            sum += fs::symlink_metadata(&directory).on("reading", &directory)?.blocks() * 512;
        }
        Ok(sum)
    }
}

/// Reads all layers and blobs; a blob of several layers counts with the first.
pub(crate) fn contents(connection: &Connection) -> rusqlite::Result<Contents> {
    let mut disk: HashMap<Digest, u64> = connection
        .prepare_cached("SELECT digest, disk FROM blobs")?
        .query_map([], |row| Ok((digest_at(row, 0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut of_layers: HashMap<LayerId, u64> = HashMap::new();
    let mut pairs = connection.prepare_cached("SELECT layer, digest FROM layer_blobs ORDER BY layer")?;
    for pair in pairs.query_map([], |row| Ok((row.get::<_, LayerId>(0)?, digest_at(row, 1)?)))? {
        let (layer, digest) = pair?;
        *of_layers.entry(layer).or_default() += disk.remove(&digest).unwrap_or(0);
    }
    let layers = layers(connection, &of_layers)?;
    let images = digests(connection, "SELECT DISTINCT digest FROM image_blobs")?;
    let leased = digests(connection, "SELECT digest FROM lease_blobs UNION SELECT digest FROM blob_pins")?;
    let blobs = connection
        .prepare_cached("SELECT digest, created FROM blobs ORDER BY digest")?
        .query_map([], |row| Ok((digest_at(row, 0)?, time(row.get(1)?))))?
        .filter_map(|row| match row {
            Ok((digest, created)) => disk.get(&digest).map(|size| {
                let record = Record {
                    id: format!("blob/{digest}"),
                    kind: Kind::Blob,
                    size: *size,
                    shared: images.contains(&digest),
                    in_use: leased.contains(&digest),
                    created,
                    used: created,
                    uses: 0,
                    description: String::new(),
                };
                Ok(BlobRow { record, digest })
            }),
            Err(error) => Some(Err(error)),
        })
        .collect::<rusqlite::Result<_>>()?;
    Ok(Contents { layers, blobs })
}

fn layers(connection: &Connection, blobs: &HashMap<LayerId, u64>) -> rusqlite::Result<Vec<LayerRow>> {
    connection
        .prepare_cached(
            "SELECT l.id, l.kind, l.description, l.created, coalesce(l.tree_size, 0),
                EXISTS(SELECT 1 FROM image_layers i WHERE i.layer = l.id),
                EXISTS(SELECT 1 FROM lease_layers s WHERE s.layer = l.id) OR EXISTS(SELECT 1 FROM pins p WHERE p.layer = l.id),
                (SELECT max(r.used) FROM result_layers rl JOIN results r ON r.id = rl.result WHERE rl.layer = l.id),
                (SELECT coalesce(sum(r.uses), 0) FROM result_layers rl JOIN results r ON r.id = rl.result WHERE rl.layer = l.id)
             FROM layers l ORDER BY l.id",
        )?
        .query_map([], |row| {
            let id: LayerId = row.get(0)?;
            let created: i64 = row.get(3)?;
            let record = Record {
                id: format!("layer/{id}"),
                kind: Kind::from_name(&row.get::<_, String>(1)?),
                description: row.get(2)?,
                size: row.get::<_, u64>(4)? + blobs.get(&id).copied().unwrap_or(0),
                shared: row.get(5)?,
                in_use: row.get(6)?,
                created: time(created),
                used: time(row.get::<_, Option<i64>>(7)?.unwrap_or(created)),
                uses: row.get(8)?,
            };
            Ok(LayerRow { id, record })
        })?
        .collect()
}

fn digests(connection: &Connection, sql: &str) -> rusqlite::Result<HashSet<Digest>> {
    connection.prepare_cached(sql)?.query_map([], |row| digest_at(row, 0))?.collect()
}
