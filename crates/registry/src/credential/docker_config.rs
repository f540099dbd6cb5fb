//! Docker's `config.json` (and podman's `auth.json`, which has the same form).
//!
//! ```text
//! { "auths":       { "host:port": { "auth": base64("user:password"), "identitytoken": "…" } },
//!   "credsStore":  "x",                       every host's credentials are in docker-credential-x
//!   "credHelpers": { "host:port": "y" } }     this host's are in docker-credential-y
//! ```
//!
//! Docker Hub is kept as `https://index.docker.io/v1/`; other hosts may carry a scheme and a path
//! from old times, which are not compared. Fields that we do not know are kept when writing.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::program::Helper;
use super::{Credential, CredentialError, CredentialStore};

/// The name under which docker keeps Docker Hub's credentials.
const HUB: &str = "https://index.docker.io/v1/";
/// Largest file that is read.
const MOST_BYTES: u64 = 8 << 20;

/// A docker `config.json` or podman `auth.json` and the credential helpers it names.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    path: PathBuf,
    search_path: OsString,
}

impl DockerConfig {
    /// Uses the file at `path`, which need not exist; helpers are looked up in the absolute
    /// directories of `search_path` (the value of `PATH`).
    pub fn new(path: impl Into<PathBuf>, search_path: impl Into<OsString>) -> Self {
        Self { path: path.into(), search_path: search_path.into() }
    }

    fn broken(&self, reason: impl Into<String>) -> CredentialError {
        CredentialError::Broken { path: self.path.clone(), reason: reason.into() }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> CredentialError {
        let path = self.path.clone();
        move |source| CredentialError::File { action, path, source }
    }

    pub(super) fn read(&self) -> Result<Map<String, Value>, CredentialError> {
        let text = match read_limited(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(self.failed("reading")(error)),
        };
        if text.trim_ascii().is_empty() {
            return Ok(Map::new());
        }
        // The parser's own message could quote a secret; its place is enough.
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| self.broken(format!("not JSON at line {} column {}", error.line(), error.column())))?;
        match value {
            Value::Object(map) => Ok(map),
            _ => Err(self.broken("not a JSON object")),
        }
    }

    fn write(&self, config: &Map<String, Value>) -> Result<(), CredentialError> {
        let mut text = serde_json::to_vec_pretty(config).map_err(|error| self.broken(error.to_string()))?;
        text.push(b'\n');
        // A link to a file kept elsewhere stays a link.
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        write_private(&target, &text).map_err(self.failed("writing"))
    }

    pub(super) fn section<'a>(
        &self,
        config: &'a Map<String, Value>,
        name: &str,
    ) -> Result<Option<&'a Map<String, Value>>, CredentialError> {
        match config.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(self.broken(format!("`{name}` is not an object"))),
        }
    }

    pub(super) fn text<'a>(&self, map: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, CredentialError> {
        match map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty()).map(String::as_str)),
            Some(_) => Err(self.broken(format!("`{name}` is not a text"))),
        }
    }

    /// Returns the helper that keeps this registry's credentials, if one does.
    fn helper(&self, config: &Map<String, Value>, registry: &str) -> Result<Option<Helper>, CredentialError> {
        let special = self.section(config, "credHelpers")?;
        let mut name = None;
        if let Some(helpers) = special {
            for key in helpers.keys().filter(|key| names(key, registry)) {
                name = self.text(helpers, key)?;
            }
        }
        if name.is_none() {
            name = self.text(config, "credsStore")?;
        }
        name.map(|name| Helper::find(name, &self.search_path)).transpose()
    }

    fn entry(&self, config: &Map<String, Value>, registry: &str) -> Result<Option<Credential>, CredentialError> {
        let Some(auths) = self.section(config, "auths")? else { return Ok(None) };
        for (_, value) in auths.iter().filter(|(key, _)| names(key, registry)) {
            let Value::Object(entry) = value else {
                return Err(self.broken(format!("the entry of `{registry}` is not an object")));
            };
            if let Some(found) = self.credential(entry, registry)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn credential(&self, entry: &Map<String, Value>, registry: &str) -> Result<Option<Credential>, CredentialError> {
        if let Some(token) = self.text(entry, "identitytoken")? {
            return Ok(Some(Credential::Identity(token.to_owned())));
        }
        if let Some(token) = self.text(entry, "registrytoken")? {
            return Ok(Some(Credential::Registry(token.to_owned())));
        }
        if let Some(auth) = self.text(entry, "auth")? {
            let broken = || self.broken(format!("`auth` of `{registry}` is not base64 of user:password"));
            let decoded = STANDARD.decode(auth.trim()).map_err(|_| broken())?;
            let decoded = String::from_utf8(decoded).map_err(|_| broken())?;
            let (username, password) = decoded.split_once(':').ok_or_else(broken)?;
            return Ok(Some(Credential::basic(username, password.trim_end_matches('\0'))));
        }
        let (username, password) = (self.text(entry, "username")?, self.text(entry, "password")?);
        Ok(username.zip(password).map(|(username, password)| Credential::basic(username, password)))
    }
}

impl CredentialStore for DockerConfig {
    fn get(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        let config = self.read()?;
        if let Some(helper) = self.helper(&config, registry)?
            && let Some(found) = helper.get(key(registry))?
        {
            return Ok(Some(found));
        }
        self.entry(&config, registry)
    }

    fn store(&self, registry: &str, credential: &Credential) -> Result<(), CredentialError> {
        let mut config = self.read()?;
        let entry = match self.helper(&config, registry)? {
            // An empty entry tells other tools that the helper knows this registry.
            Some(helper) => {
                helper.store(key(registry), credential)?;
                json!({})
            }
            None => entry_of(credential),
        };
        self.section(&config, "auths")?;
        if !config.get("auths").is_some_and(Value::is_object) {
            config.insert("auths".to_owned(), json!({}));
        }
        if let Some(Value::Object(auths)) = config.get_mut("auths") {
            auths.retain(|key, _| !names(key, registry));
            auths.insert(key(registry).to_owned(), entry);
        }
        self.write(&config)
    }

    fn erase(&self, registry: &str) -> Result<bool, CredentialError> {
        let mut config = self.read()?;
        let mut erased = false;
        if let Some(helper) = self.helper(&config, registry)?
            && helper.get(key(registry))?.is_some()
        {
            helper.erase(key(registry))?;
            erased = true;
        }
        if let Some(Value::Object(auths)) = config.get_mut("auths") {
            let before = auths.len();
            auths.retain(|key, _| !names(key, registry));
            if auths.len() != before {
                erased = true;
                self.write(&config)?;
            }
        }
        Ok(erased)
    }
}

/// Returns the name docker keeps a registry's credentials under.
fn key(registry: &str) -> &str {
    if registry == "docker.io" { HUB } else { registry }
}

/// Whether the key of an entry means exactly this registry.
fn names(entry: &str, registry: &str) -> bool {
    let bare = entry.strip_prefix("https://").or_else(|| entry.strip_prefix("http://"));
    // Only an old key with a scheme may have a path; podman's `host/repository` means less than a host.
    let host = bare.map_or(entry, |rest| rest.split('/').next().unwrap_or(rest));
    match registry {
        "docker.io" => matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io"),
        _ => host == registry,
    }
}

fn entry_of(credential: &Credential) -> Value {
    match credential {
        Credential::Basic { username, password } => {
            json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
        }
        Credential::Identity(token) => json!({ "auth": "", "identitytoken": token }),
        Credential::Registry(token) => json!({ "auth": "", "registrytoken": token }),
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut text = Vec::new();
    fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 8 MiB"));
    }
    Ok(text)
}

/// Writes a file that only its owner may read, in one step for all readers.
fn write_private(target: &Path, text: &[u8]) -> io::Result<()> {
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory {
        fs::create_dir_all(directory)?;
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let draft = target.with_file_name(name);
    let result = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&draft, target)
    })();
    if result.is_err() {
        // The draft may be half written; the error already says what went wrong.
        drop(fs::remove_file(&draft));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn config(text: &str) -> (tempfile::TempDir, DockerConfig) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, text).unwrap();
        let config = DockerConfig::new(path, dir.path().join("bin"));
        (dir, config)
    }

    /// Held while scripts are written and run: a fork in between would keep one open for writing.
    static SCRIPTS: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn helper(dir: &tempfile::TempDir, name: &str, script: &str) {
        let bin = dir.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn check(text: &str, registry: &str, want: Option<&Credential>) {
        let (_dir, config) = config(text);
        assert_eq!(config.get(registry).unwrap().as_ref(), want, "{registry} in {text}");
    }

    #[test]
    fn matches_hosts_exactly() {
        let text = r#"{"auths":{
            "reg.example:5000":{"auth":"dTpw"},
            "https://old.example/v1/":{"auth":"dTpw"},
            "podman.example/team":{"auth":"dTpw"},
            "https://index.docker.io/v1/":{"username":"u","password":"p"},
            "id.example":{"auth":"","identitytoken":"t"}}}"#;
        let user = Credential::basic("u", "p");
        check(text, "reg.example:5000", Some(&user));
        check(text, "old.example", Some(&user));
        check(text, "docker.io", Some(&user));
        check(text, "id.example", Some(&Credential::Identity("t".into())));
        for other in
            ["reg.example", "reg.example:500", "evilreg.example:5000", "podman.example", "index.docker.io.evil"]
        {
            check(text, other, None);
        }
        check("", "docker.io", None);
        check("{}", "docker.io", None);
    }

    #[test]
    fn a_broken_file_is_an_error_without_its_content() {
        for text in [
            "{\"auths\": secret",
            "[]",
            r#"{"auths":["secret"]}"#,
            r#"{"auths":{"r":"secret"}}"#,
            r#"{"auths":{"r":{"auth":"secret!"}}}"#,
            r#"{"credsStore":7}"#,
        ] {
            let (_dir, config) = config(text);
            let error = config.get("r").expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn keeps_and_forgets_and_leaves_the_rest() {
        let (dir, config) = config(r#"{"psFormat":"x","auths":{"http://r:1/v2/":{"auth":"b2xkOm9sZA=="}}}"#);
        config.store("r:1", &Credential::basic("u", "p:q")).unwrap();
        config.store("docker.io", &Credential::basic("h", "h")).unwrap();
        assert_eq!(config.get("r:1").unwrap(), Some(Credential::basic("u", "p:q")));
        let text = fs::read_to_string(dir.path().join("config.json")).unwrap();
        assert!(text.contains("psFormat") && text.contains(HUB) && !text.contains("b2xk"), "{text}");
        let mode = fs::metadata(dir.path().join("config.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(config.erase("r:1").unwrap());
        assert!(!config.erase("r:1").unwrap());
        assert_eq!(config.get("r:1").unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "drafts are gone");
    }

    #[test]
    fn asks_helpers() {
        let _scripts = SCRIPTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (dir, config) = config(r#"{"credHelpers":{"a.example":"fake"},"credsStore":"all"}"#);
        helper(
            &dir,
            "docker-credential-fake",
            r#"read host; [ "$1" = get ] && printf '{"Username":"%s","Secret":"s"}' "$host""#,
        );
        helper(&dir, "docker-credential-all", r#"echo "credentials not found in native keychain"; exit 1"#);
        assert_eq!(config.get("a.example").unwrap(), Some(Credential::basic("a.example", "s")));
        assert_eq!(config.get("b.example").unwrap(), None);
    }

    #[test]
    fn stores_through_helpers() {
        let _scripts = SCRIPTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (dir, config) = config(r#"{"credsStore":"keep"}"#);
        let kept = dir.path().join("kept");
        helper(&dir, "docker-credential-keep", &format!("cat > {}", kept.display()));
        config.store("r:1", &Credential::Identity("tok".into())).unwrap();
        let text = fs::read_to_string(kept).unwrap();
        assert_eq!(text, r#"{"ServerURL":"r:1","Username":"<token>","Secret":"tok"}"#);
        assert!(!fs::read_to_string(dir.path().join("config.json")).unwrap().contains("tok"));
    }

    #[test]
    fn bad_helpers_are_errors() {
        let _scripts = SCRIPTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (name, part) in [("../../bin/evil", "name"), ("missing", "not found"), ("broken", "boom"), ("text", "JSON")]
        {
            let (dir, config) = config(&format!(r#"{{"credsStore":"{name}"}}"#));
            helper(&dir, "docker-credential-broken", "echo boom >&2; exit 3");
            helper(&dir, "docker-credential-text", "echo hello");
            let error = config.get("r").expect_err(name).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
