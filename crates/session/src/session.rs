//! One client at the other end of a tunnel.
//!
//! A client opens a stream of bytes and lets the daemon be the *client* of an HTTP/2 connection over it: the roles
//! are reversed, so that the daemon can ask for files, secrets and credentials without reaching the client by
//! itself.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use rbuild_buildkit_api::control::BytesMessage;
use tokio::runtime::Handle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use crate::error::SessionError;
use crate::headers;
use crate::health::{self, Patience};
use crate::pipe::BytePipe;

/// Headers by which a client introduces its session.
pub mod header {
    /// The session's id.
    pub const ID: &str = "x-docker-expose-session-uuid";
    /// What sessions of one client and directory have in common.
    pub const SHARED_KEY: &str = "x-docker-expose-session-sharedkey";
    /// A method that the client serves; repeated.
    pub const METHOD: &str = "x-docker-expose-session-grpc-method";
    /// How long a health check may take, in milliseconds.
    pub const HEALTH_TIMEOUT: &str = "x-buildkit-session-health-custom-timeout";
}

/// The most methods that a client may expose.
const MOST_METHODS: usize = 1024;
/// The longest id or key.
const LONGEST: usize = 4096;
/// Windows of the connection inside the tunnel: with less, each transfer waits for the peer's nod.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Trailers carry whole Dockerfiles.
const MOST_HEADER_BYTES: u32 = 16 << 20;
/// The largest message.
pub(crate) const MOST_MESSAGE_BYTES: usize = 16 << 20;

/// What a client says of its session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exposed {
    /// The session's id.
    pub id: String,
    /// What sessions of one client and directory have in common; may be empty.
    pub shared_key: String,
    /// The methods that the client serves, in lower case.
    pub methods: HashSet<String>,
    /// How long a health check may take, if the client says.
    pub health_timeout: Option<Duration>,
}

impl Exposed {
    /// Reads the headers of a request.
    ///
    /// # Errors
    /// If there is no id, or more than a client has reason to say.
    pub fn read(map: &MetadataMap) -> Result<Self, SessionError> {
        let id = headers::value(map, header::ID).unwrap_or_default();
        let shared_key = headers::value(map, header::SHARED_KEY).unwrap_or_default();
        if id.is_empty() {
            return Err(SessionError::Headers("it has no id"));
        }
        if id.len() > LONGEST || shared_key.len() > LONGEST {
            return Err(SessionError::Headers("its id or shared key is longer than 4096 bytes"));
        }
        let methods = headers::values(map, header::METHOD);
        if methods.len() > MOST_METHODS {
            return Err(SessionError::Headers("it exposes more than 1024 methods"));
        }
        let timeout = headers::value(map, header::HEALTH_TIMEOUT).and_then(|text| text.parse().ok());
        Ok(Self {
            id,
            shared_key,
            methods: methods.iter().map(|method| method.to_lowercase()).collect(),
            health_timeout: timeout.filter(|millis| *millis > 0).map(Duration::from_millis),
        })
    }
}

/// A client that can be asked.
#[derive(Debug)]
pub struct Session {
    exposed: Exposed,
    channel: Channel,
    closed: CancellationToken,
    reason: OnceLock<String>,
    /// Threads that ask the client need not know of a runtime.
    runtime: Handle,
}

impl Session {
    /// Opens a session over the messages of a client. The answer stream must be given to the client; it ends with
    /// the session.
    ///
    /// # Errors
    /// If the headers make no sense, or the connection cannot be made.
    pub async fn open<S>(
        incoming: S,
        headers: &MetadataMap,
    ) -> Result<(Arc<Self>, impl Stream<Item = Result<BytesMessage, Status>> + Send + use<S>), SessionError>
    where
        S: Stream<Item = Result<BytesMessage, Status>> + Send + 'static,
    {
        let exposed = Exposed::read(headers)?;
        let bytes = incoming.map(|message| message.map(|message| message.data).map_err(io::Error::other));
        let (session, outgoing) = Self::over(bytes, exposed).await?;
        Ok((session, ReceiverStream::new(outgoing).map(|data: Bytes| Ok(BytesMessage { data }))))
    }

    /// Opens a session over chunks of bytes.
    async fn over(
        incoming: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        exposed: Exposed,
    ) -> Result<(Arc<Self>, tokio::sync::mpsc::Receiver<Bytes>), SessionError> {
        let closed = CancellationToken::new();
        let (pipe, outgoing) = BytePipe::new(incoming, closed.clone());
        // A connection can be made once: after it broke there is no way to the client.
        let mut pipe = Some(pipe);
        let connector = tower::service_fn(move |_| {
            let pipe = pipe.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            std::future::ready(pipe.map(TokioIo::new))
        });
        let endpoint = Endpoint::from_static("http://localhost")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(MOST_HEADER_BYTES);
        let connected = endpoint.connect_with_connector(connector).await;
        let channel = connected.map_err(|source| SessionError::Open { id: exposed.id.clone(), source })?;
        let patience = Patience::of(exposed.health_timeout);
        let session = Arc::new(Self { exposed, channel, closed, reason: OnceLock::new(), runtime: Handle::current() });
        tokio::spawn(health::watch(Arc::downgrade(&session), session.closed.clone(), patience));
        Ok((session, outgoing))
    }

    /// Returns the id.
    pub fn id(&self) -> &str {
        &self.exposed.id
    }

    /// Returns what sessions of one client and directory have in common; may be empty.
    pub fn shared_key(&self) -> &str {
        &self.exposed.shared_key
    }

    /// Returns whether the client serves a method (`/package.Service/Method`).
    pub fn supports(&self, method: &str) -> bool {
        self.exposed.methods.contains(&method.to_lowercase())
    }

    /// Fails unless the client serves a method.
    pub(crate) fn require(&self, method: &'static str) -> Result<(), SessionError> {
        if self.supports(method) { Ok(()) } else { Err(SessionError::Unsupported(method)) }
    }

    /// Returns the way to the client's services.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Returns the runtime that the session lives in.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Ends the session: whatever waits for the client fails with this reason.
    pub fn close(&self, reason: impl Into<String>) {
        let _ = self.reason.set(reason.into());
        self.closed.cancel();
    }

    /// Whether the session ended.
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Waits for the end of the session.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Waits for an answer of the client, or for the end of the session.
    pub(crate) async fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, SessionError>>,
    ) -> Result<T, SessionError> {
        tokio::select! {
            biased;
            answer = answer => match answer {
                // The transport only knows that it broke.
                Err(_) if self.reason.get().is_some() => Err(self.ended()),
                answer => answer,
            },
            () = self.closed() => Err(self.ended()),
        }
    }

    /// Returns the error of those who waited for a session that ended.
    pub(crate) fn ended(&self) -> SessionError {
        let reason = self.reason.get().map_or("the client went away", String::as_str);
        SessionError::Closed { id: self.id().to_owned(), reason: reason.to_owned() }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}
