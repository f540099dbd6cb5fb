//! Results on their way to the client: one file, or a directory.
//!
//! Both go by the same method; what the messages are depends on what the client wants to make of them, which it
//! said when it asked for the build.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use rbuild_buildkit_api::filesync::BytesMessage;
use rbuild_tree::FileTree;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::call;
use crate::error::SessionError;
use crate::file_sync::MOST_PACKET_BYTES;
use crate::fsutil::{self, Outgoing, Packet};
use crate::headers;
use crate::session::{MOST_MESSAGE_BYTES, Session};

/// The method by which a client takes files.
pub(crate) const METHOD: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// How many bytes are gathered for a message; clients refuse messages of 4 MiB.
const CHUNK: usize = 256 << 10;
/// Messages that wait for the client.
const WAITING: usize = 8;
/// Packets that wait for the client.
const WAITING_PACKETS: usize = 128;

/// The headers that say what a file or directory is.
pub(crate) mod header {
    pub(crate) const EXPORTER: &str = "buildkit-attachable-exporter-id";
    pub(crate) const METADATA: &str = "exporter-md-";
    pub(crate) const MULTI_PLATFORM: &str = "buildkit-exporter-multi-platform";
}

/// What became of a file that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The client has it.
    Whole,
    /// The client has what it should become already, and wanted no more.
    Existed,
}

/// A file on its way to a client. [`Write`] blocks; it is for threads. Without [`Self::finish`] the client is told
/// that the file is not whole.
#[derive(Debug)]
pub struct FileWriter {
    buffer: BytesMut,
    sender: Option<mpsc::Sender<BytesMessage>>,
    call: Option<JoinHandle<Result<(), Status>>>,
    session: Arc<Session>,
}

impl Session {
    /// Begins to send a file to the exporter of this number, with what the client may want to know of it.
    ///
    /// # Errors
    /// If the client takes none.
    pub fn send_file(
        self: &Arc<Self>,
        exporter: usize,
        metadata: &BTreeMap<String, String>,
    ) -> Result<FileWriter, SessionError> {
        self.require(METHOD)?;
        let mut map = MetadataMap::new();
        for (key, value) in metadata {
            headers::append(&mut map, &format!("{}{key}", header::METADATA), std::slice::from_ref(value));
        }
        headers::append(&mut map, header::EXPORTER, &[exporter.to_string()]);
        let (sender, receiver) = mpsc::channel(WAITING);
        let session = self.clone();
        let call = self.runtime().spawn(async move {
            let outgoing = ReceiverStream::new(receiver);
            // The answer begins only when the client has taken everything.
            let answer = call::streaming::<_, BytesMessage>(&session, METHOD, map, outgoing, MOST_MESSAGE_BYTES);
            let mut answer = answer.await?;
            while answer.try_next().await?.is_some() {}
            Ok(())
        });
        let session = self.clone();
        Ok(FileWriter { buffer: BytesMut::with_capacity(CHUNK), sender: Some(sender), call: Some(call), session })
    }

    /// Sends a tree to the exporter of this number; with `multi_platform` it holds a directory for each platform.
    ///
    /// # Errors
    /// If the client takes none, or the transfer fails.
    pub async fn send_tree(
        &self,
        exporter: usize,
        tree: Arc<dyn FileTree>,
        multi_platform: bool,
    ) -> Result<(), SessionError> {
        self.require(METHOD)?;
        let mut map = MetadataMap::new();
        headers::append(&mut map, header::EXPORTER, &[exporter.to_string()]);
        if multi_platform {
            headers::append(&mut map, header::MULTI_PLATFORM, &["1".to_owned()]);
        }
        let (outgoing, packets) = mpsc::channel::<Packet>(WAITING_PACKETS);
        let packets = ReceiverStream::new(packets);
        let call = call::streaming::<Packet, Packet>(self, METHOD, map, packets, MOST_PACKET_BYTES);
        let mut incoming = Box::pin(futures::stream::once(call).try_flatten());
        self.wait(async {
            fsutil::send(Outgoing { tree, as_root: false }, &mut incoming, outgoing).await?;
            Ok(fsutil::drained(&mut incoming).await?)
        })
        .await
    }
}

impl FileWriter {
    /// Tells the client that the file is whole, and waits until it has it.
    ///
    /// # Errors
    /// If the client did not take it.
    pub async fn finish(mut self) -> Result<Sent, SessionError> {
        if !self.buffer.is_empty()
            && let Some(sender) = &self.sender
        {
            // A client that wants no more says why in its answer.
            let _ = sender.send(BytesMessage { data: self.buffer.split().freeze() }).await;
        }
        self.sender = None;
        let Some(call) = &mut self.call else { return Err(self.session.ended()) };
        let session = self.session.clone();
        let answer = session.wait(async {
            match call.await {
                Ok(Ok(())) => Ok(Sent::Whole),
                Ok(Err(status)) if status.code() == Code::AlreadyExists => Ok(Sent::Existed),
                Ok(Err(status)) => Err(SessionError::call("sending a file to the client")(status)),
                Err(error) => Err(SessionError::Answer(error.to_string())),
            }
        });
        let answer = answer.await;
        self.call = None;
        answer
    }

    fn send(&mut self) -> io::Result<()> {
        let data: Bytes = self.buffer.split().freeze();
        let sender = self.sender.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        // A client that has the file already ends the call; the answer says so, and nobody else needs to know.
        match sender.blocking_send(BytesMessage { data }) {
            Err(_) if self.session.is_closed() => Err(io::Error::other(self.session.ended())),
            _ => Ok(()),
        }
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..length]);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send() }
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Some(call) = &self.call {
            call.abort();
        }
    }
}
