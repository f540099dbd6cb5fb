//! What a step that failed leaves: clients open it to look for the reason.

use std::error::Error;
use std::fmt;

use crate::error::OpsError;
use crate::value::Ref;

/// What a failed operation was given, and what it had made of it.
#[derive(Debug, Clone, Default)]
pub struct Remains {
    /// The inputs: one for each mount of a step, of each input of a file op, or the one that could not be read.
    pub inputs: Vec<Option<Ref>>,
    /// What each mount held at the end, or what each file action had made.
    pub mounts: Vec<Option<Ref>>,
    /// What of the operation failed, if not all of it.
    pub part: Option<FailedPart>,
}

/// A part of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedPart {
    /// The file action with this index.
    Action(usize),
    /// Reading the content of the input with this index, for the cache.
    Content(usize),
}

/// A failure with what is left.
#[derive(Debug)]
pub struct Failed {
    error: OpsError,
    remains: Remains,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Failed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl OpsError {
    /// Returns the failure with what is left.
    pub(crate) fn leaving(self, remains: Remains) -> Self {
        match self {
            // Nobody asks for what was given up.
            Self::GivenUp => Self::GivenUp,
            error => Self::Failed(Box::new(Failed { error, remains })),
        }
    }

    /// Returns the failure itself.
    pub fn cause(&self) -> &Self {
        match self {
            Self::Failed(failed) => failed.error.cause(),
            other => other,
        }
    }

    /// Returns what is left, if somebody wanted it kept.
    pub fn remains(&self) -> Option<&Remains> {
        match self {
            Self::Failed(failed) => Some(&failed.remains),
            _ => None,
        }
    }
}
