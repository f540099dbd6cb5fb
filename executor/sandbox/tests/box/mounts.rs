//! Mounts and the traces they must not leave.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use rbuild_sandbox::{BindSource, Handle, Mount, MountKind, RootSpec, Sensitive, Upper};

use super::Test;
use super::rootfs::{Fixture, check_refused, check_with, run, run_with};

pub(crate) const TESTS: &[Test] = &[
    ("no_trace_in_the_upper", no_trace_in_the_upper),
    ("mount_points_layer", mount_points_layer),
    ("times_of_parents_stay", times_of_parents_stay),
    ("stubs_that_were_filled_stay", stubs_that_were_filled_stay),
    ("dangling_resolv_conf", dangling_resolv_conf),
    ("binds", binds),
    ("tmpfs_and_secrets", tmpfs_and_secrets),
    ("forgetful", forgetful),
    ("layers", layers),
    ("overlay_layers", overlay_layers),
    ("odd_paths", odd_paths),
    ("old_kernels", old_kernels),
    ("readonly_root", readonly_root),
    ("directory_root", directory_root),
    ("whiteouts_are_plain", whiteouts_are_plain),
];

fn mount(target: &str, kind: MountKind, readonly: bool) -> Mount {
    Mount { target: target.into(), kind, readonly, exec: true }
}

fn bind(source: impl Into<std::path::PathBuf>, target: &str, readonly: bool) -> Mount {
    mount(
        target,
        MountKind::Bind { source: BindSource::Path(source.into()), recursive: false, nosuid: false },
        readonly,
    )
}

fn no_trace_in_the_upper() -> Result<()> {
    for init in [true, false] {
        let fixture = Fixture::new()?;
        let mut spec = fixture.spec("cat /run/secrets/a; ls -d /deep/er/dir; touch /etc/marker");
        spec.init = init;
        spec.hosts = Some("h\n".to_owned());
        spec.resolv_conf = Some("r\n".to_owned());
        let secret = MountKind::Secret { content: Sensitive(b"secret\n".to_vec()), mode: 0o400, owner: (0, 0) };
        spec.mounts = vec![
            mount("/run/secrets/a", secret, true),
            mount("/deep/er/dir", MountKind::Tmpfs { size: None, mode: 0o755, owner: (0, 0) }, false),
            bind(fixture.path("lower/tmp"), "/deep/er/bound", true),
        ];
        let output = run(&spec)?;
        ensure!(output.stdout == "secret\n/deep/er/dir\n" && output.exit.complaints.is_empty(), "{output:?}");
        let left: Vec<String> = fixture.upper().into_iter().collect();
        ensure!(left == ["etc", "etc/marker"], "{left:?}");
    }
    Ok(())
}

fn mount_points_layer() -> Result<()> {
    let fixture = Fixture::new()?;
    fs::create_dir(fixture.path("points"))?;
    rbuild_sandbox::fill_mount_points(&fixture.path("points"))?;
    let mut spec = fixture.spec("cat /etc/hosts /etc/resolv.conf; ls -d /proc/1");
    spec.hosts = Some("h\n".to_owned());
    spec.resolv_conf = Some("r\n".to_owned());
    let RootSpec::Overlay { lowers, .. } = &mut spec.root else { unreachable!("the fixture makes overlays") };
    lowers.push(fixture.path("points"));
    let output = run(&spec)?;
    ensure!(output.stdout == "h\nr\n/proc/1\n", "{output:?}");
    ensure!(fixture.upper().is_empty(), "{:?}", fixture.upper());
    Ok(())
}

fn times_of_parents_stay() -> Result<()> {
    let fixture = Fixture::new()?;
    let old =
        fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 123_456_789));
    for dir in ["lower/etc", "lower", "upper"] {
        fs::File::open(fixture.path(dir))?.set_times(old)?;
    }
    let mut spec = fixture.spec("stat -c %Y / /etc");
    spec.hosts = Some("h\n".to_owned());
    let output = run(&spec)?;
    ensure!(output.stdout == "1000000\n1000000\n", "the step sees {}", output.stdout);
    for dir in ["upper", "upper/etc"] {
        let found = fs::metadata(fixture.path(dir))?;
        ensure!((found.mtime(), found.mtime_nsec()) == (1_000_000, 123_456_789), "{dir}: {}", found.mtime());
    }
    Ok(())
}

fn stubs_that_were_filled_stay() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec("touch /made/file");
    let tmpfs = MountKind::Tmpfs { size: None, mode: 0o755, owner: (0, 0) };
    spec.mounts = vec![mount("/made/sub/dir", tmpfs, false)];
    run(&spec)?;
    let left: Vec<String> = fixture.upper().into_iter().collect();
    ensure!(left == ["made", "made/file"], "{left:?}");
    Ok(())
}

fn dangling_resolv_conf() -> Result<()> {
    let fixture = Fixture::new()?;
    std::os::unix::fs::symlink("../run/systemd/resolve/stub.conf", fixture.path("lower/etc/resolv.conf"))?;
    let mut spec = fixture.spec("cat /etc/resolv.conf /run/systemd/resolve/stub.conf");
    spec.resolv_conf = Some("r\n".to_owned());
    let output = run(&spec)?;
    ensure!(output.stdout == "r\nr\n", "{output:?}");
    ensure!(fixture.upper().is_empty(), "{:?}", fixture.upper());
    Ok(())
}

fn binds() -> Result<()> {
    let fixture = Fixture::new()?;
    let source = fixture.path("source");
    fs::create_dir(&source)?;
    fs::write(source.join("file"), "content\n")?;
    let script = "cat /ro/file /one; touch /ro/x 2>&1 | grep -c Read-only; touch /rw/made; grep -c ' /ro .* ro,nodev' /proc/mounts";
    let mut spec = fixture.spec(script);
    let handle = MountKind::Bind { source: BindSource::Handle(Handle(0)), recursive: true, nosuid: false };
    spec.mounts =
        vec![bind(&source, "/ro", true), mount("/rw", handle, false), bind(source.join("file"), "/one", true)];
    let opened = fs::File::open(&source)?;
    let output = run_with(&spec, vec![opened.into()])?;
    ensure!(output.stdout == "content\ncontent\n1\n1\n", "{output:?}");
    ensure!(source.join("made").exists(), "writes of a rw bind arrive");
    ensure!(fixture.upper().is_empty(), "{:?}", fixture.upper());
    check_refused("names descriptor 0, but only 0 were given", |spec, _| {
        spec.mounts = vec![mount(
            "/x",
            MountKind::Bind { source: BindSource::Handle(Handle(0)), recursive: false, nosuid: false },
            true,
        )];
    })?;
    check_refused("opening the source of the mount on `/x`", |spec, _| {
        spec.mounts = vec![bind("/does/not/exist", "/x", true)]
    })?;
    Ok(())
}

fn tmpfs_and_secrets() -> Result<()> {
    let script = "stat -c '%a %u %g %s' /secret /t; cat /secret; dd if=/dev/zero of=/t/x bs=1k count=200 2>&1 | grep -c 'No space'
        grep -c ' /secret tmpfs ro,nosuid,nodev,noexec' /proc/mounts; stat -c %s /big; df /dev/shm | grep -c ' 1024 '";
    check_with(script, "440 5 6 3\n1777 7 8 40\nabc1\n1\n3000000\n1", |spec, _| {
        let secret = |content: Vec<u8>| MountKind::Secret { content: Sensitive(content), mode: 0o440, owner: (5, 6) };
        spec.shm_size = 1 << 20;
        spec.mounts = vec![
            Mount { target: "/secret".into(), kind: secret(b"abc".to_vec()), readonly: true, exec: false },
            mount("/big", secret(vec![1; 3_000_000]), true),
            mount("/t", MountKind::Tmpfs { size: Some(64 << 10), mode: 0o1777, owner: (7, 8) }, false),
        ];
    })
}

fn forgetful() -> Result<()> {
    let fixture = Fixture::new()?;
    let source = fixture.path("source");
    fs::create_dir_all(source.join("sub"))?;
    fs::create_dir(fixture.path("scratch"))?;
    fs::write(source.join("file"), "old\n")?;
    let mut spec = fixture.spec("echo new > /m/file; rm -r /m/sub; cat /m/file; ls /m");
    let kind = MountKind::Scratch {
        source: BindSource::Path(source.clone()),
        scratch: fixture.path("scratch"),
        userxattr: false,
    };
    spec.mounts = vec![mount("/m", kind, false)];
    let output = run(&spec)?;
    ensure!(output.stdout == "new\nfile\n", "{output:?}");
    ensure!(fs::read_to_string(source.join("file"))? == "old\n" && source.join("sub").exists(), "writes came through");
    Ok(())
}

fn layers() -> Result<()> {
    let fixture = Fixture::new()?;
    for (path, text) in [("one/d/a", "1a\n"), ("one/d/b", "1b\n"), ("two/d/b", "2b\n"), ("one/x", "x\n")] {
        fs::create_dir_all(fixture.path(path).parent().expect("it has one"))?;
        fs::write(fixture.path(path), text)?;
    }
    std::os::unix::fs::symlink("/d", fixture.path("two/link"))?;
    std::os::unix::fs::symlink("../../../../etc/passwd", fixture.path("two/out"))?;
    let stack = |selector: &str, lowers: &[&str]| MountKind::Layers {
        lowers: lowers.iter().map(|name| fixture.path(name)).collect(),
        selector: selector.into(),
        upper: None,
        userxattr: false,
    };
    let mut spec =
        fixture.spec("cat /all/d/a /all/d/b /dir/b /file; ls /none; touch /dir/x 2>&1 | grep -c Read-only; ls /single");
    spec.mounts = vec![
        mount("/all", stack("", &["two", "one"]), true),
        mount("/dir", stack("link", &["two", "one"]), true),
        mount("/file", stack("x", &["two", "one"]), true),
        mount("/none", stack("", &[]), true),
        mount("/single", stack("d", &["one"]), true),
    ];
    let output = run(&spec)?;
    ensure!(output.stdout == "1a\n2b\n2b\nx\n1\na\nb\n", "{output:?}");
    for missing in ["out", "nothing"] {
        spec.mounts = vec![mount("/m", stack(missing, &["two", "one"]), true)];
        let error = super::rootfs::sandbox().start(&spec, Vec::new()).map(drop).unwrap_err().to_string();
        ensure!(error.contains("ENOENT"), "{error}");
    }
    let upper = Upper { upper: fixture.path("up"), work: fixture.path("wk"), volatile: true };
    fs::create_dir(&upper.upper)?;
    fs::create_dir(&upper.work)?;
    let kind = MountKind::Layers { lowers: Vec::new(), selector: "".into(), upper: Some(upper), userxattr: false };
    let mut spec = fixture.spec("touch /m/made");
    spec.mounts = vec![mount("/m", kind, false)];
    let output = run(&spec)?;
    ensure!(output.exit.code == 0 && fixture.path("up/made").exists(), "{output:?}");
    Ok(())
}

fn overlay_layers() -> Result<()> {
    for count in [2, 40, 500] {
        let fixture = Fixture::new()?;
        let mut lowers = Vec::new();
        for number in 1..count {
            let dir = fixture.path(&format!("layer-{number}"));
            fs::create_dir(&dir)?;
            fs::write(dir.join(format!("f{number}")), "")?;
            fs::write(dir.join("top"), format!("{number}\n"))?;
            lowers.push(dir);
        }
        lowers.push(fixture.path("lower"));
        let mut spec = fixture.spec("cat /top; ls /f* | wc -l");
        let RootSpec::Overlay { lowers: own, .. } = &mut spec.root else { unreachable!("the fixture makes overlays") };
        *own = lowers;
        let output = run(&spec)?;
        ensure!(output.stdout == format!("1\n{}\n", count - 1), "{count}: {output:?}");
    }
    check_refused("501 layers, but overlayfs takes 1 to 500 at once", |spec, fixture| {
        let RootSpec::Overlay { lowers, .. } = &mut spec.root else { unreachable!("the fixture makes overlays") };
        *lowers = vec![fixture.path("lower"); 501];
    })?;
    Ok(())
}

fn odd_paths() -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let fixture = Fixture::new()?;
    let long = "x".repeat(250);
    for name in [&b"a:b,c\\d e\n=\xff"[..], b"..,upperdir=", long.as_bytes()] {
        let odd = fixture.dir.path().join(std::ffi::OsStr::from_bytes(name));
        for part in ["up", "work", "lower"] {
            fs::create_dir_all(odd.join(part))?;
        }
        fs::write(odd.join("lower/here"), "yes\n")?;
        let mut spec = fixture.spec("cat /here; touch /made");
        let upper = Upper { upper: odd.join("up"), work: odd.join("work"), volatile: true };
        spec.root = RootSpec::Overlay {
            lowers: vec![odd.join("lower"), fixture.path("lower")],
            upper: Some(upper),
            userxattr: false,
        };
        let output = run(&spec)?;
        ensure!(output.stdout == "yes\n" && odd.join("up/made").exists(), "{output:?}");
    }
    Ok(())
}

fn old_kernels() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut facts = super::rootfs::sandbox().facts().clone();
    facts.lowers_one_by_one = false;
    let sandbox = rbuild_sandbox::Sandbox::with_facts(facts)?;
    let mut lowers: Vec<_> = (0..100).map(|number| fixture.path(&format!("l:,{number}"))).collect();
    lowers.iter().try_for_each(fs::create_dir)?;
    lowers.push(fixture.path("lower"));
    let mut spec = fixture.spec("touch /made; grep -c '^overlay / ' /proc/mounts");
    let RootSpec::Overlay { lowers: own, .. } = &mut spec.root else { unreachable!("the fixture makes overlays") };
    *own = lowers;
    let output = super::rootfs::finish(sandbox.start(&spec, Vec::new())?)?;
    ensure!(output.stdout == "1\n" && fixture.upper().contains("made"), "{output:?}");
    Ok(())
}

fn readonly_root() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec("touch /x 2>&1 | grep -c Read-only; touch /dev/shm/x && echo shm");
    spec.readonly_root = true;
    spec.hosts = Some("h\n".to_owned());
    let output = run(&spec)?;
    ensure!(output.stdout == "1\nshm\n" && output.exit.complaints.is_empty(), "{output:?}");
    let left: Vec<String> = fixture.upper().into_iter().collect();
    ensure!(left == ["etc"], "{left:?}");
    Ok(())
}

fn directory_root() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec("touch /made; grep -c ' / ' /proc/mounts");
    spec.root = RootSpec::Dir(fixture.path("lower"));
    spec.hosts = Some("h\n".to_owned());
    let output = run(&spec)?;
    ensure!(output.stdout == "1\n" && fixture.path("lower/made").exists(), "{output:?}");
    ensure!(!fixture.path("lower/proc").exists() && !fixture.path("lower/etc/hosts").exists(), "stubs stayed");
    Ok(())
}

/// What a step leaves must be readable by whoever makes a layer of it.
fn whiteouts_are_plain() -> Result<()> {
    let fixture = Fixture::new()?;
    fs::create_dir_all(fixture.path("lower/d/sub"))?;
    fs::write(fixture.path("lower/d/file"), "x")?;
    let output = run(&fixture.spec("rm /d/file; mv /d/sub /d/moved 2>&1; chown 7 /etc/group"))?;
    ensure!(output.exit.code == 0, "{output:?}");
    let whiteout = fs::symlink_metadata(fixture.path("upper/d/file"))?;
    ensure!(whiteout.rdev() == 0 && rustix::fs::FileType::from_raw_mode(whiteout.mode()).is_char_device());
    ensure!(fs::metadata(fixture.path("upper/etc/group"))?.len() > 0, "only metadata was copied up");
    let mut names = [0_u8; 1024];
    let length = rustix::fs::listxattr(fixture.path("upper/d/moved"), &mut names).unwrap_or(0);
    ensure!(!String::from_utf8_lossy(&names[..length]).contains("redirect"), "a rename became a redirect");
    Ok(())
}
