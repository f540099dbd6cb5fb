//! Limits and statistics of the unified hierarchy.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use super::devices::{DevicePolicy, program};
use super::{CgroupError, write};
use crate::spec::Limits;

/// Controllers we use where we can.
pub(super) const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "cpuset"];

/// Makes the controllers of `dir` available to its children; what cannot be had stays off.
pub(super) fn enable(dir: &Path) {
    let words = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    let (offered, enabled) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    let has = |list: &str, name: &str| list.split_ascii_whitespace().any(|word| word == name);
    for name in CONTROLLERS {
        if has(&offered, name) && !has(&enabled, name) {
            // EBUSY where processes live in the group itself; whoever needs the controller is told later.
            let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{name}"));
        }
    }
}

/// Moves us one group down, so that the group we were in may pass controllers on to others.
///
/// Done only where that group was made for us: it holds nobody but us and, before a re-execution, our parent.
pub(super) fn make_room(own: &Path) {
    let text = fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default();
    let image = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let me = std::process::id();
    let ours = |pid: u32| pid == me || (pid == std::os::unix::process::parent_id() && image(pid) == image(me));
    let pids: Option<Vec<u32>> = text.lines().map(|line| line.parse().ok()).collect();
    let Some(pids) = pids.filter(|pids| !pids.is_empty() && pids.iter().all(|pid| ours(*pid))) else { return };
    let engine = own.join("rbuild-engine");
    // Without the right to do so nothing changes, and whoever needs a controller is told.
    let _ = fs::create_dir(&engine);
    for pid in pids {
        let _ = fs::write(engine.join("cgroup.procs"), pid.to_string());
    }
}

/// Returns what the group offers.
pub(super) fn controllers(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Sets the limits of a group that has the controllers they need.
pub(super) fn set(dir: &Path, limits: &Limits, pids: Option<u64>) -> Result<(), CgroupError> {
    for (file, value) in files(limits, pids) {
        write(&dir.join(file), &value)?;
    }
    // The processes of a step end together; absent before 4.19 and where memory is not controlled.
    let group = dir.join("memory.oom.group");
    if group.exists() { write(&group, "1") } else { Ok(()) }
}

fn files(limits: &Limits, pids: Option<u64>) -> Vec<(&'static str, String)> {
    let mut files = Vec::new();
    if let Some(memory) = limits.memory {
        files.push(("memory.max", memory.to_string()));
        match limits.memory_swap {
            Some(-1) => {}
            Some(both) => {
                files.push(("memory.swap.max", both.saturating_sub_unsigned(memory).max(0).to_string()));
            }
            None => files.push(("memory.swap.max", memory.to_string())),
        }
    }
    if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
        let quota = limits.cpu_quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        files.push(("cpu.max", format!("{quota} {}", limits.cpu_period.unwrap_or(100_000))));
    }
    if let Some(shares) = limits.cpu_shares {
        files.push(("cpu.weight", weight(shares).to_string()));
    }
    if let Some(cpus) = &limits.cpuset_cpus {
        files.push(("cpuset.cpus", cpus.clone()));
    }
    if let Some(mems) = &limits.cpuset_mems {
        files.push(("cpuset.mems", mems.clone()));
    }
    files.extend(pids.map(|max| ("pids.max", max.to_string())));
    files
}

/// Maps 2..=262144 linearly to 1..=10000, as OCI runtimes do.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Lets the group use only what `policy` allows.
pub(super) fn devices(dir: &Path, policy: &DevicePolicy) -> std::io::Result<()> {
    let DevicePolicy::Only(rules) = policy else { return Ok(()) };
    let group = fs::File::open(dir)?;
    let program = rbuild_sys::bpf::load_device_program(&program(rules))?;
    rbuild_sys::bpf::attach_device_program(group.as_fd(), program.as_fd())
}

/// Returns how often the kernel killed for memory in this group.
pub(super) fn oom_kills(dir: &Path) -> u64 {
    let text = fs::read_to_string(dir.join("memory.events")).unwrap_or_default();
    super::field(&text, "oom_kill").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written() {
        let limits = Limits {
            memory: Some(100),
            memory_swap: Some(150),
            cpu_quota: Some(50_000),
            cpu_shares: Some(1024),
            cpuset_cpus: Some("0".to_owned()),
            ..Limits::default()
        };
        let lines: Vec<String> =
            files(&limits, Some(7)).iter().map(|(file, value)| format!("{file}={value}")).collect();
        let expect = "memory.max=100 memory.swap.max=50 cpu.max=50000 100000 cpu.weight=39 cpuset.cpus=0 pids.max=7";
        assert_eq!(lines.join(" "), expect);
        assert_eq!((weight(2), weight(262_144), weight(0)), (1, 10_000, 1));
        assert!(files(&Limits::default(), None).is_empty());
    }
}
