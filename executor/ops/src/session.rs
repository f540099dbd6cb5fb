//! What a build needs of the side that asked for it: directories, secrets, agents.
//!
//! The client may be this process, whose directories are read in place, or one at the other end of a
//! connection, whose files are copied here first. Operations do not know the difference.

use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rbuild_oci::{Descriptor, Digest};
use rbuild_solver::Context;

/// What of which directory of the client a source wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalRequest {
    /// The name that the client knows it by.
    pub name: String,
    /// The session of the client that has it; none is any session of the build.
    pub session: Option<String>,
    /// Patterns of what is wanted; none is everything.
    pub include: Vec<String>,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// Paths that are wanted together with what links on the way to them lead to. A hint for what need not be
    /// transferred; a directory that is read in place may show more.
    pub follow: Vec<String>,
    /// Tells apart directories of equal name that should not replace each other's copies.
    pub shared_key_hint: String,
    /// When a file that is there already is taken to be the same.
    pub differ: Differ,
    /// Only the names and metadata of files are wanted, but for those that match these patterns.
    pub metadata_only: Option<Vec<String>>,
}

/// When a file of a copy is taken to be the same as the client's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Differ {
    /// If its metadata is the same.
    #[default]
    Metadata,
    /// Never.
    Never,
}

/// A directory of the client, ready to be read.
#[derive(Debug, Clone)]
pub struct LocalDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is the client's own, or a copy of just what was asked for.
    pub form: LocalForm,
    /// Keeps the directory as it is as long as it is read.
    pub keep: Option<Keep>,
}

/// What a directory of the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalForm {
    /// The client's own: patterns are applied upon reading, and owners mean nothing.
    InPlace,
    /// A copy of what was asked for, with the owners that the client says.
    Copy,
}

impl LocalDirectory {
    /// Returns the client's own directory at `path`.
    pub fn in_place(path: PathBuf) -> Self {
        Self { path, form: LocalForm::InPlace, keep: None }
    }

    /// Returns a copy that stays as it is as long as `keep` lives.
    pub fn copy(path: PathBuf, keep: impl Any + Send + Sync) -> Self {
        Self { path, form: LocalForm::Copy, keep: Some(Keep(Arc::new(keep))) }
    }
}

/// Something that is held on to.
#[derive(Clone)]
pub struct Keep(#[expect(dead_code, reason = "it only lives")] Arc<dyn Any + Send + Sync>);

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keep")
    }
}

/// An ssh agent of the client.
pub trait Agent: Send + Sync {
    /// Returns a new connection to the agent. Blocks.
    ///
    /// # Errors
    /// If there is no way to it any more.
    fn connect(&self) -> io::Result<UnixStream>;

    /// Whether its owner decides what goes through. Then it may be anything that listens, and its words are not read.
    fn is_guarded(&self) -> bool {
        false
    }

    /// Returns the agent's own socket, if it is one of this machine.
    fn path(&self) -> Option<&Path> {
        None
    }
}

impl Agent for PathBuf {
    fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self)
    }

    fn path(&self) -> Option<&Path> {
        Some(self)
    }
}

/// An OCI layout of the client.
#[derive(Clone)]
pub enum Layout {
    /// A directory.
    Directory(PathBuf),
    /// Blobs that the client hands out one by one.
    Blobs(Arc<dyn LayoutBlobs>),
}

/// Blobs of an OCI layout. The calls may block; what they return is not trusted.
pub trait LayoutBlobs: Send + Sync {
    /// Returns what the layout is called before people.
    fn name(&self) -> String;

    /// Returns the document that names the images of the layout, at most `most` bytes and one.
    ///
    /// # Errors
    /// If there is none, as where blobs are handed out by digest only.
    fn index(&self, _most: u64) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns a document, at most `most` bytes and one.
    ///
    /// # Errors
    /// If it cannot be had.
    fn document(&self, digest: &Digest, most: u64) -> io::Result<Vec<u8>>;

    /// Returns the size of a blob and its bytes.
    ///
    /// # Errors
    /// If it cannot be had.
    fn blob(&self, descriptor: &Descriptor) -> io::Result<(u64, Box<dyn Read + Send>)>;
}

/// The client's side of a build.
#[async_trait]
pub trait Session: Send + Sync {
    /// Returns what sets the client's directory apart from those of other clients; none if there are no others.
    fn scope(&self, _request: &LocalRequest) -> Option<Digest> {
        None
    }

    /// Returns a directory of the client; none if it has none of that name.
    async fn local(&self, request: &LocalRequest, context: &Context) -> io::Result<Option<LocalDirectory>>;

    /// Returns the secret with this id.
    async fn secret(&self, id: &str) -> io::Result<Option<Vec<u8>>>;

    /// Returns the agent with this id.
    async fn ssh_agent(&self, id: &str) -> io::Result<Option<Arc<dyn Agent>>>;

    /// Returns the secret with this id for a step. If other clients want the very same step, any of them may have it.
    async fn secret_of_step(&self, _vertex: &Digest, id: &str) -> io::Result<Option<Vec<u8>>> {
        self.secret(id).await
    }

    /// Returns the agent with this id for a step, as with secrets.
    async fn agent_of_step(&self, _vertex: &Digest, id: &str) -> io::Result<Option<Arc<dyn Agent>>> {
        self.ssh_agent(id).await
    }

    /// Returns the OCI layout with this id, of the session with this id if there is one.
    async fn layout(&self, _id: &str, _session: Option<&str>) -> io::Result<Option<Layout>> {
        Ok(None)
    }

    /// Returns the bytes that the client offers under a path of the host that stands for it; none if it offers
    /// nothing of the kind. Reading blocks.
    async fn upload(&self, _host: &str, _path: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        Ok(None)
    }

    /// Returns where programs such as git are looked for, in the form of `PATH`; none for the usual places.
    fn search_path(&self) -> Option<OsString> {
        None
    }
}
