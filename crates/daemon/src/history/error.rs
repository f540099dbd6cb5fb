//! What can go wrong with the history.

use tonic::Status;

/// Why the history cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rbuild_store::Error),
    /// The log of a build could not be written or read.
    #[error("log of a build")]
    Log(#[source] std::io::Error),
    /// A record or a log is not what it should be.
    #[error("{what} cannot be read")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: prost::DecodeError,
    },
    /// A part of a log claims to be larger than any message.
    #[error("a part of the log has {0} bytes, more than any message")]
    Oversized(usize),
    /// A build has no name, or one that is too long.
    #[error("a build needs a name of at most 256 bytes")]
    Name,
    /// There is no finished build of this name.
    #[error("no build `{0}` in the history: not found")]
    Unknown(String),
    /// A build of this name runs.
    #[error("a build `{0}` runs already")]
    Running(String),
    /// Too many builds run.
    #[error("too many builds run at once")]
    TooMany,
    /// A filter is malformed or not supported.
    #[error("filter `{0}`: {1}")]
    Filter(String, String),
    /// A negative number of records was asked for.
    #[error("invalid limit {0}")]
    Limit(i32),
}

impl From<HistoryError> for Status {
    fn from(error: HistoryError) -> Self {
        let message = error.to_string();
        match error {
            HistoryError::Unknown(_) => Self::not_found(message),
            HistoryError::Running(_) => Self::already_exists(message),
            HistoryError::TooMany => Self::resource_exhausted(message),
            HistoryError::Name | HistoryError::Filter(..) | HistoryError::Limit(_) => Self::invalid_argument(message),
            HistoryError::Store(_)
            | HistoryError::Log(_)
            | HistoryError::Malformed { .. }
            | HistoryError::Oversized(_) => Self::internal(message),
        }
    }
}
