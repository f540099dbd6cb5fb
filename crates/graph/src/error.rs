//! What can be wrong with a definition.

use rbuild_oci::Digest;

/// Why a definition is not a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// There are no ops.
    #[error("invalid empty definition")]
    Empty,
    /// The definition is not a protobuf message of its type.
    #[error("decoding definition: {0}")]
    Definition(String),
    /// An op is not a protobuf message of its type.
    #[error("decoding op {index} of definition: {message}")]
    Op {
        /// Position in the definition.
        index: usize,
        /// What the decoder says.
        message: String,
    },
    /// There are more ops than the limit.
    #[error("definition has {count} ops, more than the limit of {limit}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The ops take more bytes than the limit.
    #[error("definition takes {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// How many there are.
        bytes: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A key of the metadata or the source map is not a digest.
    #[error("invalid vertex digest `{0}` in definition")]
    Key(String),
    /// A vertex asks for something that is no capability of the protocol.
    #[error("unknown API capability {0}")]
    UnknownCapability(String),
    /// A vertex asks for something that is not there.
    #[error("requested feature {id} is not supported by build server: {reason}")]
    Capability {
        /// The capability.
        id: &'static str,
        /// Why it is not there.
        reason: &'static str,
    },
    /// A vertex needs a privilege that was not granted.
    #[error("{0} is not allowed")]
    Entitlement(&'static str),
    /// The last op does not name a result.
    #[error("invalid definition: the last op must have exactly one input and nothing else")]
    Result,
    /// An input names a vertex that is not there.
    #[error("vertex {vertex}: input {input} is missing from the definition")]
    MissingInput {
        /// The vertex.
        vertex: Digest,
        /// What it asks for.
        input: String,
    },
    /// An input asks for an output that the other vertex does not have.
    #[error("vertex {vertex}: input {input} has no output {index}")]
    MissingOutput {
        /// The vertex.
        vertex: Digest,
        /// The vertex it asks.
        input: Digest,
        /// The output it asks for.
        index: i64,
    },
    /// An op is not well formed.
    #[error("vertex {vertex}: {reason}")]
    Invalid {
        /// The vertex.
        vertex: Digest,
        /// What is wrong.
        reason: String,
    },
}
