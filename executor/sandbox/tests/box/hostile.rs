//! Images and specs that want out.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use anyhow::{Result, ensure};
use rbuild_sandbox::{BindSource, Mount, MountKind, Network, SandboxSpec};

use super::Test;
use super::rootfs::{Fixture, check_refused, run, sandbox, shell};

pub(crate) const TESTS: &[Test] = &[
    ("links_for_kernel_mounts", links_for_kernel_mounts),
    ("links_for_mount_targets", links_for_mount_targets),
    ("illegal_targets", illegal_targets),
    ("passwd_is_hostile", passwd_is_hostile),
    ("own_binary_is_out_of_reach", own_binary_is_out_of_reach),
    ("init_is_out_of_reach", init_is_out_of_reach),
    ("bad_specs", bad_specs),
];

/// Starts a box whose image was changed by `change`; the canary beside it must stay as it is.
fn contained(
    change: impl FnOnce(&Fixture) -> Result<()>,
    spec: impl FnOnce(&mut SandboxSpec, &Fixture),
) -> Result<String> {
    let fixture = Fixture::new()?;
    let canary = fixture.path("canary");
    fs::create_dir(&canary)?;
    change(&fixture)?;
    let state = |found: fs::Metadata| (found.mode(), found.uid(), found.mtime(), found.mtime_nsec(), found.nlink());
    let before = state(fs::metadata(&canary)?);
    let mut wanted = fixture.spec("true");
    spec(&mut wanted, &fixture);
    let outcome = match sandbox().start(&wanted, Vec::new()) {
        Ok(running) => format!("{:?}", super::rootfs::finish(running)?),
        Err(error) => error.to_string(),
    };
    ensure!(fs::read_dir(&canary)?.next().is_none(), "something is in the canary after {outcome}");
    ensure!(state(fs::metadata(&canary)?) == before, "the canary changed after {outcome}");
    Ok(outcome)
}

fn links_for_kernel_mounts() -> Result<()> {
    for name in ["proc", "sys", "dev"] {
        for up in [0, 9] {
            let link = move |fixture: &Fixture| -> Result<()> {
                let target = format!("{}{}", "../".repeat(up), fixture.path("canary").display());
                Ok(symlink(target, fixture.path("lower").join(name))?)
            };
            let outcome = contained(link, |_, _| ())?;
            ensure!(outcome.contains("is not a directory"), "{name}: {outcome}");
        }
    }
    Ok(())
}

fn links_for_mount_targets() -> Result<()> {
    let tmpfs = || MountKind::Tmpfs { size: None, mode: 0o777, owner: (0, 0) };
    let link = |fixture: &Fixture| -> Result<()> {
        symlink(fixture.path("canary"), fixture.path("lower/out"))?;
        symlink("/proc/1", fixture.path("lower/proc-link"))?;
        Ok(symlink("/proc/self/root", fixture.path("lower/magic"))?)
    };
    for target in ["/out/new", "/out", "/proc-link/x", "/proc-link", "/magic/x"] {
        let outcome = contained(link, |spec, _| {
            spec.mounts = vec![Mount { target: target.into(), kind: tmpfs(), readonly: false, exec: false }];
        })?;
        let refused = target.contains("proc") || target.contains("magic");
        ensure!(refused != outcome.contains("code: 0"), "{target}: {outcome}");
    }
    let link = |fixture: &Fixture| Ok(symlink(fixture.path("canary").join("made"), fixture.path("lower/etc/hosts"))?);
    contained(link, |spec, _| spec.hosts = Some("x\n".to_owned())).map(drop)
}

fn illegal_targets() -> Result<()> {
    for target in ["/", "//", "/.", "/proc", "/proc/self/attr", "/sys/kernel"] {
        check_refused("invalid mount target", |spec, _| {
            let kind = MountKind::Bind { source: BindSource::Path("/tmp".into()), recursive: false, nosuid: false };
            spec.mounts = vec![Mount { target: target.into(), kind, readonly: true, exec: false }];
        })?;
    }
    for target in ["relative", "/a/../../b"] {
        check_refused("must be absolute", |spec, _| {
            let kind = MountKind::Tmpfs { size: None, mode: 0, owner: (0, 0) };
            spec.mounts = vec![Mount { target: target.into(), kind, readonly: true, exec: false }];
        })?;
    }
    Ok(())
}

fn passwd_is_hostile() -> Result<()> {
    let replace = |fixture: &Fixture| fs::remove_file(fixture.path("lower/etc/passwd"));
    let spec = |spec: &mut SandboxSpec, _: &Fixture| spec.user = "user".to_owned();
    let outcome = contained(
        |fixture| {
            replace(fixture)?;
            rustix::fs::mknodat(
                rustix::fs::CWD,
                fixture.path("lower/etc/passwd"),
                rustix::fs::FileType::Fifo,
                0o666.into(),
                0,
            )?;
            Ok(())
        },
        spec,
    )?;
    ensure!(outcome.contains("not a regular file"), "{outcome}");
    let outcome = contained(
        |fixture| {
            replace(fixture)?;
            Ok(fs::File::create(fixture.path("lower/etc/passwd"))?.set_len(1 << 40)?)
        },
        spec,
    )?;
    ensure!(outcome.contains("larger than 10485760 bytes"), "{outcome}");
    let outcome = contained(
        |fixture| {
            replace(fixture)?;
            fs::write(fixture.path("hosts-passwd"), "user:x:0:0::/:\n")?;
            Ok(symlink(fixture.path("hosts-passwd"), fixture.path("lower/etc/passwd"))?)
        },
        spec,
    )?;
    ensure!(outcome.contains("unable to find user user"), "{outcome}");
    for user in ["4294967295", "4294967296", "2147483648", "0:99999999999"] {
        check_refused("must be in range", |spec, _| spec.user = user.to_owned())?;
    }
    Ok(())
}

/// CVE-2019-5736: even all capabilities do not make our binary writable.
fn own_binary_is_out_of_reach() -> Result<()> {
    let own = std::env::current_exe()?;
    let before = fs::metadata(&own)?;
    let script = "for p in /proc/1/exe /proc/self/exe; do (echo broken >> $p) 2>&1; (: > $p) 2>&1; done; cat /proc/1/exe 2>/dev/null | wc -c";
    for insecure in [false, true] {
        shell(script, |spec, _| {
            if insecure {
                spec.security = rbuild_sandbox::Security::insecure();
            }
        })?;
        let after = fs::metadata(&own)?;
        ensure!((before.len(), before.mtime()) == (after.len(), after.mtime()), "our binary was changed");
    }
    Ok(())
}

fn init_is_out_of_reach() -> Result<()> {
    let script = "kill -9 1; kill -STOP 1; kill -TERM 1; readlink /proc/1/fd/0 /proc/1/exe /proc/1/root /proc/1/cwd; ls /proc/1/map_files/; cat /proc/1/mem /proc/1/maps /proc/1/environ; exit 5";
    let fixture = Fixture::new()?;
    let output = run(&fixture.spec(script))?;
    ensure!(output.exit.code == 5 && output.stdout.is_empty(), "{output:?}");
    Ok(())
}

fn bad_specs() -> Result<()> {
    check_refused("no command to run", |spec, _| spec.args.clear())?;
    check_refused("an argument contains a NUL byte", |spec, _| spec.args[2] = "a\0b".to_owned())?;
    check_refused("environment entry `A` is not NAME=value", |spec, _| spec.env.push("A".to_owned()))?;
    check_refused("host name", |spec, _| spec.hostname = "a b".to_owned())?;
    check_refused("unknown ulimit `x`", |spec, _| {
        spec.rlimits = vec![rbuild_sandbox::Rlimit { name: "x".to_owned(), soft: 1, hard: 1 }];
    })?;
    check_refused("the network names descriptor 3", |spec, _| spec.network = Network::Join(rbuild_sandbox::Handle(3)))?;
    let error = check_refused("join the network namespace", |spec, _| {
        spec.network = Network::Host;
        spec.args[0] = "true".to_owned();
        spec.cwd = "/missing".into();
    });
    ensure!(error.is_err(), "another step failed: the message names that");
    check_refused("layer", |spec, fixture| {
        let rbuild_sandbox::RootSpec::Overlay { lowers, .. } = &mut spec.root else { unreachable!("it is an overlay") };
        lowers.push(fixture.path("missing"));
    })
    .or_else(|_| {
        check_refused("ENOENT", |spec, fixture| {
            let rbuild_sandbox::RootSpec::Overlay { lowers, .. } = &mut spec.root else {
                unreachable!("it is an overlay")
            };
            lowers.push(fixture.path("missing"));
        })
    })?;
    Ok(())
}
