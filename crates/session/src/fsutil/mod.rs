//! The protocol by which trees of files travel between client and daemon (BuildKit's fsutil).
//!
//! The *sender* owns a tree, the *receiver* wants a copy of it:
//!
//! ```text
//!   sender                                receiver
//!   STAT a            ──────────────────▶                 0   each entry, parents first, names in order;
//!   STAT a/b          ──────────────────▶                 1   numbered as they come, all kinds alike
//!                     ◀──────────────────  REQ 1              wanted, not there yet
//!   STAT c            ──────────────────▶                 2
//!   DATA 1 …          ──────────────────▶
//!   STAT (nothing)    ──────────────────▶                     that was all
//!   DATA 1 (empty)    ──────────────────▶                     end of file 1
//!                     ◀──────────────────  FIN                everything is there
//!   FIN               ──────────────────▶
//! ```
//!
//! `ERR` with a text ends it from either side. Paths are hostile in both directions: [`order`] accepts names that
//! come in order below directories that were named before, and [`disk`] walks them under an open root descriptor.

mod disk;
mod entry;
mod existing;
mod mode;
mod order;
mod receive;
mod send;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use receive::{ReceiveOptions, receive};
pub(crate) use send::{Outgoing, send};
pub(crate) use wire::{Packet, Stat};

use std::io;
use std::path::PathBuf;

use futures::{Stream, StreamExt};
use tonic::Status;

/// Why a tree could not be transferred.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The connection failed, or the other side said why it failed.
    #[error("transferring files: {}", _0.message())]
    Stream(Box<Status>),
    /// The other side stopped in the middle.
    #[error("the other side stopped before all files were transferred")]
    Ended,
    /// The other side reports an error.
    #[error("error from the other side: {0}")]
    Peer(String),
    /// The other side named a path that it must not name.
    #[error("path \"{path}\": {reason}")]
    Path {
        /// The path, escaped.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The other side does not keep to the protocol.
    #[error("unexpected packet: {0}")]
    Protocol(&'static str),
    /// More than is taken.
    #[error("the tree has more than {0}")]
    Limit(&'static str),
    /// A call of the system failed.
    #[error("{action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The tree that is sent could not be read.
    #[error(transparent)]
    Tree(#[from] rbuild_tree::TreeError),
}

impl TransferError {
    fn io<'a>(action: &'static str, path: &'a std::path::Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Returns the error with its causes on one line, as the other side is told.
    fn line(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

/// Waits for the end of an answer, in which nothing may be left.
pub(crate) async fn drained(
    mut answer: impl Stream<Item = Result<Packet, Status>> + Unpin,
) -> Result<(), TransferError> {
    match answer.next().await {
        None => Ok(()),
        Some(Err(status)) => Err(status.into()),
        Some(Ok(_)) => Err(TransferError::Protocol("a packet after the end")),
    }
}

impl From<Status> for TransferError {
    fn from(status: Status) -> Self {
        Self::Stream(Box::new(status))
    }
}
