//! What can go wrong between a daemon and its client.

use std::io;
use std::time::Duration;

use tonic::{Code, Status};

use crate::fsutil::TransferError;

/// Why a client could not be asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A connection could not be made over a tunnel.
    #[error("opening the tunnel of session `{id}`")]
    Open {
        /// The session.
        id: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// What a client says of its session makes no sense.
    #[error("invalid session: {0}")]
    Headers(&'static str),
    /// No client with this session came.
    #[error("no active session for {id}: waited {timeout:?}")]
    NotFound {
        /// The session.
        id: String,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// A build has no session at all.
    #[error("no active sessions")]
    None,
    /// The session ended.
    #[error("session `{id}` ended: {reason}")]
    Closed {
        /// The session.
        id: String,
        /// Why.
        reason: String,
    },
    /// The client does not offer a service.
    #[error("method {0} not supported by the client")]
    Unsupported(&'static str),
    /// The client refused or failed.
    #[error("{action}: {}", status.message())]
    Call {
        /// What was asked.
        action: String,
        /// What it answered.
        status: Box<Status>,
    },
    /// Files could not be transferred.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The client sent more than it may, or nonsense.
    #[error("{0}")]
    Answer(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rbuild_store::Error),
}

impl SessionError {
    pub(crate) fn call(action: impl Into<String>) -> impl FnOnce(Status) -> Self {
        let action = action.into();
        move |status| Self::Call { action, status: Box::new(status) }
    }

    /// Returns the code that the client answered with, if it did.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Call { status, .. } => Some(status.code()),
            Self::Transfer(TransferError::Stream(status)) => Some(status.code()),
            Self::Unsupported(_) => Some(Code::Unimplemented),
            _ => None,
        }
    }

    /// Whether the client said that it does not have what was asked for.
    pub fn is_missing(&self) -> bool {
        matches!(self.code(), Some(Code::NotFound | Code::Unimplemented))
    }

    /// Returns the error in the form that operations know.
    pub fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}
