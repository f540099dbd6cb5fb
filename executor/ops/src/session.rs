//! What a build needs of the side that asked for it: directories, secrets, agents.

use std::ffi::OsString;
use std::path::PathBuf;

/// A directory of the client, read in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDirectory {
    /// Where it is.
    pub path: PathBuf,
}

/// The client's side of a build. The calls may block for as long as reading a small file takes.
pub trait Session: Send + Sync {
    /// Returns the directory that the graph calls `name`.
    fn local(&self, name: &str) -> Option<LocalDirectory>;

    /// Returns the secret with this id.
    fn secret(&self, id: &str) -> std::io::Result<Option<Vec<u8>>>;

    /// Returns the socket of the agent with this id.
    fn ssh_agent(&self, id: &str) -> Option<PathBuf>;

    /// Returns the directory of the OCI layout with this id.
    fn layout(&self, _id: &str) -> Option<PathBuf> {
        None
    }

    /// Returns where programs such as git are looked for, in the form of `PATH`; none for the usual places.
    fn search_path(&self) -> Option<OsString> {
        None
    }
}
