//! Limits and statistics of v1 controllers.

use std::path::Path;

use super::devices::{DevicePolicy, Rule};
use super::{CgroupError, CgroupError as Error, read_number, write};
use crate::spec::Limits;

/// Controllers without which a limit cannot be kept.
pub(super) fn needed(limits: &Limits, pids: bool) -> Vec<&'static str> {
    let mut needed = Vec::new();
    if limits.memory.is_some() || limits.memory_swap.is_some() {
        needed.push("memory");
    }
    if limits.cpu_shares.is_some() || limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
        needed.push("cpu");
    }
    if limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some() {
        needed.push("cpuset");
    }
    if pids {
        needed.push("pids");
    }
    needed
}

/// Sets what concerns `controller` in the group `dir`.
pub(super) fn set(dir: &Path, controller: &str, limits: &Limits, pids: Option<u64>) -> Result<(), Error> {
    match controller {
        "memory" => memory(dir, limits),
        "cpu" => cpu(dir, limits),
        "cpuset" => cpuset(dir, limits),
        "pids" => pids.map_or(Ok(()), |max| write(&dir.join("pids.max"), &max.to_string())),
        _ => Ok(()),
    }
}

fn memory(dir: &Path, limits: &Limits) -> Result<(), Error> {
    let Some(memory) = limits.memory else { return Ok(()) };
    write(&dir.join("memory.limit_in_bytes"), &memory.to_string())?;
    let swap = dir.join("memory.memsw.limit_in_bytes");
    match limits.memory_swap {
        Some(-1) => Ok(()),
        Some(both) => write(&swap, &both.to_string()),
        // As docker: as much swap again, where swap is accounted for at all.
        None if swap.exists() => write(&swap, &memory.saturating_mul(2).to_string()),
        None => Ok(()),
    }
}

fn cpu(dir: &Path, limits: &Limits) -> Result<(), Error> {
    if let Some(shares) = limits.cpu_shares {
        write(&dir.join("cpu.shares"), &shares.to_string())?;
    }
    if let Some(period) = limits.cpu_period {
        write(&dir.join("cpu.cfs_period_us"), &period.to_string())?;
    }
    match limits.cpu_quota {
        Some(quota) => write(&dir.join("cpu.cfs_quota_us"), &quota.to_string()),
        None => Ok(()),
    }
}

fn cpuset(dir: &Path, limits: &Limits) -> Result<(), Error> {
    for (file, value) in [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)] {
        match value {
            Some(value) => write(&dir.join(file), value)?,
            None => inherit(dir, file)?,
        }
    }
    Ok(())
}

/// Gives a new cpuset what its parent has: an empty one cannot hold processes.
pub(super) fn inherit_cpuset(dir: &Path) -> Result<(), Error> {
    ["cpuset.cpus", "cpuset.mems"].into_iter().try_for_each(|file| inherit(dir, file))
}

fn inherit(dir: &Path, file: &str) -> Result<(), Error> {
    let read = |dir: &Path| std::fs::read_to_string(dir.join(file)).map(|text| text.trim().to_owned());
    let parent = dir.parent().unwrap_or(dir);
    match (read(dir), read(parent)) {
        (Ok(own), Ok(above)) if own.is_empty() && !above.is_empty() => write(&dir.join(file), &above),
        _ => Ok(()),
    }
}

/// Lets the group use only what `policy` allows.
pub(super) fn devices(dir: &Path, policy: &DevicePolicy) -> Result<(), CgroupError> {
    match policy {
        DevicePolicy::All => Ok(()),
        DevicePolicy::Only(rules) => {
            write(&dir.join("devices.deny"), "a")?;
            let allow = dir.join("devices.allow");
            rules.iter().map(Rule::line).try_for_each(|line| write(&allow, &line))
        }
    }
}

/// Returns how often the kernel killed for memory in this group.
pub(super) fn oom_kills(dir: &Path) -> u64 {
    let text = std::fs::read_to_string(dir.join("memory.oom_control")).unwrap_or_default();
    super::field(&text, "oom_kill").unwrap_or(0)
}

pub(super) fn memory_now(dir: &Path) -> Option<u64> {
    read_number(&dir.join("memory.usage_in_bytes"))
}

pub(super) fn memory_peak(dir: &Path) -> Option<u64> {
    read_number(&dir.join("memory.max_usage_in_bytes"))
}
