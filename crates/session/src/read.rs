//! Streams of messages as something that can be read from a thread.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use rbuild_buildkit_api::{content, upload};
use tonic::Streaming;

use crate::session::Session;

/// A message that carries bytes.
pub(crate) trait Carrier: Send {
    fn into_bytes(self) -> Bytes;
}

impl Carrier for upload::BytesMessage {
    fn into_bytes(self) -> Bytes {
        self.data
    }
}

impl Carrier for content::ReadContentResponse {
    fn into_bytes(self) -> Bytes {
        self.data
    }
}

/// Bytes that come from a client. Reading blocks; it is for threads.
pub(crate) struct ClientReader<M> {
    session: Arc<Session>,
    messages: Streaming<M>,
    current: Bytes,
}

impl<M> ClientReader<M> {
    pub(crate) fn new(session: Arc<Session>, messages: Streaming<M>) -> Self {
        Self { session, messages, current: Bytes::new() }
    }
}

impl<M: Carrier> Read for ClientReader<M> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            let (session, messages) = (&self.session, &mut self.messages);
            let next = session.runtime().block_on(async {
                tokio::select! {
                    biased;
                    next = messages.message() => next.map_err(|status| io::Error::other(status.message().to_owned())),
                    () = session.closed() => Err(io::Error::other(session.ended())),
                }
            });
            match next? {
                Some(message) => self.current = message.into_bytes(),
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(into.len());
        into[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}
