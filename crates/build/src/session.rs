//! The client's side of a build in the same process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rbuild_ops::{Agent, Layout, LocalDirectory, LocalRequest, Session};
use rbuild_solver::Context;

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

#[async_trait]
impl Session for InProcess {
    async fn local(&self, request: &LocalRequest, _: &Context) -> io::Result<Option<LocalDirectory>> {
        Ok(self.locals.get(&request.name).cloned().map(LocalDirectory::in_place))
    }

    async fn secret(&self, id: &str) -> io::Result<Option<Vec<u8>>> {
        match self.secrets.get(id) {
            None => Ok(None),
            Some(SecretSource::Value(value)) => Ok(Some(value.clone())),
            Some(SecretSource::File(path)) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_secret(&path)).await;
                read.map_err(io::Error::other)?.map(Some)
            }
        }
    }

    async fn ssh_agent(&self, id: &str) -> io::Result<Option<Arc<dyn Agent>>> {
        let agent = self.ssh.iter().find(|agent| agent.id == id);
        Ok(agent.map(|agent| Arc::new(agent.socket.clone()) as Arc<dyn Agent>))
    }

    async fn layout(&self, id: &str, _: Option<&str>) -> io::Result<Option<Layout>> {
        Ok(self.layouts.get(id).cloned().map(Layout::Directory))
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
