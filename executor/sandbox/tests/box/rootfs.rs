//! A tiny root file system, and one door for running something in it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use rbuild_sandbox::{Exit, RootSpec, Running, Sandbox, SandboxSpec, Upper};

pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// What one run gave.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A lower layer with busybox, and an upper.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
}

const APPLETS: [&str; 34] = [
    "sh", "cat", "ls", "id", "echo", "mount", "hostname", "ps", "sleep", "touch", "mkdir", "rmdir", "rm", "stat",
    "env", "pwd", "grep", "head", "kill", "mknod", "dd", "wc", "readlink", "true", "false", "ip", "tty", "stty",
    "sort", "ln", "mv", "chown", "test", "find",
];

impl Fixture {
    pub(crate) fn new() -> Result<Fixture> {
        let dir = tempfile::tempdir()?;
        let path = dir.path();
        fs::create_dir_all(path.join("lower/bin"))?;
        fs::create_dir_all(path.join("lower/etc"))?;
        fs::create_dir_all(path.join("lower/tmp"))?;
        fs::copy(BUSYBOX, path.join("lower/bin/busybox"))?;
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", path.join("lower/bin").join(applet))?;
        }
        fs::write(
            path.join("lower/etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n",
        )?;
        fs::write(path.join("lower/etc/group"), "root:x:0:\nuser:x:1001:\nwheel:x:10:user,root\n")?;
        fs::create_dir(path.join("upper"))?;
        fs::create_dir(path.join("work"))?;
        Ok(Fixture { dir })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns a spec that runs `script` in the overlay.
    pub(crate) fn spec(&self, script: &str) -> SandboxSpec {
        spec_in(self.dir.path(), script)
    }

    /// Returns what is in the upper directory, as relative paths.
    pub(crate) fn upper(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        list(&self.path("upper"), &self.path("upper"), &mut found);
        found
    }
}

/// Returns a spec that runs `script` in the fixture at `dir`.
pub(crate) fn spec_in(dir: &Path, script: &str) -> SandboxSpec {
    let upper = Upper { upper: dir.join("upper"), work: dir.join("work"), volatile: false };
    let root = RootSpec::Overlay { lowers: vec![dir.join("lower")], upper: Some(upper), userxattr: false };
    let mut spec = SandboxSpec::new(root, ["/bin/sh", "-c", script].map(str::to_owned).to_vec());
    spec.env = vec!["PATH=/bin".to_owned()];
    spec
}

fn list(base: &Path, dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        found.insert(path.strip_prefix(base).unwrap_or(&path).display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(base, &path, found);
        }
    }
}

pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::detect().expect("the host can run boxes"))
}

pub(crate) fn run(spec: &SandboxSpec) -> Result<Output> {
    run_with(spec, Vec::new())
}

pub(crate) fn run_with(spec: &SandboxSpec, handles: Vec<OwnedFd>) -> Result<Output> {
    finish(sandbox().start(spec, handles)?)
}

/// Reads both pipes to their end, then waits.
pub(crate) fn finish(mut running: Running) -> Result<Output> {
    let (stdout, stderr) = (drain(running.take_stdout()), drain(running.take_stderr()));
    let exit = running.wait()?;
    let text = |thread: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned()
    };
    Ok(Output { exit, stdout: text(stdout), stderr: text(stderr) })
}

fn drain(pipe: Option<OwnedFd>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _ = fs::File::from(pipe).read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Runs `script` in a fresh fixture, after `change`; it must succeed without complaints.
pub(crate) fn shell(script: &str, change: impl FnOnce(&mut SandboxSpec, &Fixture)) -> Result<String> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec(script);
    change(&mut spec, &fixture);
    let output = run(&spec)?;
    if output.exit.code != 0 || !output.exit.complaints.is_empty() {
        bail!("`{script}`: {output:?}");
    }
    Ok(output.stdout)
}

/// Checks that `script` prints `expect`, surrounding blanks aside.
pub(crate) fn check(script: &str, expect: &str) -> Result<()> {
    check_with(script, expect, |_, _| ())
}

pub(crate) fn check_with(script: &str, expect: &str, change: impl FnOnce(&mut SandboxSpec, &Fixture)) -> Result<()> {
    let stdout = shell(script, change)?;
    if stdout.trim() != expect.trim() {
        bail!("`{script}` printed\n{}\ninstead of\n{}", stdout.trim(), expect.trim());
    }
    Ok(())
}

/// Checks that starting fails with a message that holds `part`.
pub(crate) fn check_refused(
    part: &str,
    change: impl FnOnce(&mut SandboxSpec, &Fixture),
) -> Result<rbuild_sandbox::SandboxError> {
    let fixture = Fixture::new()?;
    let mut spec = fixture.spec("true");
    change(&mut spec, &fixture);
    match sandbox().start(&spec, Vec::new()) {
        Ok(_) => bail!("it started, but `{part}` was expected"),
        Err(error) if format!("{:#}", anyhow::Error::msg(error.to_string())).contains(part) => Ok(error),
        Err(error) => Err(error).context(format!("`{part}` was expected")),
    }
}

/// Returns what must not change on the host: mounts, our cgroups, our children.
pub(crate) fn host_state() -> (String, Vec<PathBuf>, String, usize) {
    // Others may mount meanwhile; ours would show the directories of the fixtures.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mounts.lines().filter(|line| line.contains("/.tmp")).collect();
    let groups = groups_of(std::process::id());
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    // The sandbox itself holds one descriptor, its image.
    sandbox();
    let descriptors = fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default();
    (mounts, groups, children, descriptors)
}

/// Returns the groups of the engine with this number.
pub(crate) fn groups_of(engine: u32) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    find_groups(Path::new("/sys/fs/cgroup"), 5, &format!("-{engine}-"), &mut groups);
    groups
}

fn find_groups(dir: &Path, depth: usize, mine: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().contains(mine) {
                found.push(entry.path());
            }
            find_groups(&entry.path(), depth - 1, mine, found);
        }
    }
}
