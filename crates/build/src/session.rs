//! The client's side of a build in the same process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

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

/// The largest secret, as BuildKit has it.
const MAX_SECRET: u64 = 500 << 10;

impl Session for InProcess {
    fn local(&self, name: &str) -> Option<LocalDirectory> {
        self.locals.get(name).map(|path| LocalDirectory { path: path.clone() })
    }

    fn secret(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        match self.secrets.get(id) {
            None => Ok(None),
            Some(SecretSource::Value(value)) => Ok(Some(value.clone())),
            Some(SecretSource::File(path)) => read_secret(path).map(Some),
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

/// Reads a file, which may have become another one since it was named, up to the limit.
fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_SECRET + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_SECRET {
        return Err(io::Error::other(format!("`{}` is larger than the limit of 500 KiB", path.display())));
    }
    Ok(content)
}
