//! The other end of a session: what a client serves to the daemon that builds for it.
//!
//! ```no_run
//! # async fn example(channel: tonic::transport::Channel) -> Result<(), rbuild_session::SessionError> {
//! use rbuild_session::client::ClientSession;
//! let session = ClientSession::new("").with_local("context", ".").with_secret("token", b"secret".to_vec());
//! let id = session.id().to_owned(); // goes into the request for a build
//! let attached = session.attach(channel).await?;
//! # drop((id, attached)); Ok(()) }
//! ```

mod auth;
mod content;
mod export;
mod files;
mod follow;
mod give;
mod serve;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use rbuild_buildkit_api::control::BytesMessage;
use rbuild_buildkit_api::exporter::ExporterRequest;
use rbuild_buildkit_api::services::control::control_client::ControlClient;
use rbuild_registry::CredentialStore;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::transport::Channel;

use crate::error::SessionError;
use crate::pipe::BytePipe;
use crate::session::{MOST_MESSAGE_BYTES, header};
use crate::{
    auth as auth_method, content as content_method, exporter, file_send, file_sync, headers, secret, ssh, upload,
};

/// Where the bytes of a file that the daemon sends go; what the daemon says of it is given.
pub type OpenFile = Box<dyn FnMut(&BTreeMap<String, String>) -> std::io::Result<Option<Box<dyn Write + Send>>> + Send>;
/// Where the bytes of an archive that the daemon asks for come from.
pub type OpenUpload = Box<dyn Fn() -> std::io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// Chooses exporters for a result, of which it is given the metadata.
pub type OpenExporters = Box<dyn Fn(&BTreeMap<String, Vec<u8>>) -> Vec<ExporterRequest> + Send + Sync>;

/// What a client offers to a daemon.
pub struct ClientSession {
    id: String,
    shared_key: String,
    extra: Vec<(String, String)>,
    offer: Offer,
}

/// What is served.
#[derive(Default)]
pub(crate) struct Offer {
    locals: BTreeMap<String, PathBuf>,
    files: BTreeMap<usize, Mutex<OpenFile>>,
    directories: BTreeMap<usize, PathBuf>,
    secrets: BTreeMap<String, Vec<u8>>,
    agents: BTreeMap<String, PathBuf>,
    uploads: BTreeMap<String, OpenUpload>,
    stores: BTreeMap<String, PathBuf>,
    exporters: Option<OpenExporters>,
    credentials: Option<Arc<dyn CredentialStore>>,
}

impl ClientSession {
    /// Returns a session that offers nothing. The key is what sessions of this client and directory have in common.
    pub fn new(shared_key: impl Into<String>) -> Self {
        Self { id: random_id(), shared_key: shared_key.into(), extra: Vec::new(), offer: Offer::default() }
    }

    /// Returns the session's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Gives the session an id that was chosen elsewhere.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self }
    }

    /// Adds a header to those that introduce the session.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra.push((name.into(), value.into()));
        self
    }

    /// Offers a directory, read when the daemon asks for it.
    #[must_use]
    pub fn with_local(mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.offer.locals.insert(name.into(), path.into());
        self
    }

    /// Takes the file that an exporter makes; to open none means that it exists already.
    #[must_use]
    pub fn with_file(mut self, exporter: usize, open: OpenFile) -> Self {
        self.offer.files.insert(exporter, Mutex::new(open));
        self
    }

    /// Takes the tree that an exporter makes.
    #[must_use]
    pub fn with_directory(mut self, exporter: usize, path: impl Into<PathBuf>) -> Self {
        self.offer.directories.insert(exporter, path.into());
        self
    }

    /// Offers a secret.
    #[must_use]
    pub fn with_secret(mut self, id: impl Into<String>, content: Vec<u8>) -> Self {
        self.offer.secrets.insert(id.into(), content);
        self
    }

    /// Offers an ssh agent that listens at a socket.
    #[must_use]
    pub fn with_agent(mut self, id: impl Into<String>, socket: impl Into<PathBuf>) -> Self {
        self.offer.agents.insert(id.into(), socket.into());
        self
    }

    /// Offers an archive under a path.
    #[must_use]
    pub fn with_upload(mut self, path: impl Into<String>, open: OpenUpload) -> Self {
        self.offer.uploads.insert(path.into(), open);
        self
    }

    /// Offers a directory of blobs under an id: `oci:<name>` is a layout, `local:<directory>` a cache, `export` takes an
    /// image.
    #[must_use]
    pub fn with_store(mut self, id: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.offer.stores.insert(id.into(), path.into());
        self
    }

    /// Decides when the build is done where its result goes.
    #[must_use]
    pub fn with_exporters(mut self, exporters: OpenExporters) -> Self {
        self.offer.exporters = Some(exporters);
        self
    }

    /// Offers credentials of registries.
    #[must_use]
    pub fn with_credentials(mut self, store: Arc<dyn CredentialStore>) -> Self {
        self.offer.credentials = Some(store);
        self
    }

    /// Returns the methods that are served.
    fn methods(&self) -> Vec<String> {
        let offer = &self.offer;
        let mut methods = vec!["/grpc.health.v1.Health/Check"];
        let table: [(bool, &[&'static str]); 8] = [
            (!offer.stores.is_empty(), &[content_method::INFO, content_method::READ, content_method::WRITE]),
            (offer.exporters.is_some(), &[exporter::FIND, exporter::FINALIZE]),
            (!offer.locals.is_empty(), &[file_sync::METHOD]),
            (!offer.files.is_empty() || !offer.directories.is_empty(), &[file_send::METHOD]),
            (!offer.secrets.is_empty(), &[secret::METHOD]),
            (!offer.agents.is_empty(), &[ssh::CHECK, ssh::FORWARD]),
            (!offer.uploads.is_empty(), &[upload::METHOD]),
            (
                offer.credentials.is_some(),
                &[auth_method::CREDENTIALS, auth_method::FETCH_TOKEN, auth_method::AUTHORITY],
            ),
        ];
        methods.extend(table.iter().filter(|(served, _)| *served).flat_map(|(_, methods)| methods.iter()));
        methods.into_iter().map(str::to_owned).collect()
    }

    /// Opens the session with a daemon, and serves it until the answer is dropped.
    ///
    /// # Errors
    /// If the daemon does not take it.
    pub async fn attach(self, channel: Channel) -> Result<ServedSession, SessionError> {
        let closed = CancellationToken::new();
        let (answers, incoming) = tokio::sync::mpsc::channel(16);
        let (pipe, outgoing) = BytePipe::new(ReceiverStream::new(incoming), closed.clone());
        let mut request = Request::new(ReceiverStream::new(outgoing).map(|data: Bytes| BytesMessage { data }));
        let map = request.metadata_mut();
        headers::append(map, header::ID, std::slice::from_ref(&self.id));
        headers::append(map, header::SHARED_KEY, std::slice::from_ref(&self.shared_key));
        headers::append(map, header::METHOD, &self.methods());
        for (name, value) in &self.extra {
            headers::append(map, name, std::slice::from_ref(value));
        }
        let id = self.id.clone();
        let server = tokio::spawn(serve::serve(Arc::new(self.offer), pipe));
        let mut client = ControlClient::new(channel)
            .max_decoding_message_size(MOST_MESSAGE_BYTES)
            .max_encoding_message_size(MOST_MESSAGE_BYTES);
        let opened = client.session(request).await;
        let mut messages = match opened {
            Ok(messages) => messages.into_inner().map_ok(|message| message.data).map_err(std::io::Error::other),
            Err(status) => {
                server.abort();
                return Err(SessionError::call("opening a session")(status));
            }
        };
        let reader = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                if answers.send(message).await.is_err() {
                    return;
                }
            }
        });
        Ok(ServedSession { id, closed, tasks: [server, reader] })
    }
}

/// A session that is served; it ends when this is dropped.
#[derive(Debug)]
pub struct ServedSession {
    id: String,
    closed: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl ServedSession {
    /// Returns the session's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until the daemon ends the session.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

impl Drop for ServedSession {
    fn drop(&mut self) {
        self.closed.cancel();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Returns an id that no other session has.
fn random_id() -> String {
    rbuild_oci::Digest::of(&random_words()).hex()[..25].to_owned()
}

/// Returns bytes that nobody can foretell: the keys of the standard library's hash maps come from the kernel.
pub(crate) fn random_words() -> Vec<u8> {
    let word = |_| std::hash::RandomState::new().build_hasher().finish().to_le_bytes();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    (0..4).flat_map(word).chain(now.to_le_bytes()).chain(std::process::id().to_le_bytes()).collect()
}
