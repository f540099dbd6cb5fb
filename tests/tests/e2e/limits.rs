//! Limits are shown to be enforced, for RUN steps and for containers.

use crate::lab::{Lab, root_or_skip};

/// Reads a limit as the process inside sees it: cgroup v2's name, else v1's.
const READ: &str = "read_limit() { for f in /sys/fs/cgroup/$1 /sys/fs/cgroup/*/$2; do [ -e $f ] && cat $f && return; done; echo missing; }";

// items: R012
#[test]
fn root_step_over_its_memory_is_killed() {
    let lab = Lab::new();
    if !root_or_skip() {
        return;
    }
    let outcome = lab.build("FROM busybox\nRUN tail -c 100m /dev/zero\n", &[], &["--memory=32m"]).exits(1);
    outcome.says("137");
    lab.build("FROM busybox\nRUN head -c 8m /dev/zero | tail -c 8m | wc -c\n", &[], &["--memory=32m"]).ok();
}

#[test]
fn root_container_over_its_memory_is_killed() {
    let lab = Lab::new();
    if root_or_skip() {
        lab.sh("--memory=32m --network=none", "exec tail -c 100m /dev/zero").exits(137);
    }
}

#[test]
fn root_processes_are_limited() {
    let lab = Lab::new();
    if root_or_skip() {
        let outcome = lab.sh(
            "--pids-limit=12 --network=none",
            "n=0; while [ $n -lt 30 ]; do sleep 5 & n=$((n+1)); done; kill %1; echo all",
        );
        assert!(outcome.stderr.contains("fork") && !outcome.stdout.contains("all"), "{outcome:?}");
    }
}

// items: R012
#[test]
fn root_time_and_processes_are_limited_by_cgroup_files() {
    let lab = Lab::new();
    if !root_or_skip() {
        return;
    }
    let script = format!(
        "{READ}\nread_limit cpu.max cpu.cfs_quota_us; read_limit memory.max memory.limit_in_bytes; read_limit pids.max pids.max"
    );
    let printed = lab.step("", &script, &["--cpus=0.5", "--memory=64m"]);
    let lines: Vec<_> = printed.lines().collect();
    assert!(matches!(lines[0], "50000 100000" | "50000"), "{printed}");
    assert_eq!(lines[1], (64 << 20).to_string(), "{printed}");
    assert!(lines[2].parse::<u32>().is_ok_and(|pids| (4096..4200).contains(&pids)), "{printed}");
    let script = format!(
        "{READ}\nread_limit cpu.max cpu.cfs_quota_us; read_limit cpuset.cpus cpuset.cpus; read_limit cpu.weight cpu.shares"
    );
    let printed =
        lab.step("", &script, &["--cpu-quota=20000", "--cpu-period=50000", "--cpuset-cpus=0", "--cpu-shares=512"]);
    let lines: Vec<_> = printed.lines().collect();
    assert!(matches!(lines[0], "20000 50000" | "20000") && lines[1] == "0", "{printed}");
    assert!(lines[2].parse::<u32>().is_ok_and(|weight| weight == 512 || weight < 100), "{printed}");
}

// items: R012
#[test]
fn resource_limits_of_processes() {
    let lab = Lab::new();
    let printed = lab.step("", "ulimit -n; ulimit -Hn; ulimit -c", &["--ulimit=nofile=123:456"]);
    assert_eq!(printed, "123\n456\n0\n");
    lab.sh("--ulimit nofile=77 --network=none", "ulimit -n; ulimit -Hn").ok().prints("77\n77");
}

// items: R012
#[test]
fn shared_memory_has_the_size_asked_for() {
    let lab = Lab::new();
    let df = "df -k /dev/shm | awk 'END {print $2}'";
    assert_eq!(lab.step("", df, &[]), "65536\n");
    assert_eq!(lab.step("", df, &["--shm-size=7m"]), "7168\n");
    lab.sh("--shm-size=3m --network=none", df).ok().prints("3072");
}

// items: R012 K002
#[test]
fn limits_are_no_part_of_the_key() {
    let lab = Lab::new();
    if !root_or_skip() {
        return;
    }
    let dockerfile = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\n";
    let id = |args: &[&str]| {
        lab.build(dockerfile, &[], &[&["-t", "app"], args].concat()).ok();
        lab.inspect("app")["RootFS"].clone()
    };
    assert_eq!(id(&["--memory=64m"]), id(&["--cpus=1"]));
}

/// Without cgroups of its own, an ordinary user is told rather than left unlimited.
#[test]
fn limits_that_cannot_be_kept_are_refused() {
    if crate::lab::is_root() {
        return;
    }
    let lab = Lab::new();
    let outcome = lab.build("FROM busybox\nRUN tail -c 100m /dev/zero\n", &[], &["--memory=32m"]).exits(1);
    assert!(outcome.stderr.contains("137") || outcome.stderr.contains("memory"), "{outcome:?}");
}
