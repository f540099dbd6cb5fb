//! Running git so that neither the machine's settings nor a repository's decide what it does.
//!
//! The environment is made from nothing. Settings go through it too (`GIT_CONFIG_COUNT`), not through
//! arguments, which other users can see; they reach the commands that git starts for submodules.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::remote::Remote;
use crate::OpsError;

/// The most that a command may print for us to read.
const MOST_OUTPUT: usize = 16 << 20;
/// How much of its complaints is kept.
const MOST_COMPLAINT: usize = 16 << 10;
/// Where programs are looked for if nobody says.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The setting that holds the address of the remote.
const ORIGIN: &str = "remote.origin.url";

/// Settings that hold for every command.
const SETTINGS: [(&str, &str); 21] = [
    // CVE-2022-39253, and `ext::` addresses: what is not named here is not spoken. `user` keeps files out of submodules.
    ("protocol.allow", "never"),
    ("protocol.https.allow", "always"),
    ("protocol.http.allow", "always"),
    ("protocol.ssh.allow", "always"),
    ("protocol.git.allow", "always"),
    ("protocol.file.allow", "user"),
    // CVE-2024-32002 and its like end in a hook.
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.logAllRefUpdates", "false"),
    ("credential.helper", ""),
    ("init.defaultBranch", "master"),
    ("init.templateDir", ""),
    ("advice.detachedHead", "false"),
    // No process may stay behind that writes where the next one does.
    ("gc.autoDetach", "false"),
    ("maintenance.autoDetach", "false"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
];

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It could not be started.
    #[error("running git, which sources in git repositories need")]
    Start(#[source] std::io::Error),
    /// It said no.
    #[error("{action}: git: {complaint}")]
    Failed {
        /// What was attempted.
        action: String,
        /// What git said.
        complaint: String,
    },
    /// It is too old to be told what not to do.
    #[error("git is older than 2.31, which sources in git repositories need")]
    Old,
    /// The repository lacks what was asked for, or has something else.
    #[error("{0}")]
    Content(String),
}

/// What all commands for one remote have in common.
#[derive(Debug, Clone)]
pub(super) struct Git {
    pub(super) remote: Remote,
    settings: Vec<(String, String)>,
    environment: Vec<(&'static str, OsString)>,
    git_dir: PathBuf,
    work_tree: Option<PathBuf>,
}

impl Git {
    /// Returns git without a repository, working in `directory`.
    pub(super) fn new(remote: Remote, search_path: Option<OsString>, directory: &Path) -> Self {
        let environment = vec![
            ("PATH", search_path.unwrap_or_else(|| SEARCH_PATH.into())),
            ("HOME", "/dev/null".into()),
            ("LC_ALL", "C".into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
            ("GIT_TERMINAL_PROMPT", "0".into()),
            ("GIT_ASKPASS", "".into()),
            ("GIT_ADVICE", "0".into()),
        ];
        let settings = SETTINGS.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Self { remote, settings, environment, git_dir: directory.join("none"), work_tree: None }
    }

    /// Adds a setting.
    pub(super) fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.settings.push((key.into(), value.into()));
    }

    /// Returns the same without an address for `origin`.
    pub(super) fn without_origin(&self) -> Self {
        let mut git = self.clone();
        git.settings.retain(|(key, _)| key != ORIGIN);
        git
    }

    /// Adds a variable of the environment.
    pub(super) fn variable(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.environment.push((name, value.into()));
    }

    /// Returns the same for the repository `git_dir`.
    pub(super) fn repository(&self, git_dir: &Path) -> Self {
        Self { git_dir: git_dir.to_owned(), work_tree: None, ..self.clone() }
    }

    /// Returns the same with files in `work_tree`.
    pub(super) fn work_tree(&self, work_tree: &Path) -> Self {
        Self { work_tree: Some(work_tree.to_owned()), ..self.clone() }
    }

    /// Returns the same with the address of the remote as `origin`, which repositories do not keep.
    pub(super) fn with_origin(&self) -> Self {
        let mut git = self.clone();
        git.set(ORIGIN, self.remote.url.clone());
        git
    }

    /// Fails if git does not heed the settings it is given.
    pub(super) async fn check(&self) -> Result<(), OpsError> {
        match self.run("reading git's settings", ["config", "--get", "protocol.allow"]).await {
            Ok(answer) if answer.trim() == "never" => Ok(()),
            Err(error @ OpsError::Git(GitError::Start(_))) => Err(error),
            Ok(_) | Err(_) => Err(GitError::Old.into()),
        }
    }

    /// Runs a command and returns what it printed.
    pub(super) async fn run<A: AsRef<OsStr>>(
        &self,
        action: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, OpsError> {
        Ok(String::from_utf8_lossy(&self.bytes(action, arguments).await?).into_owned())
    }

    /// Runs a command and returns what it printed, byte for byte.
    pub(super) async fn bytes<A: AsRef<OsStr>>(
        &self,
        action: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<u8>, OpsError> {
        let mut command = self.command();
        command.args(arguments);
        let mut child = Group(command.spawn().map_err(GitError::Start)?);
        let (stdout, stderr) = (child.0.stdout.take(), child.0.stderr.take());
        let failed = |error| OpsError::io("reading from git", error);
        let (printed, complaint) =
            tokio::try_join!(drain(stdout, MOST_OUTPUT), drain(stderr, MOST_COMPLAINT)).map_err(failed)?;
        let status = child.0.wait().await.map_err(failed)?;
        if status.success() && printed.whole {
            return Ok(printed.bytes);
        }
        let complaint = match (status.success(), String::from_utf8_lossy(&complaint.bytes).into_owned()) {
            (true, _) => format!("it printed more than {MOST_OUTPUT} bytes"),
            (false, complaint) if complaint.trim().is_empty() => status.to_string(),
            (false, complaint) => self.remote.redact(complaint.trim()),
        };
        Err(GitError::Failed { action: action.to_owned(), complaint }.into())
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C at the terminal reaches us first; whatever git starts ends with it.
        command.process_group(0).kill_on_drop(true);
        command.env("GIT_DIR", &self.git_dir);
        command.current_dir(self.work_tree.as_deref().or(self.git_dir.parent()).unwrap_or(Path::new("/")));
        if let Some(work_tree) = &self.work_tree {
            command.env("GIT_WORK_TREE", work_tree);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("GIT_CONFIG_COUNT", self.settings.len().to_string());
        for (index, (key, value)) in self.settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key).env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command
    }
}

/// A command and whatever it starts; dropping it ends them all.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Without an id it has been waited for, and its number may be another's.
        let pid = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// What was read of a pipe.
struct Drained {
    bytes: Vec<u8>,
    /// Whether that is all there was.
    whole: bool,
}

/// Reads to the end, keeping the first `most` bytes.
async fn drain(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> std::io::Result<Drained> {
    let mut drained = Drained { bytes: Vec::new(), whole: true };
    let Some(mut pipe) = pipe else { return Ok(drained) };
    let mut buffer = vec![0; 32 << 10];
    loop {
        let read = pipe.read(&mut buffer).await?;
        if read == 0 {
            return Ok(drained);
        }
        let room = (most - drained.bytes.len()).min(read);
        drained.bytes.extend_from_slice(&buffer[..room]);
        drained.whole &= room == read;
    }
}

/// Returns the command by which git calls ssh: no settings of the machine's user, keys from the agent only.
///
/// A host that was never seen is trusted the first time, and its key remembered in `known_hosts`.
pub(super) fn ssh_command(known_hosts: &Path, strict: bool) -> OsString {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let file = known_hosts.to_string_lossy().replace('%', "%%");
    let checking = if strict { "yes" } else { "accept-new" };
    let options = [
        format!("UserKnownHostsFile=\"{file}\""),
        format!("StrictHostKeyChecking={checking}"),
        "BatchMode=yes".to_owned(),
        "IdentityFile=none".to_owned(),
        "ConnectTimeout=30".to_owned(),
        "ServerAliveInterval=20".to_owned(),
    ];
    let options: Vec<_> = options.iter().map(|option| format!("-o {}", quoted(option))).collect();
    format!("ssh -F /dev/null {}", options.join(" ")).into()
}
