//! A place for one test: an environment with nothing of the machine's, a store, contexts.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) use crate::outcome::Outcome;

/// A base image with a shell: what most tests say after `FROM`.
const BASE: &str = r#"
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox --install -s /bin && mkdir -m 1777 /tmp && mkdir -m 700 /root"]
COPY <<EOF /etc/passwd
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000::/home/app:/bin/sh
EOF
COPY <<EOF /etc/group
root:x:0:
app:x:1000:
extra:x:2000:app
EOF
CMD ["sh"]
"#;

/// How long one command may take before the test gives it up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hermetic place with a store.
pub(crate) struct Lab {
    /// Removed at the end, by rbuild's own means first: a rootless store has files of other ids.
    dir: TempDir,
    contexts: AtomicU32,
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why a test does nothing here; the message is seen with `--nocapture` and in failures.
pub(crate) fn skip(why: &str) {
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    // Straight to the terminal: the test harness keeps what passing tests print.
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED {name}: {why}");
}

/// Returns whether a test that needs root may run; says so aloud if not.
pub(crate) fn root_or_skip() -> bool {
    if !is_root() {
        skip("needs root");
    }
    is_root()
}

/// Returns whether the programs are installed; says so aloud if not.
pub(crate) fn have(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]).collect();
    let missing = programs.iter().find(|program| !dirs.iter().any(|dir| dir.join(program).exists()));
    if let Some(program) = missing {
        skip(&format!("`{program}` is not installed"));
    }
    missing.is_none()
}

/// Returns the rbuild under test.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("RBUILD_E2E_BINARY") {
        Some(given) => given.into(),
        None => built(),
    })
}

/// Lets cargo build the binary beside this test, which is at once if it is fresh.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its path");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let target = profile.parent().expect("target");
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo told this test of itself would make it build everything anew.
    let told = |name: &OsString| name.to_string_lossy().starts_with("CARGO_") && name != "CARGO_HOME";
    for name in std::env::vars_os().map(|(name, _)| name).filter(told) {
        cargo.env_remove(name);
    }
    let status = cargo
        .args(["build", "-q", "-p", "rbuild-cli", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo build -p rbuild-cli");
    target.join("debug/rbuild")
}

/// Returns an archive of the base image, made once per run.
fn base_archive() -> &'static Path {
    static ARCHIVE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, archive) = ARCHIVE.get_or_init(|| {
        let lab = Lab::empty();
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
        let context = lab.context("FROM scratch", &[]);
        std::fs::write(context.join("Dockerfile"), BASE).expect("writing");
        std::fs::write(context.join("busybox"), busybox).expect("writing");
        std::fs::set_permissions(context.join("busybox"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let kept = tempfile::tempdir().expect("a temporary directory");
        let archive = kept.path().join("busybox.tar");
        let output = format!("type=docker,dest={}", archive.display());
        lab.rbuild(["build", "-t", "busybox", "-o", &output, &path(&context)]).ok();
        (kept, archive)
    });
    archive
}

/// Returns a path as text; tests use no others.
pub(crate) fn path(path: &Path) -> String {
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}

impl Lab {
    /// A lab whose store has nothing.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("rbuild-e2e-").tempdir().expect("a temporary directory");
        for name in ["home", "tmp", "run", "config"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        std::fs::set_permissions(dir.path().join("run"), std::fs::Permissions::from_mode(0o700)).expect("chmod");
        Self { dir, contexts: AtomicU32::new(0) }
    }

    /// A lab whose store has the image `busybox`.
    pub(crate) fn new() -> Self {
        let lab = Self::empty();
        lab.rbuild(["load", "-i", &path(base_archive())]).ok();
        lab
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Returns a path below the lab.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a build context; a file whose text starts with `#!` is executable.
    pub(crate) fn context(&self, dockerfile: &str, files: &[(&str, &str)]) -> PathBuf {
        let dir = self.at(&format!("context{}", self.contexts.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&dir).expect("a directory");
        for (name, text) in files.iter().chain(&[("Dockerfile", dockerfile)]) {
            let file = dir.join(name);
            std::fs::create_dir_all(file.parent().expect("below the context")).expect("a directory");
            std::fs::write(&file, text).expect("writing");
            if text.starts_with("#!") {
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("chmod");
            }
        }
        dir
    }

    /// Returns a command in this lab's environment.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let mut search = std::env::var_os("PATH").unwrap_or_default();
        search.push(":/usr/sbin:/sbin");
        command
            .env_clear()
            .env("PATH", search)
            .env("HOME", self.at("home"))
            .env("TMPDIR", self.at("tmp"))
            .env("XDG_RUNTIME_DIR", self.at("run"))
            .env("DOCKER_CONFIG", self.at("config"))
            .env("RBUILD_ROOT", self.store())
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs rbuild with these arguments.
    pub(crate) fn rbuild<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        run(self.command(binary()).args(args), b"")
    }

    /// Runs rbuild with these arguments, blank-separated.
    pub(crate) fn say(&self, line: &str) -> Outcome {
        self.rbuild(line.split_whitespace())
    }

    /// Runs rbuild and gives it something to read.
    pub(crate) fn rbuild_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Outcome {
        run(self.command(binary()).args(args), input)
    }

    /// Builds a Dockerfile with plain progress.
    pub(crate) fn build(&self, dockerfile: &str, files: &[(&str, &str)], args: &[&str]) -> Outcome {
        self.build_dir(&self.context(dockerfile, files), args)
    }

    /// Builds a context with plain progress.
    pub(crate) fn build_dir(&self, context: &Path, args: &[&str]) -> Outcome {
        let dir = path(context);
        self.rbuild(["build", "--progress=plain"].iter().chain(args).copied().chain([dir.as_str()]))
    }

    /// Builds, and returns the directory with the files of the result.
    pub(crate) fn files(&self, dockerfile: &str, files: &[(&str, &str)], args: &[&str]) -> PathBuf {
        self.files_of(&self.context(dockerfile, files), args)
    }

    /// Builds a context, and returns the directory with the files of the result.
    pub(crate) fn files_of(&self, context: &Path, args: &[&str]) -> PathBuf {
        let out = self.at(&format!("out{}", self.contexts.fetch_add(1, Ordering::Relaxed)));
        let output = format!("type=local,dest={}", out.display());
        self.build_dir(context, &[&["-o", &output], args].concat()).ok();
        out
    }

    /// Runs a script in a RUN step with these flags and returns what it printed.
    pub(crate) fn step(&self, flags: &str, script: &str, args: &[&str]) -> String {
        let dockerfile = format!(
            "FROM busybox AS step\nRUN {flags} <<'SCRIPT'\nexec > /printed\n{script}\nSCRIPT\nFROM scratch\nCOPY --from=step /printed /\n"
        );
        let out = self.files(&dockerfile, &[], args);
        std::fs::read_to_string(out.join("printed")).expect("the step printed")
    }

    /// Runs a shell script in a container of busybox.
    pub(crate) fn sh(&self, flags: &str, script: &str) -> Outcome {
        let words = ["run", "--rm"].into_iter().chain(flags.split_whitespace());
        self.rbuild(words.chain(["busybox", "sh", "-c", script]))
    }

    /// Returns what `rbuild inspect` says of an image.
    pub(crate) fn inspect(&self, image: &str) -> serde_json::Value {
        let printed = self.rbuild(["inspect", image]).ok().stdout;
        let value: serde_json::Value = serde_json::from_str(&printed).expect("inspect prints JSON");
        match value {
            serde_json::Value::Array(mut all) => all.remove(0),
            one => one,
        }
    }

    /// Starts rbuild and leaves it running; what it says goes to the file `log`.
    pub(crate) fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Running {
        let log = std::fs::File::create(self.at("log")).expect("a file");
        let mut command = self.command(binary());
        command.args(args).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        Running { child: command.spawn().expect("rbuild starts"), log: self.at("log") }
    }

    /// Names all files of the store except the index and locks, with their sizes.
    pub(crate) fn content(&self) -> Vec<String> {
        let mut found = Vec::new();
        for part in ["oci/blobs", "layers", "tmp", "cachemounts"] {
            list(&self.store().join(part), &mut found);
        }
        found.sort();
        found
    }
}

fn list(dir: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        found.push(path(&entry.path()));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), found);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.store().exists() {
            // Only rbuild can remove layers whose files belong to mapped ids.
            let _ = self.command(binary()).args(["prune", "--all", "--force"]).output();
        }
    }
}

/// A command that goes on while the test does other things.
pub(crate) struct Running {
    pub(crate) child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process is ours");
    }

    /// Waits until what it said has `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let log = self.log.clone();
        let child = &mut self.child;
        until(&format!("`{text}` is said"), || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let ended = child.try_wait().expect("waiting");
            assert!(ended.is_none() || said.contains(text), "it ended ({ended:?}): {said}");
            said.contains(text)
        });
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Outcome {
        let mut status = None;
        until("it ends", || {
            status = self.child.try_wait().expect("waiting");
            status.is_some()
        });
        let stderr = std::fs::read_to_string(&self.log).unwrap_or_default();
        Outcome { what: "rbuild".to_owned(), code: exit_code(status.expect("it ended")), stdout: String::new(), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits for something that must come.
pub(crate) fn until(what: &str, mut come: impl FnMut() -> bool) {
    let began = Instant::now();
    while !come() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Outcome {
    let what = format!("{command:?}")
        .split_once("rbuild\"")
        .map_or_else(|| format!("{command:?}"), |(_, args)| format!("rbuild{args}"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        // Who ends early does not read it all.
        let _ = stdin.write_all(input);
    }
    let Output { status, stdout, stderr } = waited(child, &what);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { what, code: exit_code(status), stdout: text(stdout), stderr: text(stderr) }
}

/// Waits for a child, and ends it if it hangs.
fn waited(child: Child, what: &str) -> Output {
    let pid = rustix::process::Pid::from_child(&child);
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let hangs = finished.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if hangs {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            if finished.recv_timeout(Duration::from_secs(5)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        hangs
    });
    let output = child.wait_with_output().expect("waiting");
    drop(done);
    let hung = watch.join().expect("the watch does not panic");
    assert!(!hung, "{what} hung:\n{}", String::from_utf8_lossy(&output.stderr));
    output
}
