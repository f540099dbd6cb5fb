//! Messages that describe a vertex without being part of its identity.

use std::collections::BTreeMap;

/// What is known of a vertex besides its identity.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OpMetadata {
    /// Whether the vertex runs although its result is known.
    #[prost(bool, tag = "1")]
    pub ignore_cache: bool,
    /// Free texts; see [`description`](crate::description).
    #[prost(btree_map = "string, string", tag = "2")]
    pub description: BTreeMap<String, String>,
    /// Whether the result is exported with the cache.
    #[prost(message, optional, tag = "4")]
    pub export_cache: Option<ExportCache>,
    /// What the vertex asks of the engine.
    #[prost(btree_map = "string, bool", tag = "5")]
    pub caps: BTreeMap<String, bool>,
    /// The group it is shown in.
    #[prost(message, optional, tag = "6")]
    pub progress_group: Option<ProgressGroup>,
    /// Limits of the control group it runs in.
    #[prost(message, optional, tag = "7")]
    pub linux_resources: Option<LinuxResources>,
}

impl OpMetadata {
    /// Takes over what `other` says, as two mentions of one vertex are joined.
    pub fn merge(&mut self, other: &Self) {
        self.ignore_cache |= other.ignore_cache;
        let texts = other.description.iter();
        self.description.extend(texts.map(|(key, text)| (key.clone(), text.clone())));
        if other.export_cache.is_some() {
            self.export_cache = other.export_cache;
        }
        self.caps.extend(other.caps.keys().map(|cap| (cap.clone(), true)));
        if other.progress_group.is_some() {
            self.progress_group.clone_from(&other.progress_group);
        }
        if other.linux_resources.is_some() {
            self.linux_resources.clone_from(&other.linux_resources);
        }
    }
}

/// Whether a result is exported with the cache.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ExportCache {
    /// Whether it is.
    #[prost(bool, tag = "1")]
    pub value: bool,
}

/// A group of vertices shown as one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProgressGroup {
    /// Identity of the group.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Whether another vertex's group goes before.
    #[prost(bool, tag = "3")]
    pub weak: bool,
}

/// Limits of a control group.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LinuxResources {
    /// Bytes of memory.
    #[prost(int64, tag = "1")]
    pub memory: i64,
    /// Bytes of memory and swap together.
    #[prost(int64, tag = "2")]
    pub memory_swap: i64,
    /// Relative weight.
    #[prost(uint64, tag = "3")]
    pub cpu_shares: u64,
    /// Period of the quota in microseconds.
    #[prost(uint64, tag = "4")]
    pub cpu_period: u64,
    /// Processor time per period in microseconds.
    #[prost(int64, tag = "5")]
    pub cpu_quota: i64,
    /// Processors, such as `0-3`.
    #[prost(string, tag = "6")]
    pub cpuset_cpus: String,
    /// Memory nodes, such as `0,1`.
    #[prost(string, tag = "7")]
    pub cpuset_mems: String,
}
