//! A connection over the standard streams of a process.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tonic::transport::server::Connected;

/// A connection to a process: what it reads and what it writes.
pub(crate) struct Pipes {
    to: pipe::Sender,
    from: pipe::Receiver,
}

impl Pipes {
    /// Takes the ends of pipes; must be called within a runtime.
    pub(crate) fn new(to: OwnedFd, from: OwnedFd) -> io::Result<Self> {
        Ok(Self { to: pipe::Sender::from_owned_fd(to)?, from: pipe::Receiver::from_owned_fd(from)? })
    }
}

impl AsyncRead for Pipes {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.from).poll_read(context, to)
    }
}

impl AsyncWrite for Pipes {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.to).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_shutdown(context)
    }
}

impl Connected for Pipes {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
