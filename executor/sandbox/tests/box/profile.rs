//! The default profile, as a probe inside sees it.

use anyhow::{Result, ensure};
use rbuild_sandbox::caps::CapSet;
use rbuild_sandbox::{Devices, Network, Security};

use super::Test;
use super::rootfs::{check, check_with, shell};

pub(crate) const TESTS: &[Test] = &[
    ("capabilities", capabilities),
    ("capabilities_of_a_user", capabilities_of_a_user),
    ("seccomp", seccomp),
    ("no_new_privileges", no_new_privileges),
    ("masked_paths", masked_paths),
    ("readonly_paths", readonly_paths),
    ("mount_table", mount_table),
    ("devices", devices),
    ("device_access", device_access),
    ("descriptors", descriptors),
    ("environment", environment),
    ("names", names),
    ("processes", processes),
    ("cgroup_view", cgroup_view),
    ("limits_of_the_process", limits_of_the_process),
    ("network_none", network_none),
    ("insecure", insecure),
    ("user_variants", user_variants),
];

const STATUS: &str = "grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Groups):' /proc/self/status";

fn capabilities() -> Result<()> {
    check(
        STATUS,
        "Groups:\t0 10 
CapInh:\t0000000000000000
CapPrm:\t00000000a80425fb
CapEff:\t00000000a80425fb
CapBnd:\t00000000a80425fb
CapAmb:\t0000000000000000
NoNewPrivs:\t0
Seccomp:\t2",
    )
}

fn capabilities_of_a_user() -> Result<()> {
    let expect = "Groups:\t10 1001 
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t00000000a80425fb
CapAmb:\t0000000000000000
NoNewPrivs:\t0
Seccomp:\t2";
    check_with(STATUS, expect, |spec, _| spec.user = "user".to_owned())
}

fn seccomp() -> Result<()> {
    // mount and unshare are refused, also to uid 0.
    let script = "mount -t tmpfs none /tmp 2>&1; /bin/busybox unshare -m true 2>&1; /bin/busybox chroot / /bin/true && echo chroot";
    let output = shell(script, |_, _| ())?;
    ensure!(output.matches("not permitted").count() == 2 || output.contains("denied"), "{output}");
    ensure!(output.contains("chroot\n"), "{output}");
    check_with("grep ^Seccomp: /proc/self/status", "Seccomp:\t0", |spec, _| {
        spec.security.seccomp = rbuild_sandbox::Seccomp::Unconfined;
    })
}

fn no_new_privileges() -> Result<()> {
    check_with("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status", "NoNewPrivs:\t1\nSeccomp:\t2", |spec, _| {
        spec.security.no_new_privileges = true;
        spec.user = "1000".to_owned();
    })
}

fn masked_paths() -> Result<()> {
    let script = "for p in acpi asound scsi; do test -d /proc/$p && ls -A /proc/$p; done
        for p in interrupts kcore keys latency_stats sched_debug timer_list timer_stats; do
            test -e /proc/$p && { test -c /proc/$p || echo $p is not masked; cat /proc/$p; }; done
        for p in /sys/firmware /sys/devices/virtual/powercap /sys/devices/system/cpu/cpu*/thermal_throttle; do
            test -d $p && ls -A $p; done
        echo x > /proc/acpi/x; touch /sys/firmware/x; true";
    let output = shell(&format!("{{ {script}; }} 2>/dev/null"), |_, _| ())?;
    ensure!(output.is_empty(), "{output}");
    Ok(())
}

fn readonly_paths() -> Result<()> {
    let script = "for p in /proc/sys/kernel/hostname /proc/sysrq-trigger; do test -e $p || echo Read-only; (echo h > $p) 2>&1; done | grep -c 'Read-only'
        touch /sys/kernel/x 2>&1 | grep -c 'Read-only'; grep -cE ' /proc/(bus|fs|irq|sys|sysrq-trigger) proc ro,nosuid,nodev,noexec' /proc/mounts";
    let output = shell(script, |_, _| ())?;
    let mut lines = output.lines();
    ensure!(lines.next() == Some("2") && lines.next() == Some("1"), "{output}");
    let mounted: usize = lines.next().unwrap_or("0").parse()?;
    ensure!((3..=5).contains(&mounted), "{output}");
    Ok(())
}

fn mount_table() -> Result<()> {
    let table = shell("cat /proc/mounts", |_, _| ())?;
    let has = |expect: &str| table.lines().any(|line| line.starts_with(expect));
    for expect in [
        "overlay / overlay rw",
        "proc /proc proc rw,nosuid,nodev,noexec",
        "sysfs /sys sysfs ro,nosuid,nodev,noexec",
        "tmpfs /dev tmpfs rw,nosuid",
        "devpts /dev/pts devpts rw,nosuid,noexec",
        "tmpfs /dev/shm tmpfs rw,nosuid,nodev,noexec",
        "mqueue /dev/mqueue mqueue rw,nosuid,nodev,noexec",
        "tmpfs /sys/fs/cgroup tmpfs ro,nosuid,nodev,noexec",
        "cgroup /sys/fs/cgroup/memory cgroup ro,nosuid,nodev,noexec",
    ] {
        // The cgroup lines are those of v1; a v2 host shows one mount.
        ensure!(
            has(expect) || (expect.contains("cgroup") && has("cgroup2 /sys/fs/cgroup cgroup2 ro")),
            "{expect} is not in\n{table}"
        );
    }
    ensure!(table.contains("/dev/shm") && table.contains("size=65536k"), "{table}");
    ensure!(table.contains("gid=5,mode=620,ptmxmode=666"), "{table}");
    let at_root = table.lines().filter(|line| line.split(' ').nth(1) == Some("/")).count();
    ensure!(at_root == 1, "something else is mounted at the root in\n{table}");
    check("ls -id / /.. /../../bin/.. | sort -u | wc -l; ls -d /../bin/busybox", "1\n/../bin/busybox")
        .or_else(|_| check("stat -c %i / /.. /bin/../.. | sort -u | wc -l", "1"))?;
    ensure!(!table.contains("/tmp/"), "a path of the host shows in\n{table}");
    let propagation = shell("grep -cE 'shared:|master:' /proc/self/mountinfo || true", |_, _| ())?;
    ensure!(propagation.trim() == "0", "{propagation}");
    Ok(())
}

fn devices() -> Result<()> {
    check(
        "cd /dev; for d in *; do echo $d $(stat -c '%F %t:%T %a' $d | sed 's/character special file/char/'); done",
        "fd symbolic link 0:0 777
full char 1:7 666
mqueue directory 0:0 1777
null char 1:3 666
ptmx symbolic link 0:0 777
pts directory 0:0 755
random char 1:8 666
shm directory 0:0 1777
stderr symbolic link 0:0 777
stdin symbolic link 0:0 777
stdout symbolic link 0:0 777
tty char 5:0 666
urandom char 1:9 666
zero char 1:5 666",
    )
}

fn device_access() -> Result<()> {
    let script =
        "mknod /tmp/kmsg c 1 11 && mknod /tmp/disk b 254 0 && mknod /tmp/fuse c 10 229 && mknod /tmp/null c 1 3
        for d in kmsg disk fuse null; do (: < /tmp/$d) 2>/dev/null && echo $d; done";
    check(script, "null")
}

fn descriptors() -> Result<()> {
    // The fourth is the open directory.
    check_with("", "0\n1\n2\n3", |spec, _| spec.args = ["ls", "-1", "/proc/self/fd"].map(str::to_owned).to_vec())?;
    // What the init has cannot be followed.
    check("readlink /proc/self/fd/0; readlink /proc/1/fd/* 2>/dev/null | wc -l", "/dev/null\n0")
}

fn environment() -> Result<()> {
    check_with("/bin/env | sort", "A=b c\nHOME=/root\nPATH=/bin\nPWD=/\nSHLVL=1", |spec, _| {
        spec.env.push("A=b c".to_owned());
    })?;
    check_with("echo $HOME", "/given", |spec, _| spec.env.push("HOME=/given".to_owned()))
}

fn names() -> Result<()> {
    check_with(
        "hostname; cat /etc/hosts /etc/resolv.conf; echo x 2>&1 >> /etc/hosts | grep -c Read-only",
        "stage\nA\nB\n1",
        |spec, _| {
            spec.hostname = "stage".to_owned();
            spec.hosts = Some("A\n".to_owned());
            spec.resolv_conf = Some("B\n".to_owned());
        },
    )
}

fn processes() -> Result<()> {
    check(
        "cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l; readlink /proc/1/exe 2>&1; cat /proc/1/environ 2>&1 | head -c 200",
        "rbuild-init\n4\ncat: can't open '/proc/1/environ': Permission denied",
    )?;
    check_with("echo $$; cat /proc/1/comm; true", "1\nsh", |spec, _| spec.init = false)
}

fn cgroup_view() -> Result<()> {
    let output =
        shell("cat /proc/self/cgroup /proc/1/cgroup; touch /sys/fs/cgroup/x 2>&1", |_, _| ()).unwrap_err().to_string();
    ensure!(output.contains("Read-only"), "{output}");
    let output = shell("cat /proc/self/cgroup /proc/1/cgroup", |_, _| ())?;
    ensure!(output.contains(":memory:/\n") || output.contains("0::/\n"), "{output}");
    ensure!(!output.contains("rbuild"), "{output}");
    Ok(())
}

fn limits_of_the_process() -> Result<()> {
    check("ulimit -Sn; ulimit -c", "1024\n0")?;
    check_with("ulimit -Sn; ulimit -Hn; ulimit -c", "64\n128\n0", |spec, _| {
        spec.rlimits = vec![rbuild_sandbox::Rlimit { name: "nofile".to_owned(), soft: 64, hard: 128 }];
    })
}

fn network_none() -> Result<()> {
    check("ls /sys/class/net; ip addr show lo | grep -c 'state UNKNOWN\\|,UP,'", "lo\n1")?;
    let host = std::fs::read_dir("/sys/class/net")?.count();
    check_with(
        "ls /proc/net/dev_snmp6 /proc/sys/net/ipv4/conf 2>/dev/null | wc -l; ip link | grep -c '^[0-9]'",
        &format!("{}", 0),
        |spec, _| {
            spec.network = Network::Host;
            spec.args =
                vec!["/bin/sh".into(), "-c".into(), format!("test $(ip link | grep -c '^[0-9]') = {host} && echo 0")];
        },
    )
}

fn insecure() -> Result<()> {
    let own = CapSet::from_bits(rbuild_sys::caps::bounding());
    let status = shell("grep -E '^(CapEff|Seccomp):' /proc/self/status; test -w /proc/sys/kernel/hostname && echo rw
        mount -t tmpfs none /tmp && echo mounted; test -c /dev/fuse && dd if=/dev/kmsg of=/dev/null count=1 2>/dev/null && echo device
        grep -c '^sysfs /sys sysfs rw' /proc/mounts; ls -A /sys/firmware | wc -l", |spec, _| spec.security = Security::insecure())?;
    let expect = format!("CapEff:\t{:016x}\nSeccomp:\t0\nrw\nmounted\n", own.bits());
    ensure!(status.starts_with(&expect), "{status}");
    if std::path::Path::new("/dev/fuse").exists() {
        ensure!(status.contains("device\n1\n"), "{status}");
    }
    check_with(
        "test -c /dev/fuse && stat -c '%a %g' /dev/fuse; dd if=/dev/fuse of=/dev/null count=0 2>&1 | head -1; test -c /dev/kvm || echo no kvm",
        "604 7\n0+0 records in\nno kvm",
        |spec, _| {
            let device = rbuild_sandbox::Device {
                source: "/dev/fuse".into(),
                target: "/dev/fuse".into(),
                access: "rw".to_owned(),
                mode: Some(0o604),
                owner: Some((0, 7)),
            };
            spec.security.devices = Devices::With(vec![device]);
        },
    )
}

fn user_variants() -> Result<()> {
    let id = |user: &'static str, expect: &str| {
        check_with("echo $(id -u):$(id -g) $(id -G) $HOME", expect, |spec, _| spec.user = user.to_owned())
    };
    id("", "0:0 0 10 /root")?;
    id("root", "0:0 0 10 /root")?;
    id("user", "1000:1001 1001 10 /home/user")?;
    id("1000:wheel", "1000:10 10 /home/user")?;
    id("4242", "4242:0 0 /")?;
    id("2000000:7", "2000000:7 7 /")
}
