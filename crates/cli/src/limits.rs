//! Flags that limit what each step of a build may use, with docker's names.

use rbuild_build::Resources;

use crate::value;

/// What each step may use.
#[derive(Debug, clap::Args)]
pub(crate) struct Limits {
    /// Memory limit of each RUN step
    #[arg(short, long, value_name = "BYTES", value_parser = value::size)]
    memory: Option<u64>,
    /// Limit of memory and swap of each RUN step, -1 for unlimited swap
    #[arg(long, value_name = "BYTES", value_parser = value::memory_swap, allow_hyphen_values = true, requires = "memory")]
    memory_swap: Option<i64>,
    /// CPU limit of each RUN step, in CPUs
    #[arg(long, value_name = "NUMBER", value_parser = value::cpus, conflicts_with_all = ["cpu_period", "cpu_quota"])]
    cpus: Option<f64>,
    /// CPU time of each RUN step beside that of others (1024 is normal)
    #[arg(short, long, value_name = "WEIGHT", value_parser = clap::value_parser!(u64).range(2..=262_144))]
    cpu_shares: Option<u64>,
    /// Microseconds in which `--cpu-quota` may be used up
    #[arg(long, value_name = "MICROSECONDS", value_parser = clap::value_parser!(u64).range(1_000..=1_000_000))]
    cpu_period: Option<u64>,
    /// Microseconds of CPU time in each period
    #[arg(long, value_name = "MICROSECONDS", value_parser = clap::value_parser!(i64).range(1_000..))]
    cpu_quota: Option<i64>,
    /// CPUs that RUN steps run on (`0-3`, `0,1`)
    #[arg(long, value_name = "LIST", value_parser = value::number_list)]
    cpuset_cpus: Option<String>,
    /// Memory nodes that RUN steps use (`0-3`, `0,1`)
    #[arg(long, value_name = "LIST", value_parser = value::number_list)]
    cpuset_mems: Option<String>,
}

impl Limits {
    /// Returns what the builder is asked.
    pub(crate) fn resources(&self) -> Resources {
        Resources {
            memory: self.memory,
            memory_swap: self.memory_swap,
            cpus: self.cpus,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
        }
    }
}
