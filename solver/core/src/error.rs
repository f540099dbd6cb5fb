//! Why a graph could not be solved.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_oci::Digest;

use crate::cache::CacheError;
use crate::operation::OperationError;

/// An operation's error, shared by all who waited for it.
pub type SharedError = Arc<dyn Error + Send + Sync>;

/// Why a graph could not be solved. Cheap to clone: several jobs may wait for one vertex.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SolveError {
    /// An operation failed.
    #[error("{task} `{name}`")]
    Operation {
        /// The vertex.
        vertex: Digest,
        /// What it is called.
        name: String,
        /// What was asked of it.
        task: Task,
        /// Its own words.
        #[source]
        source: SharedError,
    },
    /// An operation panicked, or the runtime went away beneath it.
    #[error("`{name}` stopped without an answer: {message}")]
    Lost {
        /// The vertex.
        vertex: Digest,
        /// What it is called.
        name: String,
        /// What is known of the reason.
        message: String,
    },
    /// The graph refers to a vertex it does not have.
    #[error("the graph has no vertex {vertex}")]
    MissingVertex {
        /// The vertex.
        vertex: Digest,
    },
    /// A vertex depends on itself.
    #[error("vertex {vertex} (`{name}`) depends on itself")]
    Cycle {
        /// The vertex.
        vertex: Digest,
        /// What it is called.
        name: String,
    },
    /// A vertex has fewer outputs than somebody asked for.
    #[error("`{name}` has no output {output}, only {outputs}")]
    MissingOutput {
        /// The vertex.
        vertex: Digest,
        /// What it is called.
        name: String,
        /// The output asked for.
        output: u32,
        /// How many there are.
        outputs: usize,
    },
    /// An operation described another number of inputs than its vertex has.
    #[error("`{name}` has {inputs} inputs but describes {described}")]
    InputCount {
        /// The vertex.
        vertex: Digest,
        /// What it is called.
        name: String,
        /// How many inputs the vertex has.
        inputs: usize,
        /// How many its operation described.
        described: usize,
    },
    /// The cache could not be read or written.
    #[error("cannot use the build cache")]
    Cache(#[from] Arc<CacheError>),
    /// The lock that keeps other processes from running the same step could not be taken.
    #[error("locking `{}`", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<std::io::Error>,
    },
}

impl SolveError {
    pub(crate) fn operation(vertex: Digest, name: &str, task: Task, source: OperationError) -> Self {
        Self::Operation { vertex, name: name.to_owned(), task, source: Arc::from(source) }
    }

    /// Returns the vertex at fault, if one is.
    pub fn vertex(&self) -> Option<Digest> {
        match self {
            Self::Operation { vertex, .. }
            | Self::Lost { vertex, .. }
            | Self::MissingVertex { vertex }
            | Self::Cycle { vertex, .. }
            | Self::MissingOutput { vertex, .. }
            | Self::InputCount { vertex, .. } => Some(*vertex),
            Self::Cache(_) | Self::Lock { .. } => None,
        }
    }

    /// Returns the message for whoever sees beside it which step failed, and at what.
    pub(crate) fn own_words(&self) -> String {
        match self {
            Self::Operation { source, .. } => with_sources(source.as_ref()),
            other => other.chain(),
        }
    }

    /// Returns the message with those of its sources, in one line.
    pub fn chain(&self) -> String {
        with_sources(self)
    }
}

fn with_sources(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl From<CacheError> for SolveError {
    fn from(error: CacheError) -> Self {
        Self::Cache(Arc::new(error))
    }
}

/// What was asked of an operation when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Its cache map.
    CacheMap,
    /// An input's content key.
    ContentKey,
    /// Its run.
    Run,
    /// Keeping its result.
    Save,
    /// Finding its kept result again.
    Load,
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CacheMap => "resolving",
            Self::ContentKey => "computing the checksum of an input of",
            Self::Run => "running",
            Self::Save => "keeping the result of",
            Self::Load => "loading the cached result of",
        })
    }
}
