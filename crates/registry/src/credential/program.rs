//! Credential helpers: programs `docker-credential-<name>` that keep secrets elsewhere.
//!
//! The protocol is docker's: the verb is the argument, the server or a JSON object comes on
//! standard input, the answer on standard output. A helper is found in absolute directories of the
//! search path only, never by a path that a configuration names.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Credential, CredentialError};

/// Longest time a helper may take; it may ask a person.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most output that is read.
const MOST_BYTES: u64 = 1 << 20;
/// The user name that says "the secret is an identity token".
const TOKEN_USER: &str = "<token>";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(default)]
    username: String,
    secret: String,
}

/// A credential helper that exists.
pub(super) struct Helper {
    name: String,
    program: PathBuf,
}

impl Helper {
    pub(super) fn find(name: &str, search_path: &OsStr) -> Result<Self, CredentialError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let full = format!("docker-credential-{}", name.escape_default());
        let fail = |reason: &str| Err(CredentialError::Helper { helper: full.clone(), reason: reason.to_owned() });
        if name.is_empty() || !name.bytes().all(plain) {
            return fail("not a name");
        }
        let mut directories = std::env::split_paths(search_path).filter(|directory| directory.is_absolute());
        let runnable = |path: &PathBuf| {
            path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        match directories.by_ref().map(|directory| directory.join(&full)).find(runnable) {
            Some(program) => Ok(Self { name: full, program }),
            None => fail("not found in PATH"),
        }
    }

    pub(super) fn get(&self, server: &str) -> Result<Option<Credential>, CredentialError> {
        let output = match self.run("get", server.as_bytes()) {
            Ok(output) => output,
            Err(Failure::Status(text)) if is_unknown(&text) => return Ok(None),
            Err(failure) => return Err(self.error(failure)),
        };
        let entry: Entry =
            serde_json::from_slice(&output).map_err(|_| self.fail("its answer is not the JSON expected"))?;
        Ok(match entry.username.as_str() {
            TOKEN_USER => Some(Credential::Identity(entry.secret)),
            "" if entry.secret.is_empty() => None,
            _ => Some(Credential::basic(entry.username, entry.secret)),
        })
    }

    pub(super) fn store(&self, server: &str, credential: &Credential) -> Result<(), CredentialError> {
        let (username, secret) = match credential {
            Credential::Basic { username, password } => (username.as_str(), password),
            Credential::Identity(token) => (TOKEN_USER, token),
            Credential::Registry(_) => return Err(self.fail("cannot keep a registry token")),
        };
        let entry = Entry { server: server.to_owned(), username: username.to_owned(), secret: secret.clone() };
        let input = serde_json::to_vec(&entry).map_err(|_| self.fail("the credential is not JSON"))?;
        self.run("store", &input).map(drop).map_err(|failure| self.error(failure))
    }

    pub(super) fn erase(&self, server: &str) -> Result<(), CredentialError> {
        match self.run("erase", server.as_bytes()) {
            Err(Failure::Status(text)) if is_unknown(&text) => Ok(()),
            other => other.map(drop).map_err(|failure| self.error(failure)),
        }
    }

    fn run(&self, verb: &str, input: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::Other(format!("starting it: {error}")))?;
        let (sender, receiver) = mpsc::channel();
        converse(&mut child, input.to_vec(), sender);
        let mut outputs = [Vec::new(), Vec::new()];
        for _ in 0..outputs.len() {
            let Ok((which, output)) = receiver.recv_timeout(PATIENCE) else {
                // Both calls fail only if it has ended by itself in this moment.
                drop(child.kill());
                drop(child.wait());
                return Err(Failure::Other(format!("no answer within {} s", PATIENCE.as_secs())));
            };
            outputs[which] = output;
        }
        let status = child.wait().map_err(|error| Failure::Other(format!("waiting for it: {error}")))?;
        let [output, errors] = outputs;
        if status.success() {
            return Ok(output);
        }
        // Helpers report errors on standard output; some say more on standard error.
        let text = if output.trim_ascii().is_empty() { errors } else { output };
        Err(Failure::Status(String::from_utf8_lossy(&text).trim().to_owned()))
    }

    fn error(&self, failure: Failure) -> CredentialError {
        match failure {
            Failure::Status(text) => {
                let line = text.lines().next().unwrap_or_default();
                let shown: String = line.chars().take(200).flat_map(char::escape_default).collect();
                self.fail(&format!("failed: {shown}"))
            }
            Failure::Other(reason) => self.fail(&reason),
        }
    }

    fn fail(&self, reason: &str) -> CredentialError {
        CredentialError::Helper { helper: self.name.clone(), reason: reason.to_owned() }
    }
}

enum Failure {
    Status(String),
    Other(String),
}

/// Feeds and drains a child, each pipe by its own thread, so that no side can block the other.
fn converse(child: &mut Child, input: Vec<u8>, sender: mpsc::Sender<(usize, Vec<u8>)>) {
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input says why by its status.
        thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    for (which, pipe) in [stdout, stderr].into_iter().enumerate() {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut output = Vec::new();
            if let Some(pipe) = pipe {
                // What was read before an error is the answer; the status tells whether it is one.
                drop(pipe.take(MOST_BYTES).read_to_end(&mut output));
            }
            drop(sender.send((which, output)));
        });
    }
}

fn is_unknown(text: &str) -> bool {
    text.contains("credentials not found") || text.contains("no credentials")
}
