//! What the daemon says of itself: its version, its one worker, what that can run and what it gives up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_buildkit_api::control::{InfoResponse, ListWorkersResponse};
use rbuild_buildkit_api::worker::{BuildkitVersion, CdiDevice, GCPolicy, WorkerRecord};
use rbuild_graph::pb;
use rbuild_oci::{Digest, Platform};
use rbuild_ops::{DescribedDevice, described_devices};
use rbuild_store::Store;

use crate::config::{self, GcPolicy};
use crate::fault::Fault;
use crate::usage::{self, UsageError};

/// The version of BuildKit whose services these are, then our own. What clients may ask for is told by
/// capabilities; this is for people.
const VERSION: &str = concat!("v0.32.0+rbuild.", env!("CARGO_PKG_VERSION"));

/// The version of BuildKit's Dockerfile frontend whose syntax the built-in one reads.
pub(crate) const DOCKERFILE_VERSION: &str = "1.26";

/// The version of what outputs look like, as BuildKit numbers it, and the older ones that it has besides.
pub(crate) const COMPATIBILITY: u32 = 30;
const OLDER: [i64; 2] = [10, 20];

/// Refuses to look like another version of BuildKit than the one that outputs are like.
pub(crate) fn check_compatibility(asked: i64) -> Result<(), Fault> {
    let current = i64::from(COMPATIBILITY);
    let reason = match asked {
        0 => return Ok(()),
        asked if asked == current => return Ok(()),
        asked if asked > current => format!("upgrade rbuild (max supported: {current})"),
        asked if OLDER.contains(&asked) => format!("outputs are like those of version {current} only"),
        _ => format!("supported: [{current}]"),
    };
    Err(Fault::new(format!("unsupported compatibility-version {asked}: {reason}")))
}

/// The names of labels begin with it.
const LABEL: &str = "org.mobyproject.buildkit.worker.";

/// Returns which BuildKit the daemon passes for.
pub fn buildkit_version() -> BuildkitVersion {
    BuildkitVersion {
        package: "rbuild".to_owned(),
        version: VERSION.to_owned(),
        revision: env!("CARGO_PKG_VERSION").to_owned(),
        dockerfile_version: DOCKERFILE_VERSION.to_owned(),
    }
}

/// Answers `Info`.
pub fn info() -> InfoResponse {
    InfoResponse { buildkit_version: Some(buildkit_version()) }
}

/// What the daemon knows of its worker.
#[derive(Debug, Clone)]
pub struct Worker {
    /// What the administrator says.
    pub config: config::Worker,
    /// The name of this machine.
    pub hostname: String,
    /// How roots of steps are made: `overlayfs`, `fuse-overlayfs` or `native`.
    pub snapshotter: &'static str,
    /// The network of steps: `bridge`, `host` or `none`.
    pub network: &'static str,
    /// What this machine runs, its own platform first.
    pub platforms: Vec<Platform>,
}

impl Worker {
    /// Returns the worker's name, the same as long as the store lies where it does.
    pub fn id(&self, store: &Store) -> String {
        let place = format!("{}\0{}", self.hostname, store.root().display());
        Digest::of(place.as_bytes()).hex().chars().take(25).collect()
    }

    /// Returns the labels, those of the administrator last.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let own = [
            ("executor", "oci"),
            ("hostname", self.hostname.as_str()),
            ("network", self.network),
            ("oci.process-mode", "sandbox"),
            ("selinux.enabled", "false"),
            ("snapshotter", self.snapshotter),
        ];
        let mut labels: BTreeMap<String, String> =
            own.into_iter().map(|(name, value)| (format!("{LABEL}{name}"), value.to_owned())).collect();
        labels.extend(self.config.labels.clone());
        labels
    }

    /// Answers `ListWorkers`; a filter is a beginning of an id, and any of several will do.
    ///
    /// # Errors
    /// If the disk cannot be measured.
    pub fn list(&self, store: &Store, filters: &[String]) -> Result<ListWorkersResponse, UsageError> {
        let id = self.id(store);
        let wanted = |filter: &String| {
            let text = filter.strip_prefix("id~=").or_else(|| filter.strip_prefix("id==")).unwrap_or(filter);
            id.starts_with(text)
        };
        if !filters.is_empty() && !filters.iter().any(wanted) {
            return Ok(ListWorkersResponse::default());
        }
        Ok(ListWorkersResponse { record: vec![self.record(store, id)?] })
    }

    fn record(&self, store: &Store, id: String) -> Result<WorkerRecord, UsageError> {
        let platforms = if self.config.platforms.is_empty() { &self.platforms } else { &self.config.platforms };
        let total = usage::disk(store)?.total;
        Ok(WorkerRecord {
            id,
            labels: self.labels(),
            platforms: platforms.iter().map(platform).collect(),
            gc_policy: self.config.gc.rules(total).iter().map(|rule| policy(rule, total)).collect(),
            buildkit_version: Some(buildkit_version()),
            cdi_devices: Vec::new(),
        })
    }
}

/// Returns the devices that steps may be given, as clients are told of them; they may come and go at any time.
pub(crate) fn devices(directories: &[PathBuf]) -> Vec<CdiDevice> {
    let device = |found: DescribedDevice| CdiDevice {
        name: found.name,
        auto_allow: found.is_free,
        annotations: found.annotations,
        on_demand: false,
    };
    described_devices(directories).into_iter().map(device).collect()
}

fn platform(platform: &Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone().unwrap_or_default(),
        os_version: platform.os_version.clone().unwrap_or_default(),
        os_features: platform.os_features.clone(),
    }
}

fn policy(rule: &GcPolicy, total: u64) -> GCPolicy {
    let bytes =
        |space: Option<config::Space>| space.map_or(0, |space| i64::try_from(space.bytes(total)).unwrap_or(i64::MAX));
    GCPolicy {
        all: rule.all,
        keep_duration: i64::try_from(rule.keep_duration.as_nanos()).unwrap_or(i64::MAX),
        filters: rule.filters.clone(),
        reserved_space: bytes(rule.reserved),
        max_used_space: bytes(rule.max_used),
        min_free_space: bytes(rule.min_free),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> Worker {
        let mut config = config::Worker::default();
        config.labels.insert("foo".to_owned(), "bar".to_owned());
        let platforms = vec![Platform::host()];
        Worker { config, hostname: "here".to_owned(), snapshotter: "overlayfs", network: "bridge", platforms }
    }

    #[test]
    fn clients_are_told_what_they_look_for() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let worker = worker();
        let records = worker.list(&store, &[]).unwrap().record;
        let [record] = records.as_slice() else { panic!("one worker") };
        assert_eq!(record.labels["org.mobyproject.buildkit.worker.snapshotter"], "overlayfs");
        assert_eq!(record.labels["foo"], "bar");
        assert_eq!(record.platforms[0].os, "linux");
        assert_eq!(record.gc_policy.len(), 4);
        assert_eq!(record.gc_policy[0].keep_duration, 48 * 3600 * 1_000_000_000);
        assert!(record.buildkit_version.as_ref().unwrap().version.starts_with("v0."));
        assert_eq!(worker.id(&store), record.id);
        for (filter, found) in [(&record.id[..3], 1), ("id==zzz", 0)] {
            assert_eq!(worker.list(&store, &[filter.to_owned()]).unwrap().record.len(), found);
        }
    }

    #[test]
    fn platforms_of_the_administrator_are_told_instead() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let mut worker = worker();
        worker.config.platforms = vec!["linux/s390x".parse().unwrap()];
        worker.config.gc.enabled = false;
        let record = worker.list(&store, &[]).unwrap().record.remove(0);
        assert_eq!(record.platforms.len(), 1);
        assert_eq!(record.platforms[0].architecture, "s390x");
        assert!(record.gc_policy.is_empty());
    }

    #[test]
    fn devices_are_told_with_what_is_said_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let text = r#"{"cdiVersion": "0.6.0", "kind": "v.com/d", "devices": [{"name": "a"}, {"name": "b"}],
            "annotations": {"org.mobyproject.buildkit.device.autoallow": "true", "x": "y"}}"#;
        std::fs::write(directory.path().join("v.json"), text).unwrap();
        let told = devices(&[directory.path().to_owned()]);
        assert_eq!(told.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(), ["v.com/d=a", "v.com/d=b"]);
        assert!(told[0].auto_allow && told[0].annotations["x"] == "y");
        assert!(devices(&[directory.path().join("none")]).is_empty());
    }
}
