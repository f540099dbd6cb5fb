//! Blobs that a client has or takes: OCI layouts, caches in directories, images that are not packed.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rbuild_buildkit_api::content::{
    AbortRequest, InfoRequest, ReadContentRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use rbuild_buildkit_api::services::content::content_client::ContentClient;
use rbuild_oci::{Descriptor, Digest};
use rbuild_ops::LayoutBlobs;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

use crate::error::SessionError;
use crate::read::ClientReader;
use crate::session::{MOST_MESSAGE_BYTES, Session};

/// The methods by which a client serves blobs.
pub(crate) const INFO: &str = "/containerd.services.content.v1.Content/Info";
pub(crate) const READ: &str = "/containerd.services.content.v1.Content/Read";
pub(crate) const WRITE: &str = "/containerd.services.content.v1.Content/Write";
/// The header that says which of a client's stores is meant.
pub(crate) const STORE: &str = "buildkit-attachable-store-id";
/// How many bytes are written at a time.
const CHUNK: usize = 512 << 10;

/// One store of blobs of a client. What it gives out is not trusted: whoever reads checks digests.
#[derive(Debug, Clone)]
pub struct ClientContent {
    session: Arc<Session>,
    store: MetadataValue<Ascii>,
}

impl Session {
    /// Returns the store of this id: `oci:<name>` is a layout, `local:<directory>` a cache, `export` takes an image.
    ///
    /// # Errors
    /// If the id is not plain text.
    pub fn content(self: &Arc<Self>, store: &str) -> Result<ClientContent, SessionError> {
        let invalid = |_| SessionError::Answer(format!("`{}` names no store of a client", store.escape_debug()));
        let store = store.parse().map_err(invalid)?;
        Ok(ClientContent { session: self.clone(), store })
    }
}

impl ClientContent {
    fn client(&self) -> ContentClient<Channel> {
        ContentClient::new(self.session.channel()).max_decoding_message_size(MOST_MESSAGE_BYTES)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(STORE, self.store.clone());
        request
    }

    /// Returns the size of a blob; none if the client does not have it.
    ///
    /// # Errors
    /// If the client fails.
    pub async fn size(&self, digest: &Digest) -> Result<Option<u64>, SessionError> {
        let request = self.request(InfoRequest { digest: digest.to_string() });
        let answer = self.session.wait(async {
            let answer = self.client().info(request).await;
            answer.map_err(SessionError::call(format!("looking for blob {digest} of the client")))
        });
        match answer.await {
            Ok(answer) => {
                let size = answer.into_inner().info.map(|info| u64::try_from(info.size));
                let size = size.transpose().map_err(|_| SessionError::Answer(format!("{digest} has no size")))?;
                size.map(Some).ok_or_else(|| SessionError::Answer(format!("the client says nothing of {digest}")))
            }
            Err(error) if error.code() == Some(Code::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the bytes of a blob from `offset`. Reading blocks; nothing is checked.
    ///
    /// # Errors
    /// If the client does not have it.
    pub async fn reader(&self, digest: &Digest, offset: u64) -> Result<Box<dyn Read + Send>, SessionError> {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let request = self.request(ReadContentRequest { digest: digest.to_string(), offset, size: 0 });
        let messages = self.session.wait(async {
            let answer = self.client().read(request).await;
            answer.map_err(SessionError::call(format!("reading blob {digest} of the client")))
        });
        Ok(Box::new(ClientReader::new(self.session.clone(), messages.await?.into_inner())))
    }

    /// Begins to write a blob; none if the client has it already. `reference` names what is written until it is whole.
    ///
    /// # Errors
    /// If the client takes none.
    pub async fn writer(
        &self,
        reference: &str,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<ContentWriter>, SessionError> {
        let (sender, receiver) = mpsc::channel(1);
        let total = i64::try_from(size).unwrap_or(i64::MAX);
        let first = WriteContentRequest {
            action: WriteAction::Stat.into(),
            r#ref: reference.to_owned(),
            total,
            expected: digest.to_string(),
            ..WriteContentRequest::default()
        };
        let _ = sender.send(first.clone()).await;
        let request = self.request(ReceiverStream::new(receiver));
        let opened = self.session.wait(async {
            let failed = || SessionError::call(format!("writing blob {digest} to the client"));
            let mut answers = self.client().write(request).await.map_err(failed())?.into_inner();
            let answer = answers.message().await.map_err(failed())?;
            Ok((answers, answer.unwrap_or_default()))
        });
        let (answers, status) = match opened.await {
            Ok(opened) => opened,
            Err(error) if error.code() == Some(Code::AlreadyExists) => return Ok(None),
            Err(error) => return Err(error),
        };
        if status.offset != 0 {
            // What was written before may be of another blob; it is written again.
            drop((sender, answers));
            let abort = self.request(AbortRequest { r#ref: reference.to_owned() });
            self.client().abort(abort).await.map_err(SessionError::call("giving up a blob of the client"))?;
            return Box::pin(self.writer(reference, digest, size)).await;
        }
        let buffer = BytesMut::with_capacity(CHUNK);
        let content = self.clone();
        Ok(Some(ContentWriter { content, sender, answers, first, buffer, offset: 0 }))
    }
}

/// A blob on its way to a client. [`Write`] and [`Self::commit`] block; they are for threads.
pub struct ContentWriter {
    content: ClientContent,
    sender: mpsc::Sender<WriteContentRequest>,
    answers: Streaming<WriteContentResponse>,
    first: WriteContentRequest,
    buffer: BytesMut,
    offset: i64,
}

impl ContentWriter {
    fn exchange(&mut self, action: WriteAction, data: Bytes) -> Result<(), SessionError> {
        let request = WriteContentRequest { action: action.into(), offset: self.offset, data, ..self.first.clone() };
        let length = i64::try_from(request.data.len()).unwrap_or(i64::MAX);
        let (content, sender, answers) = (&self.content, &self.sender, &mut self.answers);
        content.session.runtime().block_on(content.session.wait(async {
            let _ = sender.send(request).await;
            let answer = answers.message().await.map_err(SessionError::call("writing a blob to the client"))?;
            answer.ok_or_else(|| SessionError::Answer("the client stopped in the middle of a blob".to_owned()))
        }))?;
        self.offset = self.offset.saturating_add(length);
        Ok(())
    }

    fn send(&mut self) -> Result<(), SessionError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let data = self.buffer.split().freeze();
        self.exchange(WriteAction::Write, data)
    }

    /// Tells the client that the blob is whole.
    ///
    /// # Errors
    /// If the client finds that it is not what was announced.
    pub fn commit(mut self) -> Result<(), SessionError> {
        self.send()?;
        match self.exchange(WriteAction::Commit, Bytes::new()) {
            Err(error) if error.code() == Some(Code::AlreadyExists) => Ok(()),
            committed => committed,
        }
    }
}

impl Write for ContentWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..length]);
        if self.buffer.len() >= CHUNK {
            self.send().map_err(SessionError::into_io)?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send().map_err(SessionError::into_io)
    }
}

/// A layout that a client has.
impl LayoutBlobs for ClientContent {
    fn name(&self) -> String {
        self.store.to_str().unwrap_or_default().to_owned()
    }

    fn document(&self, digest: &Digest, most: u64) -> io::Result<Vec<u8>> {
        let content = self.session.runtime().block_on(self.reader(digest, 0)).map_err(SessionError::into_io)?;
        let mut bytes = Vec::new();
        content.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn blob(&self, descriptor: &Descriptor) -> io::Result<(u64, Box<dyn Read + Send>)> {
        let size = self.session.runtime().block_on(self.size(&descriptor.digest)).map_err(SessionError::into_io)?;
        let size = size.ok_or(io::ErrorKind::NotFound)?;
        let content =
            self.session.runtime().block_on(self.reader(&descriptor.digest, 0)).map_err(SessionError::into_io)?;
        Ok((size, content))
    }
}
