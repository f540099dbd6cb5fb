//! Limits that bite, and groups that go away.

use anyhow::{Result, ensure};
use rbuild_sandbox::{Limits, Pids};

use super::Test;
use super::rootfs::{Fixture, check_refused, run, shell};

pub(crate) const TESTS: &[Test] = &[
    ("memory", memory),
    ("pids", pids),
    ("cpu", cpu),
    ("written_values", written_values),
    ("impossible_limits", impossible_limits),
    ("parent", parent),
    ("stale_groups", stale_groups),
    ("unified", unified),
];

fn memory() -> Result<()> {
    let fixture = Fixture::new()?;
    for (init, script) in [
        (true, "dd if=/dev/zero of=/dev/shm/x bs=1M count=60; echo survived"),
        (false, "dd if=/dev/zero of=/dev/shm/x bs=1M count=60; echo survived"),
        (true, "/bin/busybox tail -c 100m /dev/zero; echo survived"),
        (true, "exec /bin/busybox tail -c 100m /dev/zero"),
        (false, "exec /bin/busybox tail -c 100m /dev/zero"),
    ] {
        let mut spec = fixture.spec(script);
        spec.init = init;
        spec.limits = Limits { memory: Some(16 << 20), memory_swap: Some(16 << 20), ..Limits::default() };
        let output = run(&spec)?;
        ensure!(output.exit.oom, "{output:?}");
        ensure!(!script.starts_with("exec") || output.exit.code == 137, "{output:?}");
        ensure!(output.exit.stats.memory_peak.is_some_and(|peak| (1 << 20..17 << 20).contains(&peak)), "{output:?}");
    }
    Ok(())
}

fn pids() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec("for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2 & done; wait; echo survived");
    spec.limits.pids = Pids::Max(4);
    let output = run(&spec)?;
    ensure!(output.stderr.contains("can't fork") && !output.exit.oom, "{output:?}");
    Ok(())
}

fn cpu() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; cat /sys/fs/cgroup/cpu/cpu.stat /sys/fs/cgroup/cpu.stat 2>/dev/null");
    spec.limits = Limits { cpu_quota: Some(5_000), cpu_period: Some(50_000), ..Limits::default() };
    let output = run(&spec)?;
    let throttled =
        output.stdout.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap_or("0").trim().to_owned();
    ensure!(throttled.parse::<u32>()? > 0, "{output:?}");
    Ok(())
}

fn written_values() -> Result<()> {
    if !std::path::Path::new("/sys/fs/cgroup/memory").exists() {
        eprintln!("skipped: the values are those of v1");
        return Ok(());
    }
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us cpuset/cpuset.cpus";
    let output = shell(script, |spec, _| {
        spec.limits = Limits {
            memory: Some(64 << 20),
            cpu_shares: Some(512),
            cpu_quota: Some(150_000),
            cpuset_cpus: Some("0".to_owned()),
            ..Limits::default()
        };
    })?;
    ensure!(output == "67108864\n4097\n512\n150000\n0\n", "{output}");
    let output = shell("cat /sys/fs/cgroup/pids/pids.max", |spec, _| {
        spec.init = false;
        spec.limits.pids = Pids::Max(100);
    })?;
    ensure!(output == "100\n", "{output}");
    Ok(())
}

fn impossible_limits() -> Result<()> {
    check_refused("CPU quota 10 is out of range", |spec, _| spec.limits.cpu_quota = Some(10))?;
    check_refused("writing `99999` to", |spec, _| spec.limits.cpuset_cpus = Some("99999".to_owned()))?;
    check_refused("must be absolute", |spec, _| spec.cgroup_parent = Some("/a/../../x".into()))?;
    Ok(())
}

fn parent() -> Result<()> {
    let output =
        shell("cat /proc/self/cgroup", |spec, _| spec.cgroup_parent = Some("/rbuild-test-parent/inner".into()))?;
    ensure!(!output.contains("rbuild-test-parent"), "{output}");
    for dir in ["/sys/fs/cgroup/memory/rbuild-test-parent", "/sys/fs/cgroup/rbuild-test-parent"] {
        ensure!(!std::path::Path::new(dir).exists(), "{dir} was left behind");
    }
    Ok(())
}

/// A group whose engine is gone is removed by the next one, with what runs in it.
fn stale_groups() -> Result<()> {
    let text = std::fs::read_to_string("/proc/self/cgroup")?;
    let Some(own) = text.lines().find_map(|line| line.split_once(":pids:").map(|(_, own)| own.to_owned())) else {
        eprintln!("skipped: the group is made by hand in v1");
        return Ok(());
    };
    use std::os::unix::fs::MetadataExt;
    let namespace = std::fs::metadata("/proc/self/ns/pid")?.ino();
    let folder = std::path::Path::new("/sys/fs/cgroup/pids").join(own.trim_start_matches('/')).join("rbuild");
    let stale = folder.join(format!("{namespace}-{}-1-1", std::process::id()));
    std::fs::create_dir_all(&stale)?;
    let mut child = std::process::Command::new("/bin/busybox").args(["sleep", "1000"]).spawn()?;
    std::fs::write(stale.join("cgroup.procs"), child.id().to_string())?;
    let _sandbox = rbuild_sandbox::Sandbox::detect()?;
    ensure!(!stale.exists(), "the stale group is still there");
    let status = child.wait()?;
    ensure!(std::os::unix::process::ExitStatusExt::signal(&status) == Some(9), "{status:?}");
    let _ = std::fs::remove_dir(folder);
    Ok(())
}

/// The unified hierarchy, also where it has no controllers: birth, devices, view, removal.
fn unified() -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let Some(line) = mounts.lines().find(|line| line.contains(" - cgroup2 ")) else {
        eprintln!("skipped: cgroup2 is not mounted");
        return Ok(());
    };
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let facts = super::rootfs::sandbox().facts().clone();
    let cgroups = rbuild_sandbox::cgroup::Cgroups::described(line, &own, true)?;
    let sandbox = rbuild_sandbox::Sandbox::with_cgroups(facts, cgroups)?;
    let fixture = Fixture::new()?;
    for init in [true, false] {
        let script = "grep ^0 /proc/self/cgroup; grep -c ' /sys/fs/cgroup cgroup2 ro' /proc/mounts; head -1 /sys/fs/cgroup/cgroup.procs
            mknod /tmp/kmsg c 1 11; mknod /tmp/fuse c 10 229; mknod /tmp/null c 1 3
            for d in kmsg fuse null; do (: < /tmp/$d) 2>/dev/null && echo $d; done; rm /tmp/*";
        let mut spec = fixture.spec(script);
        spec.init = init;
        let running = sandbox.start(&spec, Vec::new())?;
        let controlled =
            std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|text| text.contains("pids"));
        ensure!(
            controlled != running.warnings().iter().any(|warning| warning.contains("pids")),
            "{:?}",
            running.warnings()
        );
        let output = super::rootfs::finish(running)?;
        let first = if init { 1 } else { 0 };
        ensure!(output.stdout == format!("0::/\n1\n{first}\nnull\n"), "{output:?}");
        ensure!(output.exit.complaints.is_empty(), "{output:?}");
    }
    // A limit without its controller is refused.
    let mut spec = fixture.spec("true");
    spec.limits.memory = Some(64 << 20);
    let refused = sandbox.start(&spec, Vec::new()).map(drop);
    let delegated =
        std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|text| text.contains("memory"));
    ensure!(delegated || refused.is_err_and(|error| error.to_string().contains("`memory`")), "it was not refused");
    Ok(())
}
