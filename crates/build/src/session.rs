//! The client's side of a build in the same process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use rbuild_ops::{LocalDirectory, Session};

use crate::request::{SecretSource, SshSource};

/// Directories, secrets and agents of the process that builds.
pub(crate) struct InProcess {
    pub(crate) locals: BTreeMap<String, PathBuf>,
    pub(crate) secrets: BTreeMap<String, SecretSource>,
    pub(crate) ssh: Vec<SshSource>,
    pub(crate) layouts: BTreeMap<String, PathBuf>,
    pub(crate) search_path: Option<OsString>,
}

impl Session for InProcess {
    fn local(&self, name: &str) -> Option<LocalDirectory> {
        self.locals.get(name).map(|path| LocalDirectory { path: path.clone() })
    }

    fn secret(&self, id: &str) -> std::io::Result<Option<Vec<u8>>> {
        match self.secrets.get(id) {
            None => Ok(None),
            Some(SecretSource::Value(value)) => Ok(Some(value.clone())),
            Some(SecretSource::File(path)) => std::fs::read(path).map(Some),
        }
    }

    fn ssh_agent(&self, id: &str) -> Option<PathBuf> {
        self.ssh.iter().find(|agent| agent.id == id).map(|agent| agent.socket.clone())
    }

    fn layout(&self, id: &str) -> Option<PathBuf> {
        self.layouts.get(id).cloned()
    }

    fn search_path(&self) -> Option<OsString> {
        self.search_path.clone()
    }
}
