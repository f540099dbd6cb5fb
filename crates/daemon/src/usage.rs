//! What the cache takes, and giving it up: for clients that ask, and by rules in the background.
//!
//! Clients see the cache of builds. Images that the command line keeps in the same store are not theirs: layers that
//! only images need, and blobs that belong to no layer, are neither shown nor given up.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use rbuild_buildkit_api::control::{DiskUsageRequest, DiskUsageResponse, PruneRequest, UsageRecord};
use rbuild_store::{Filter, ImagePrune, Kind, PruneOptions, Record, Store};

use crate::config::{GcPolicy, Space};

/// Why the cache cannot be looked at or given up.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The request is at fault.
    #[error("{0}")]
    Request(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rbuild_store::Error),
    /// The disk could not be measured.
    #[error("measuring the disk of the store")]
    Disk(#[source] std::io::Error),
}

impl From<UsageError> for tonic::Status {
    fn from(error: UsageError) -> Self {
        match &error {
            UsageError::Request(_) => Self::invalid_argument(error.to_string()),
            _ => Self::internal(causes(&error)),
        }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", causes(source)))
}

/// The disk that the store lies on.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    /// All of its bytes.
    pub total: u64,
    /// The bytes that are free for us.
    pub free: u64,
}

/// Measures the disk that the store lies on.
///
/// # Errors
/// If the system does not tell.
pub fn disk(store: &Store) -> Result<Disk, UsageError> {
    let found = rustix::fs::statvfs(store.root()).map_err(|errno| UsageError::Disk(errno.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Disk { total: bytes(found.f_blocks), free: bytes(found.f_bavail) })
}

/// Answers `DiskUsage`. Blocks: cache mounts are measured file by file.
///
/// # Errors
/// If a filter is none, or the store fails.
pub fn disk_usage(store: &Store, request: &DiskUsageRequest) -> Result<DiskUsageResponse, UsageError> {
    let filter = any_of(&request.filter)?;
    let age = duration(request.age_limit)?;
    let now = SystemTime::now();
    let old = |record: &Record| age.is_zero() || now.duration_since(record.used).unwrap_or_default() >= age;
    let records = cache(store)?.into_iter().filter(|record| filter.matches(record) && old(record));
    Ok(DiskUsageResponse { record: records.map(usage_record).collect() })
}

/// Answers `Prune` with what was given up. Blocks.
///
/// # Errors
/// If a filter is none, or the store fails.
pub fn prune(store: &Store, request: &PruneRequest) -> Result<Vec<UsageRecord>, UsageError> {
    let bytes =
        |number: i64| u64::try_from(number).map_err(|_| UsageError::Request(format!("space of {number} bytes")));
    let space = |number: i64| bytes(number).map(|bytes| Some(Space::Bytes(bytes)).filter(|_| bytes > 0));
    let rule = GcPolicy {
        all: request.all,
        filters: request.filter.clone(),
        keep_duration: duration(request.keep_duration)?,
        reserved: space(request.reserved_space)?,
        max_used: space(request.max_used_space)?,
        min_free: space(request.min_free_space)?,
    };
    carry_out(store, &rule)
}

/// Gives up what a rule says. Blocks.
///
/// # Errors
/// If a filter is none, or the store fails.
pub fn carry_out(store: &Store, rule: &GcPolicy) -> Result<Vec<UsageRecord>, UsageError> {
    let filter = any_of(&rule.filters)?;
    let keep_storage = match rule.reserved.is_none() && rule.max_used.is_none() && rule.min_free.is_none() {
        true => None,
        false => {
            let used = cache(store)?.iter().map(|record| record.size).sum();
            let keep = keep(rule, used, disk(store)?);
            if used <= keep {
                return Ok(Vec::new());
            }
            Some(keep)
        }
    };
    let options = PruneOptions {
        all: rule.all,
        images: ImagePrune::None,
        until: Some(rule.keep_duration).filter(|age| !age.is_zero()),
        keep_storage,
        filters: vec![filter],
    };
    let reclaimed = store.prune(&options)?;
    Ok(reclaimed.records.into_iter().filter(|record| record.kind != Kind::Blob).map(usage_record).collect())
}

/// Returns how much of the cache stays: all that may be used, less what has to be freed, but never less than what is
/// reserved.
fn keep(rule: &GcPolicy, used: u64, disk: Disk) -> u64 {
    let bytes = |space: Option<Space>| space.map_or(0, |space| space.bytes(disk.total));
    let most = Some(bytes(rule.max_used)).filter(|most| *most > 0);
    let missing = bytes(rule.min_free).saturating_sub(disk.free);
    let rest = Some(used.saturating_sub(missing)).filter(|_| missing > 0);
    let keep = match (most, rest) {
        (Some(most), Some(rest)) => most.min(rest),
        (Some(one), None) | (None, Some(one)) => one,
        // Enough is free already, and nothing else was asked.
        (None, None) if rule.min_free.is_some() => used,
        (None, None) => 0,
    };
    keep.max(bytes(rule.reserved))
}

/// Returns what the cache of builds consists of.
fn cache(store: &Store) -> Result<Vec<Record>, UsageError> {
    let of_results: HashSet<String> = store.database().read("listing cached layers", |connection| {
        connection
            .prepare_cached("SELECT DISTINCT layer FROM result_layers")?
            .query_map([], |row| Ok(format!("layer/{}", row.get::<_, i64>(0)?)))?
            .collect()
    })?;
    let mut records = store.usage()?.records;
    records.retain(|record| record.kind != Kind::Blob && (!record.shared || of_results.contains(&record.id)));
    Ok(records)
}

fn any_of(filters: &[String]) -> Result<Filter, UsageError> {
    let lists = filters.iter().map(|filter| Filter::parse_all(filter)).collect::<Result<Vec<_>, _>>();
    let lists = lists.map_err(|error| UsageError::Request(error.to_string()))?;
    // Without a filter, everything fulfils the empty list.
    Ok(Filter::AnyOf(if lists.is_empty() { vec![Vec::new()] } else { lists }))
}

fn duration(nanoseconds: i64) -> Result<Duration, UsageError> {
    let number = u64::try_from(nanoseconds);
    number.map(Duration::from_nanos).map_err(|_| UsageError::Request(format!("duration of {nanoseconds} ns")))
}

fn usage_record(record: Record) -> UsageRecord {
    UsageRecord {
        id: record.id,
        mutable: record.kind.is_mutable(),
        in_use: record.in_use,
        size: i64::try_from(record.size).unwrap_or(i64::MAX),
        parent: String::new(),
        created_at: Some(record.created.into()),
        last_used_at: Some(record.used.into()),
        usage_count: i64::try_from(record.uses).unwrap_or(i64::MAX),
        description: record.description,
        record_type: record.kind.as_str().to_owned(),
        shared: record.shared,
        parents: Vec::new(),
    }
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;
