//! Ssh agents of a client: each connection to one is a call of its own.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rbuild_buildkit_api::services::ssh::s_s_h_client::SSHClient;
use rbuild_buildkit_api::ssh::{BytesMessage, CheckAgentRequest};
use rbuild_ops::Agent;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::error::SessionError;
use crate::session::Session;

/// The method by which a client says which agents it has.
pub(crate) const CHECK: &str = "/moby.sshforward.v1.SSH/CheckAgent";
/// The method by which a client forwards to an agent.
pub(crate) const FORWARD: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
/// The header that names an agent.
pub(crate) const ID: &str = "buildkit.ssh.id";
/// Connections to one agent at a time: a client takes 250 calls in all.
const MOST_CONNECTIONS: usize = 64;
/// The most bytes of a message.
pub(crate) const CHUNK: usize = 32 << 10;

/// An agent of a client.
#[derive(Debug)]
pub struct ClientAgent {
    session: Arc<Session>,
    id: String,
    connections: Arc<Semaphore>,
}

impl Session {
    /// Returns the agent with this id; none if the client has none.
    ///
    /// # Errors
    /// If the client fails.
    pub async fn ssh_agent(self: &Arc<Self>, id: &str) -> Result<Option<ClientAgent>, SessionError> {
        let mut client = SSHClient::new(self.channel());
        let answer = self.wait(async {
            let answer = client.check_agent(CheckAgentRequest { id: id.to_owned() }).await;
            answer.map_err(SessionError::call(format!("looking for ssh agent {id} of the client")))
        });
        match answer.await {
            Ok(_) => Ok(Some(ClientAgent {
                session: self.clone(),
                id: id.to_owned(),
                connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            })),
            // Clients have no code of their own for an agent that they do not know.
            Err(error) if error.is_missing() || error.code() == Some(Code::Unknown) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Agent for ClientAgent {
    fn connect(&self) -> io::Result<UnixStream> {
        let permit = self.connections.clone().try_acquire_owned();
        let permit = permit.map_err(|_| io::Error::other("more than 64 connections to an ssh agent"))?;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (session, id) = (self.session.clone(), self.id.clone());
        self.session.runtime().spawn(async move {
            let forwarding = forward(&session, &id, ours, permit);
            tokio::select! {
                // Whoever reads from the socket sees that it ended, and no more than that.
                _ = forwarding => {}
                () = session.closed() => {}
            }
        });
        Ok(theirs)
    }

    /// Clients let through what they like, and offer sockets of other kinds in the same way.
    fn is_guarded(&self) -> bool {
        true
    }
}

/// Moves bytes both ways. Each direction ends by itself: who has said everything may still listen.
async fn forward(session: &Session, id: &str, socket: UnixStream, _permit: OwnedSemaphorePermit) -> Result<(), Status> {
    let (read, write) = tokio::net::UnixStream::from_std(socket)?.into_split();
    let (sender, receiver) = mpsc::channel(4);
    let mut request = Request::new(ReceiverStream::new(receiver));
    let id = id.parse().map_err(|_| Status::invalid_argument("the id of an ssh agent is not plain text"))?;
    request.metadata_mut().insert(ID, id);
    let mut client = SSHClient::new(session.channel());
    let answers = async {
        let answers = client.forward_agent(request).await?.into_inner();
        receive(answers, write).await
    };
    tokio::try_join!(answers, say(read, sender))?;
    Ok(())
}

/// Sends what is read from a socket until its end.
pub(crate) async fn say(mut socket: OwnedReadHalf, sender: mpsc::Sender<BytesMessage>) -> Result<(), Status> {
    loop {
        let mut data = bytes::BytesMut::with_capacity(CHUNK);
        let ended = tokio::select! {
            read = socket.read_buf(&mut data) => read? == 0,
            () = sender.closed() => true,
        };
        if ended || sender.send(BytesMessage { data: data.freeze() }).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes what comes to a socket until its end, which the socket is told.
pub(crate) async fn receive(mut messages: Streaming<BytesMessage>, mut socket: OwnedWriteHalf) -> Result<(), Status> {
    while let Some(message) = messages.message().await? {
        socket.write_all(&message.data).await?;
    }
    socket.shutdown().await?;
    Ok(())
}
