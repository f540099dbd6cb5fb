//! Messages of bytes in two directions as one connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, PollSender, WaitForCancellationFutureOwned};

/// The most bytes in one message that is sent; peers refuse messages of 4 MiB.
const MOST_BYTES: usize = 256 << 10;
/// Messages that wait for the peer.
const WAITING: usize = 16;

/// A connection made of two streams of messages. It breaks when the token is cancelled, and cancels it when it
/// ends, whichever side ended it.
pub(crate) struct BytePipe {
    incoming: BoxStream<'static, io::Result<Bytes>>,
    current: Bytes,
    outgoing: PollSender<Bytes>,
    closed: CancellationToken,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl BytePipe {
    /// Returns the connection and what it sends.
    pub(crate) fn new(
        incoming: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        closed: CancellationToken,
    ) -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let cancelled = Box::pin(closed.clone().cancelled_owned());
        let incoming: BoxStream<'static, _> = Box::pin(incoming);
        (Self { incoming, current: Bytes::new(), outgoing: PollSender::new(sender), closed, cancelled }, receiver)
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cancelled.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the session was closed")),
            Poll::Pending => Ok(()),
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let broken = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.outgoing.poll_reserve(context)).map_err(broken)?;
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut message = BytesMut::with_capacity(total.min(MOST_BYTES));
        for part in parts {
            let room = MOST_BYTES - message.len();
            message.extend_from_slice(&part[..part.len().min(room)]);
        }
        let length = message.len();
        self.outgoing.send_item(message.freeze()).map_err(broken)?;
        Poll::Ready(Ok(length))
    }
}

impl Drop for BytePipe {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl AsyncRead for BytePipe {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        while self.current.is_empty() {
            match ready!(self.incoming.as_mut().poll_next(context)) {
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.current.len().min(into.remaining());
        into.put_slice(&self.current.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BytePipe {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.close();
        Poll::Ready(Ok(()))
    }
}

/// A connection that a server of tonic takes.
impl tonic::transport::server::Connected for BytePipe {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
