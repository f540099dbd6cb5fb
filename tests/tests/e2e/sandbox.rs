//! A probe inside of a RUN step: what it sees and may do is the default profile, without deviation.

use crate::lab::{Lab, is_root, skip};

const PROBE: &str = r#"
for key in CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp; do echo "$key $(sed -n "s/^$key:[[:space:]]*//p" /proc/self/status)"; done
echo "pid $$"
ls /proc/$$/fd > /tmp/fds
echo "fds $(grep -v '^1[0-9]$' /tmp/fds | tr '\n' ' ')"
echo "stdin $(readlink /proc/$$/fd/0)"
echo "env $(env | grep -v '^_=\|^SHLVL=\|^PWD=\|^OLDPWD=' | cut -d= -f1 | sort | tr '\n' ' ')"
echo "hostname $(hostname)"
echo "root-entries $(ls -A / | grep -v '^bin$\|^etc$\|^tmp$\|^root$\|^printed$' | sort | tr '\n' ' ')"
echo "processes $(ls /proc | grep -c '^[0-9]')"
for path in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do [ -e $path ] && echo "bytes-of $path $(head -c 10 $path 2>/dev/null | wc -c)"; done
for path in /proc/acpi /proc/scsi /sys/firmware; do [ -e $path ] && echo "entries-of $path $(ls -A $path | wc -l)"; done
for path in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/x /sys/x; do (echo x > $path) 2>/dev/null && echo "writable $path"; done
for mount in /run /proc /dev /dev/shm /sys /etc/resolv.conf /etc/hosts; do echo "mount $mount $(awk -v m=$mount '$5 == m {print $6; exit}' /proc/self/mountinfo | tr ',' '\n' | grep '^ro$\|^no[sde]' | sort | tr '\n' ' ')"; done
echo "devices $(ls /dev | sort | tr '\n' ' ')"
echo "umask $(umask)"
echo "oom $(cat /proc/self/oom_score_adj)"
echo "session $(awk '{print ($6 == $1 || $6 > 0)}' /proc/self/stat)"
unshare -m true 2>/dev/null && echo "may unshare a mount namespace"
mount -t tmpfs none /tmp 2>/dev/null && echo "may mount"
mknod /tmp/disk b 8 0 2>/dev/null && head -c 1 /tmp/disk >/dev/null 2>&1 && echo "may read a disk"
[ -e /proc/1/root/work ] || [ -e /proc/1/root/home ] && echo "sees the host"
chroot / true && echo "may chroot"
ls -di /proc/self/root >/dev/null
"#;

fn probe() -> (Lab, String) {
    let lab = Lab::new();
    let printed = lab.step("", PROBE, &[]);
    (lab, printed)
}

// items: R006 R007 R008
#[test]
fn default_profile() {
    let (_lab, printed) = probe();
    let value =
        |key: &str| printed.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).map(str::trim_end);
    for (key, expected) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "00000000a80425fb"),
        ("CapEff", "00000000a80425fb"),
        ("CapBnd", "00000000a80425fb"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "0"),
        ("Seccomp", "2"),
        ("fds", "0 1 2"),
        ("stdin", "/dev/null"),
        ("env", "HOME PATH"),
        ("hostname", "buildkitsandbox"),
        ("root-entries", "dev proc sys"),
        ("umask", "0022"),
        ("mount /run", ""),
        ("mount /proc", "nodev noexec nosuid"),
        ("mount /dev/shm", "nodev noexec nosuid"),
        ("mount /sys", "nodev noexec nosuid ro"),
        ("mount /etc/resolv.conf", "ro"),
        ("mount /etc/hosts", "ro"),
        ("devices", "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"),
    ] {
        let found = value(key);
        let agrees = if key.starts_with("mount /etc") {
            found.is_some_and(|found| found.split(' ').any(|flag| flag == "ro"))
        } else {
            found == Some(expected)
        };
        assert!(agrees, "{key}: {found:?} instead of {expected:?} in\n{printed}");
    }
    for line in printed.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["bytes-of", _, count] | ["entries-of", _, count] => assert_eq!(*count, "0", "{line}"),
            ["writable", path] => panic!("{path} can be written"),
            ["may", what @ ..] => assert_eq!(what, ["chroot"], "{line}"),
            ["sees", ..] => panic!("{line}"),
            ["pid", pid] | ["processes", pid] => {
                assert!(pid.parse::<u32>().unwrap() < 20, "{line}: its own pid namespace")
            }
            _ => {}
        }
    }
}

// items: R003 R008
#[test]
fn ordinary_user_has_no_capabilities() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox AS p\nUSER app\nRUN grep ^Cap /proc/self/status > /tmp/caps\nFROM scratch\nCOPY --from=p /tmp/caps /\n";
    let caps = std::fs::read_to_string(lab.files(dockerfile, &[], &[]).join("caps")).unwrap();
    let mask = |name: &str| caps.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap().to_owned();
    assert_eq!((mask("CapEff:"), mask("CapPrm:")), ("0".repeat(16), "0".repeat(16)));
    assert_eq!(mask("CapBnd:"), "00000000a80425fb");
}

// items: R013
#[test]
fn namespaces_are_its_own() {
    let lab = Lab::new();
    let printed = lab.step("", "for ns in mnt pid net ipc uts cgroup; do echo $ns $(readlink /proc/self/ns/$ns); done; cat /proc/self/cgroup > /tmp/c; echo paths $(cut -d: -f3 /tmp/c | sort -u)", &[]);
    for line in printed.lines() {
        if let Some((name, inside)) = line.split_once(' ').filter(|(name, _)| *name != "paths") {
            let outside = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            assert_ne!(outside.to_str().unwrap(), inside, "{name}");
        }
    }
    assert!(printed.contains("paths /\n"), "the cgroup's place on the host is hidden: {printed}");
}

/// The init reaps what a step leaves behind, and nothing of it outlives the step.
#[test]
fn background_processes_end_with_the_step() {
    let lab = Lab::new();
    let mark = format!("86{}", std::process::id());
    lab.build(&format!("FROM busybox\nRUN sleep {mark} & (setsid sleep {mark} &) ; true\nRUN true\n"), &[], &[]).ok();
    assert_eq!(crate::ending::processes_with(&mark), Vec::<u32>::new());
}

// items: R010 O011
#[test]
fn entitlements_open_what_they_name() {
    let lab = Lab::new();
    if !is_root() {
        skip("all capabilities of an ordinary user are those of its namespace");
    }
    let script = "awk '$2 ~ \"^/sys\" {print $2, substr($4, 1, 2)}' /proc/mounts | sort | head -1; grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; (echo > /proc/sys/kernel/randomize_va_space) 2>&1 | grep -c denied || true";
    let printed = lab.step("--security=insecure", script, &["--allow", "security.insecure"]);
    assert!(printed.contains("Seccomp:\t0"), "{printed}");
    assert!(!is_root() || printed.starts_with("/sys rw"), "{printed}");
    assert!(!printed.contains("00000000a80425fb"), "{printed}");
}

// items: R008
#[test]
fn dangerous_calls_are_refused() {
    let lab = Lab::new();
    // Each of these must fail inside; `sysctl -w` writes /proc/sys.
    let script = "for try in 'mount -t proc proc /tmp' 'umount /proc' 'hostname other' 'sysctl -w kernel.hostname=x' 'swapoff -a' 'insmod /x.ko' 'chroot /proc/1/root/.. ls /work' 'nice -n -5 true' 'ip link add d type dummy' 'unshare -U true'; do $try >/dev/null 2>&1 && echo \"worked: $try\"; done; echo end";
    let printed = lab.step("", script, &[]);
    let worked: Vec<_> = printed
        .lines()
        .filter(|line| line.starts_with("worked"))
        .filter(|line| !line.contains("swapoff") && !line.contains("nice"))
        .collect();
    assert!(worked.is_empty(), "{worked:?}");
    assert!(printed.ends_with("end\n"), "{printed}");
}
