//! The same boxes as uid 0 of a user namespace only, with one id and with a range.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rbuild_sandbox::{Limits, Network, RootSpec, SandboxSpec};

use super::Test;
use super::rootfs::{Fixture, check_refused, check_with, run, sandbox};

/// The first argument that chooses the tests inside.
pub(crate) const INSIDE: &str = "inside_";

pub(crate) const TESTS: &[Test] = &[("userns_single_id", single_id), ("userns_range", range)];

pub(crate) const TESTS_INSIDE: &[Test] = &[
    ("inside_profile", profile),
    ("inside_devices", devices),
    ("inside_no_trace", no_trace),
    ("inside_host_network", host_network),
    ("inside_users", users),
    ("inside_limits", limits),
    ("inside_without_init", without_init),
];

fn single_id() -> Result<()> {
    inside("exec \"$0\" inside_", &["-U", "-r", "-m"], None)
}

/// With a range that root maps by itself, whatever `/etc/subuid` says.
fn range() -> Result<()> {
    let script = "read go; exec setpriv --reuid 0 --regid 0 --clear-groups \"$0\" inside_";
    inside(script, &["-U", "-m", "--keep-caps"], Some("0 100000 65536\n"))
}

/// Runs this binary again in a user namespace, whose maps are written when it waits for that.
fn inside(script: &str, options: &[&str], map: Option<&str>) -> Result<()> {
    let mut command = Command::new("unshare");
    command.args(options).args(["--", "sh", "-c", script]).arg(std::env::current_exe()?);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(map) = map {
        let own = std::fs::read_link("/proc/self/ns/user")?;
        let other = format!("/proc/{}/ns/user", child.id());
        while std::fs::read_link(&other)? == own {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        for file in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{file}", child.id()), map)?;
        }
        child.stdin.take().context("a pipe")?.write_all(b"go\n")?;
    }
    let output = child.wait_with_output()?;
    let (text, refused) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if refused.contains("unshare") && text.is_empty() {
        eprintln!("skipped: {refused}");
        return Ok(());
    }
    ensure!(output.status.success(), "{text}{refused}");
    Ok(())
}

fn rootless(spec: &mut SandboxSpec, _: &Fixture) {
    if let RootSpec::Overlay { userxattr, .. } = &mut spec.root {
        *userxattr = true;
    }
}

fn profile() -> Result<()> {
    ensure!(sandbox().facts().rootless);
    let script = "grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|Seccomp):' /proc/self/status; touch /sys/x 2>&1 | grep -c Read-only
        cat /proc/keys | wc -c; grep -c ' /proc/sys proc ro' /proc/mounts; ls /proc | grep -c '^[0-9]'; mount -t tmpfs none /tmp 2>&1 | grep -c permi";
    let expect = "CapInh:\t0000000000000000
CapPrm:\t00000000a80425fb
CapEff:\t00000000a80425fb
CapBnd:\t00000000a80425fb
CapAmb:\t0000000000000000
Seccomp:\t2
1
0
1
4
1";
    check_with(script, expect, rootless)
}

fn devices() -> Result<()> {
    let script = "cd /dev; for d in null zero full random urandom tty; do stat -c '%F %t:%T' $d | sed 's/character special file/char/'; done
        echo x > null && head -c 3 zero | wc -c; ls pts; mknod /tmp/x c 1 3 2>&1 | grep -c permitted; ls /dev/mqueue | wc -l";
    check_with(script, "char 1:3\nchar 1:5\nchar 1:7\nchar 1:8\nchar 1:9\nchar 5:0\n3\nptmx\n1\n0", rootless)
}

fn no_trace() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec("cat /etc/hosts; rm /etc/group; ls /etc");
    rootless(&mut spec, &fixture);
    spec.hosts = Some("h\n".to_owned());
    let output = run(&spec)?;
    ensure!(output.stdout == "h\nhosts\npasswd\n" && output.exit.complaints.is_empty(), "{output:?}");
    let left: Vec<String> = fixture.upper().into_iter().collect();
    ensure!(left == ["etc", "etc/group"], "{left:?}");
    Ok(())
}

fn host_network() -> Result<()> {
    check_with(
        "ls /sys | grep -c class; touch /sys/x 2>&1 | grep -c Read-only; grep -c ' /sys/firmware tmpfs ro' /proc/mounts",
        "1\n1\n1",
        |spec, fixture| {
            rootless(spec, fixture);
            spec.network = Network::Host;
        },
    )
}

fn users() -> Result<()> {
    if sandbox().facts().setgroups {
        return check_with("id -u; id -G", "1000\n1001 10", |spec, fixture| {
            rootless(spec, fixture);
            spec.user = "user".to_owned();
        });
    }
    check_refused("the id is not mapped into this user namespace", |spec, fixture| {
        rootless(spec, fixture);
        spec.user = "user".to_owned();
    })?;
    check_refused("setting supplementary groups is not possible without root", |spec, _| {
        spec.extra_groups = vec!["10".to_owned()]
    })?;
    check_with("id -u; id -G", "0\n0", rootless)
}

/// What nobody delegated to us is refused if asked for, and a warning if not.
fn limits() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec("true");
    rootless(&mut spec, &fixture);
    let running = sandbox().start(&spec, Vec::new())?;
    // Whoever maps root of the host may use its groups.
    if running.warnings().is_empty()
        && std::fs::metadata("/sys/fs/cgroup").is_ok_and(|dir| std::os::unix::fs::MetadataExt::uid(&dir) == 0)
    {
        return Ok(());
    }
    let warned = running.warnings().iter().any(|warning| warning.contains("number of processes is not limited"));
    ensure!(running.wait()?.code == 0 && warned, "no warning");
    spec.limits = Limits { memory: Some(64 << 20), ..Limits::default() };
    let error = sandbox().start(&spec, Vec::new()).map(drop).unwrap_err();
    ensure!(error.to_string().contains("cgroup"), "{error}");
    Ok(())
}

fn without_init() -> Result<()> {
    check_with("echo $$", "1", |spec, fixture| {
        rootless(spec, fixture);
        spec.init = false;
    })
}
