//! Pruning: which results, mounts, memories and images are given up, and in which order.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::time::{Duration, SystemTime};

use rusqlite::params;

use crate::error::{Context, Error, Result};
use crate::lock::LockMode;
use crate::usage::contents;
use crate::{ImageId, Kind, LayerId, Reclaimed, Record, Store, image, mounts, result, trash};

/// The lock of whoever prunes.
pub(crate) const LOCK: &str = "prune";

/// Which images are given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImagePrune {
    /// None.
    #[default]
    None,
    /// Those without a name.
    Dangling,
    /// All that no running session and no container uses.
    Unused,
}

/// What is given up.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Also what the builder needs for itself, and results that images share (which frees nothing at once).
    pub all: bool,
    /// Which images.
    pub images: ImagePrune,
    /// Only what was not used for so long.
    pub until: Option<Duration>,
    /// Stop as soon as the cache takes no more than this many bytes, beginning with what is used least.
    pub keep_storage: Option<u64>,
    /// Only what matches all of these.
    pub filters: Vec<Filter>,
}

/// A condition on what is pruned or listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Is of this kind.
    Kind(Kind),
    /// Is of another kind.
    NotKind(Kind),
    /// The id, or its last component, begins so.
    Id(String),
    /// The description contains this.
    Description(String),
    /// A running session needs it, or not.
    InUse(bool),
    /// An image needs it, or not.
    Shared(bool),
    /// Later uses may change it, as those of a cache mount do, or not.
    Mutable(bool),
    /// All of one of these lists are fulfilled.
    AnyOf(Vec<Vec<Filter>>),
}

impl Filter {
    /// Reads `type=KIND`, `type!=KIND`, `id=PREFIX`, `description~=TEXT`, `inuse`, `shared`, `private`, `mutable`
    /// or `immutable`; `==` is `=`.
    ///
    /// # Errors
    /// If the filter is another one.
    pub fn parse(text: &str) -> Result<Self> {
        let unknown = || {
            Error::Filter(
                text.to_owned(),
                "known are type=, type!=, id=, description~=, inuse, shared, private, mutable, immutable",
            )
        };
        let kind = |name: &str| Kind::parse(name).ok_or_else(|| Error::Filter(text.to_owned(), "no such type"));
        match text {
            "inuse" | "inuse=true" => return Ok(Self::InUse(true)),
            "inuse=false" => return Ok(Self::InUse(false)),
            "shared" | "shared=true" => return Ok(Self::Shared(true)),
            "private" | "shared=false" => return Ok(Self::Shared(false)),
            "mutable" => return Ok(Self::Mutable(true)),
            "immutable" => return Ok(Self::Mutable(false)),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("type!=") {
            return kind(name).map(Self::NotKind);
        }
        if let Some(part) = text.strip_prefix("description~=") {
            return Ok(Self::Description(part.to_owned()));
        }
        let (name, value) = text.split_once('=').ok_or_else(unknown)?;
        let value = value.strip_prefix('=').unwrap_or(value);
        match name {
            "type" => kind(value).map(Self::Kind),
            "id" => Ok(Self::Id(value.to_owned())),
            _ => Err(unknown()),
        }
    }

    /// Reads conditions that all have to be fulfilled, separated by commas.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_all(text: &str) -> Result<Vec<Self>> {
        text.split(',').filter(|part| !part.is_empty()).map(Self::parse).collect()
    }

    /// Whether a record fulfils the condition.
    pub fn matches(&self, record: &Record) -> bool {
        match self {
            Self::Kind(kind) => record.kind == *kind,
            Self::NotKind(kind) => record.kind != *kind,
            Self::Id(prefix) => {
                record.id.starts_with(prefix) || record.id.rsplit('/').any(|part| part.starts_with(prefix))
            }
            Self::Description(text) => record.description.contains(text),
            Self::InUse(wanted) => record.in_use == *wanted,
            Self::Shared(wanted) => record.shared == *wanted,
            Self::Mutable(wanted) => record.kind.is_mutable() == *wanted,
            Self::AnyOf(lists) => lists.iter().any(|list| list.iter().all(|filter| filter.matches(record))),
        }
    }
}

/// Something that can be given up.
struct Candidate {
    record: Record,
    what: What,
}

enum What {
    Result { id: String, layers: Vec<LayerId> },
    Image { id: ImageId, layers: Vec<LayerId> },
    Mount { hash: String, slot: u32 },
    Context { name: String },
}

impl Store {
    /// Gives up what the options say, and frees it. Safe beside running builds: what they use stays. Waits for
    /// others who prune.
    ///
    /// # Errors
    /// If the index or a file cannot be changed; what was freed until then stays freed.
    pub fn prune(&self, options: &PruneOptions) -> Result<Reclaimed> {
        let _turn = self.lock(LOCK, LockMode::Exclusive)?;
        let partial_age =
            options.until.unwrap_or(if options.keep_storage.is_some() { Duration::MAX } else { Duration::ZERO });
        let mut reclaimed = Reclaimed::default();
        // First what needs no row written: on a full disk, room for rows comes of it.
        self.sweep_partials(partial_age, &mut reclaimed)?;
        self.discard_temporaries()?;
        trash::empty(&self.shared.layout)?;
        self.reap_leases()?;
        self.reap_steps()?;
        let mut chosen: Vec<Candidate> =
            self.candidates()?.into_iter().filter(|one| self.wanted(options, one)).collect();
        if let Some(keep) = options.keep_storage {
            chosen = self.until_small(chosen, keep)?;
        }
        for candidate in chosen {
            if self.give_up(&candidate.what)? && matches!(candidate.what, What::Mount { .. } | What::Context { .. }) {
                reclaimed.add(candidate.record);
            }
        }
        let collected = self.collect_with(partial_age)?;
        collected.records.into_iter().for_each(|record| reclaimed.add(record));
        self.database().compact()?;
        Ok(reclaimed)
    }

    fn wanted(&self, options: &PruneOptions, candidate: &Candidate) -> bool {
        let record = &candidate.record;
        let age = self.now().duration_since(record.used).unwrap_or_default();
        let image = match (&candidate.what, options.images) {
            (What::Image { .. }, ImagePrune::None) => false,
            (What::Image { .. }, ImagePrune::Dangling) => !record.shared,
            _ => true,
        };
        let internal = matches!(record.kind, Kind::Internal | Kind::Frontend);
        let shared = record.shared && !matches!(candidate.what, What::Image { .. });
        image
            && !record.in_use
            && (options.all || !(internal || shared))
            && options.until.is_none_or(|until| age >= until)
            && options.filters.iter().all(|filter| filter.matches(record))
    }

    fn candidates(&self) -> Result<Vec<Candidate>> {
        let mut list = self.layered_candidates()?;
        for (hash, slot, record) in self.mount_records()? {
            list.push(Candidate { record, what: What::Mount { hash, slot } });
        }
        for record in self.context_records()? {
            let name = record.id.trim_start_matches("context/").to_owned();
            list.push(Candidate { record, what: What::Context { name } });
        }
        Ok(list)
    }

    /// Results and images. An image with names counts as shared; a result does if images have all its layers.
    fn layered_candidates(&self) -> Result<Vec<Candidate>> {
        let (layers, results, images, busy) = self.database().read("choosing what to prune", |c| {
            let layers: HashMap<LayerId, Record> =
                contents(c)?.layers.into_iter().map(|layer| (layer.id, layer.record)).collect();
            let busy: HashSet<rbuild_oci::Digest> = c
                .prepare("SELECT DISTINCT digest FROM lease_blobs")?
                .query_map([], |row| crate::blob::digest_at(row, 0))?
                .collect::<rusqlite::Result<_>>()?;
            Ok((layers, result::list(c)?, image::list(c)?, busy))
        })?;
        let record = |id: &LayerId| layers.get(id);
        let top_in_use = |ids: &[LayerId]| ids.last().and_then(record).is_some_and(|layer| layer.in_use);
        let size = |ids: &[LayerId]| ids.iter().filter_map(record).map(|layer| layer.size).sum();
        let mut list = Vec::new();
        for result in results {
            let shared = result.layers.iter().all(|id| record(id).is_some_and(|layer| layer.shared));
            let record = Record {
                id: format!("result/{}", result.id),
                kind: result.kind,
                size: size(&result.layers),
                shared: shared && !result.layers.is_empty(),
                in_use: top_in_use(&result.layers),
                created: result.created,
                used: result.used,
                uses: result.uses,
                description: result.description,
            };
            list.push(Candidate { record, what: What::Result { id: result.id, layers: result.layers } });
        }
        for image in images {
            let record = Record {
                id: format!("image/{}", image.id),
                kind: Kind::Image,
                size: size(&image.layers),
                shared: !image.names.is_empty(),
                in_use: busy.contains(&image.id.0),
                created: image.created,
                used: image.recorded,
                uses: 0,
                description: image.names.first().map(rbuild_oci::Reference::familiar).unwrap_or_default(),
            };
            list.push(Candidate { record, what: What::Image { id: image.id, layers: image.layers } });
        }
        Ok(list)
    }

    /// Picks candidates, the least used first, until the cache takes at most `keep` bytes. One that frees
    /// nothing yet, because others still use its layers, waits for them.
    fn until_small(&self, candidates: Vec<Candidate>, keep: u64) -> Result<Vec<Candidate>> {
        let mut budget = self.budget()?;
        let mut waiting = by_use(candidates);
        let mut chosen = Vec::new();
        while budget.total > keep {
            let Some(at) = waiting.iter().position(|candidate| budget.freed_by(candidate) > 0) else { break };
            let candidate = waiting.remove(at);
            budget.take(&candidate);
            chosen.push(candidate);
        }
        Ok(chosen)
    }

    fn budget(&self) -> Result<Budget> {
        let (sizes, users) = self.database().read("measuring the cache", |c| {
            let sizes: HashMap<LayerId, u64> = contents(c)?
                .layers
                .into_iter()
                .filter(|layer| !layer.record.shared)
                .map(|layer| (layer.id, layer.record.size))
                .collect();
            let users: HashMap<LayerId, u64> = c
                .prepare(
                    "SELECT layer, count(*) FROM (SELECT layer FROM image_layers UNION ALL SELECT layer FROM result_layers
                        UNION ALL SELECT layer FROM lease_layers UNION ALL SELECT layer FROM pins) GROUP BY layer",
                )?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            Ok((sizes, users))
        })?;
        let mounts: u64 = self.mount_records()?.iter().map(|(_, _, record)| record.size).sum();
        let contexts: u64 = self.context_records()?.iter().map(|record| record.size).sum();
        let total = sizes.values().sum::<u64>() + mounts + contexts;
        Ok(Budget { sizes, users, total })
    }

    fn give_up(&self, what: &What) -> Result<bool> {
        match what {
            What::Result { id, layers } => self.give_up_result(id, layers),
            What::Image { id, .. } => self.give_up_image(id),
            What::Mount { hash, slot } => mounts::remove(self, hash, *slot),
            What::Context { name } => {
                let path = self.shared.layout.contexts().join(name);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).on("removing", &path),
                    removed => Ok(removed.is_ok()),
                }
            }
        }
    }

    /// Looks again, in the same transaction, whether a session has begun to use the result.
    fn give_up_result(&self, id: &str, layers: &[LayerId]) -> Result<bool> {
        self.database().write("pruning a result", |tx| {
            let top = layers.last();
            let busy = tx
                .prepare_cached(
                    "SELECT 1 FROM lease_layers WHERE layer = ?1 UNION SELECT 1 FROM pins WHERE layer = ?1",
                )?
                .exists(params![top])?;
            Ok(!busy && tx.prepare_cached("DELETE FROM results WHERE id = ?1")?.execute([id])? > 0)
        })
    }

    fn give_up_image(&self, id: &ImageId) -> Result<bool> {
        let removed = self.database().write("pruning an image", |tx| {
            tx.prepare_cached(
                "DELETE FROM images WHERE config = ?1 AND NOT EXISTS(SELECT 1 FROM lease_blobs WHERE digest = ?1)",
            )?
            .execute([id.0.as_bytes()])
        })?;
        self.mark_index();
        Ok(removed > 0)
    }
}

/// How much the cache takes, and who needs what of it.
struct Budget {
    sizes: HashMap<LayerId, u64>,
    users: HashMap<LayerId, u64>,
    total: u64,
}

impl Budget {
    fn freed_by(&self, candidate: &Candidate) -> u64 {
        match &candidate.what {
            What::Result { layers, .. } | What::Image { layers, .. } => {
                let distinct: BTreeSet<&LayerId> = layers.iter().collect();
                let last = |id: &&&LayerId| {
                    let own = layers.iter().filter(|other| *other == **id).count() as u64;
                    self.users.get(**id).is_some_and(|users| *users == own)
                };
                distinct.iter().filter(last).filter_map(|id| self.sizes.get(id)).sum()
            }
            What::Mount { .. } | What::Context { .. } => candidate.record.size,
        }
    }

    fn take(&mut self, candidate: &Candidate) {
        self.total = self.total.saturating_sub(self.freed_by(candidate));
        if let What::Result { layers, .. } | What::Image { layers, .. } = &candidate.what {
            for layer in layers {
                if let Some(users) = self.users.get_mut(layer) {
                    *users = users.saturating_sub(1);
                }
            }
        }
    }
}

/// Orders candidates as BuildKit does: the rank of the last use and the rank of the number of uses weigh
/// the same.
fn by_use(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    let times: BTreeSet<SystemTime> = candidates.iter().map(|candidate| candidate.record.used).collect();
    let counts: BTreeSet<u64> = candidates.iter().map(|candidate| candidate.record.uses).collect();
    let times: HashMap<SystemTime, usize> = times.into_iter().enumerate().map(|(rank, time)| (time, rank)).collect();
    let counts: HashMap<u64, usize> = counts.into_iter().enumerate().map(|(rank, count)| (count, rank)).collect();
    // Both ranks are scaled to the product of their ranges, so that no rounding decides.
    let score = |record: &Record| times[&record.used] * counts.len() + counts[&record.uses] * times.len();
    candidates.sort_by_key(|candidate| score(&candidate.record));
    candidates
}
