//! Limits of the process and of its group.

use serde::{Deserialize, Serialize};

/// One resource limit of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Name as `ulimit` of docker spells it: `nofile`, `core`, `nproc`…
    pub name: String,
    /// Soft limit; `u64::MAX` is none.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is none.
    pub hard: u64,
}

impl Rlimit {
    /// Returns the limits every step gets unless told otherwise.
    pub fn defaults() -> [Rlimit; 2] {
        [
            Rlimit { name: "core".to_owned(), soft: 0, hard: 0 },
            Rlimit { name: "nofile".to_owned(), soft: 1024, hard: 524_288 },
        ]
    }
}

/// Limits of the whole group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together in bytes; -1 is unlimited swap.
    pub memory_swap: Option<i64>,
    /// Weight as docker counts it: 1024 is normal.
    pub cpu_shares: Option<u64>,
    /// Microseconds of processor time per period, `--cpus 1.5` being 150000 of 100000.
    pub cpu_quota: Option<i64>,
    /// Length of the period in microseconds.
    pub cpu_period: Option<u64>,
    /// Processors, `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, `0-1`.
    pub cpuset_mems: Option<String>,
    /// Number of tasks.
    pub pids: Pids,
}

/// How many tasks there may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pids {
    /// 4096, where there is a cgroup to count them.
    #[default]
    Default,
    /// Exactly so many, or the start fails.
    Max(u64),
    /// No limit.
    Unlimited,
}
