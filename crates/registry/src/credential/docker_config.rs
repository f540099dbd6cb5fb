//! Docker's `config.json` (and podman's `auth.json`, which has the same form).
use super::*;
use std::ffi::OsString;

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
}

impl CredentialStore for DockerConfig {
    fn get(&self, _: &str) -> Result<Option<Credential>, CredentialError> {
        unreachable!("{:?}{:?}", self.path, self.search_path)
    }
    fn store(&self, _: &str, _: &Credential) -> Result<(), CredentialError> {
        unreachable!()
    }
    fn erase(&self, _: &str) -> Result<bool, CredentialError> {
        unreachable!()
    }
}
