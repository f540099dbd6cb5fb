//! The wire messages of LLB, BuildKit's low-level build graph (`pb` protobuf package).
//!
//! Field numbers and types are those of BuildKit's protocol, because the digest of a vertex is the
//! hash of these bytes and because BuildKit's clients send them. Maps are ordered, so that equal
//! values encode to equal bytes. Nothing here is validated: that is [`Graph::load`](crate::Graph).

mod exec;
mod file;
mod metadata;
mod source_map;

pub use exec::*;
pub use file::*;
pub use metadata::*;
pub use source_map::*;

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

/// The index that stands for "no input": an empty file system.
pub const EMPTY: i64 = -1;
/// The index that stands for "no output".
pub const SKIP_OUTPUT: i64 = -1;
/// The path of the mount that is the root file system.
pub const ROOT_MOUNT: &str = "/";

/// One vertex of the graph.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Op {
    /// The outputs of other vertices that this one reads.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<Input>,
    /// What to do; absent only in the last entry of a definition, which names the result.
    #[prost(oneof = "Kind", tags = "2, 3, 4, 5, 6, 7, 8")]
    pub op: Option<Kind>,
    /// The platform, for ops whose result depends on it.
    #[prost(message, optional, tag = "10")]
    pub platform: Option<Platform>,
    /// Which workers may run it.
    #[prost(message, optional, tag = "11")]
    pub constraints: Option<WorkerConstraints>,
}

impl Op {
    /// Returns the bytes whose digest names the vertex.
    ///
    /// They are those that Go's encoder makes, which puts what is one of several after all other fields, whatever
    /// their numbers: so the digest of a vertex is the one that BuildKit's clients and tools show.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (inputs, platform, constraints) = (self.inputs.clone(), self.platform.clone(), self.constraints.clone());
        let mut bytes = Self { inputs, op: None, platform, constraints }.encode_to_vec();
        if let Some(kind) = &self.op {
            kind.encode(&mut bytes);
        }
        bytes
    }
}

/// What a vertex does.
#[allow(clippy::large_enum_variant, reason = "the large one is also the common one")]
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// Runs a process.
    #[prost(message, tag = "2")]
    Exec(ExecOp),
    /// Fetches something from outside.
    #[prost(message, tag = "3")]
    Source(SourceOp),
    /// Changes files without a process.
    #[prost(message, tag = "4")]
    File(FileOp),
    /// Builds a nested definition.
    #[prost(message, tag = "5")]
    Build(BuildOp),
    /// Lays file systems upon each other.
    #[prost(message, tag = "6")]
    Merge(MergeOp),
    /// Keeps what one file system has over another.
    #[prost(message, tag = "7")]
    Diff(DiffOp),
    /// Hands on some of its inputs.
    #[prost(message, tag = "8")]
    Passthrough(PassthroughOp),
}

/// A reference to an output of another vertex.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Input {
    /// The digest of the other vertex.
    #[prost(string, tag = "1")]
    pub digest: String,
    /// Which of its outputs.
    #[prost(int64, tag = "2")]
    pub index: i64,
}

/// A platform, as the image specification has it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Platform {
    /// CPU architecture, as Go names it.
    #[prost(string, tag = "1")]
    pub architecture: String,
    /// Operating system, as Go names it.
    #[prost(string, tag = "2")]
    pub os: String,
    /// CPU variant.
    #[prost(string, tag = "3")]
    pub variant: String,
    /// Operating system version.
    #[prost(string, tag = "4")]
    pub os_version: String,
    /// Operating system features.
    #[prost(string, repeated, tag = "5")]
    pub os_features: Vec<String>,
}

impl From<&rbuild_oci::Platform> for Platform {
    fn from(platform: &rbuild_oci::Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone().unwrap_or_default(),
            os_version: platform.os_version.clone().unwrap_or_default(),
            os_features: platform.os_features.clone(),
        }
    }
}

impl From<&Platform> for rbuild_oci::Platform {
    fn from(platform: &Platform) -> Self {
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            os_version: given(&platform.os_version),
            os_features: platform.os_features.clone(),
            variant: given(&platform.variant),
        }
    }
}

/// Conditions on the worker.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WorkerConstraints {
    /// Filters as containerd writes them.
    #[prost(string, repeated, tag = "1")]
    pub filter: Vec<String>,
}

/// Fetches an image, a directory of the client, a repository or a file.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SourceOp {
    /// Scheme and name; see [`source`](crate::source).
    #[prost(string, tag = "1")]
    pub identifier: String,
    /// Options; see [`source::attr`](crate::source::attr).
    #[prost(btree_map = "string, string", tag = "2")]
    pub attrs: BTreeMap<String, String>,
}

/// Builds a nested definition.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BuildOp {
    /// The input that holds the builder; [`EMPTY`] for the engine itself.
    #[prost(int64, tag = "1")]
    pub builder: i64,
    /// Named inputs of the nested build.
    #[prost(btree_map = "string, message", tag = "2")]
    pub inputs: BTreeMap<String, BuildInput>,
    /// The nested definition.
    #[prost(message, optional, tag = "3")]
    pub def: Option<Definition>,
    /// Options.
    #[prost(btree_map = "string, string", tag = "4")]
    pub attrs: BTreeMap<String, String>,
}

/// An input of a nested build.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BuildInput {
    /// Index into the op's inputs.
    #[prost(int64, tag = "1")]
    pub input: i64,
}

/// Lays file systems upon each other, first at the bottom.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MergeOp {
    /// The file systems.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<MergeInput>,
}

/// An input of a merge.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MergeInput {
    /// Index into the op's inputs.
    #[prost(int64, tag = "1")]
    pub input: i64,
}

/// Keeps what `upper` has over `lower`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DiffOp {
    /// The file system to leave away.
    #[prost(message, optional, tag = "1")]
    pub lower: Option<DiffInput>,
    /// The file system to take from.
    #[prost(message, optional, tag = "2")]
    pub upper: Option<DiffInput>,
}

/// An input of a diff.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct DiffInput {
    /// Index into the op's inputs, or [`EMPTY`].
    #[prost(int64, tag = "1")]
    pub input: i64,
}

/// Hands on some of its inputs once all of them are done.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PassthroughOp {
    /// A name that keeps two such ops apart.
    #[prost(string, tag = "1")]
    pub id: String,
    /// For each output, the index of the input it is.
    #[prost(int64, repeated, tag = "2")]
    pub outputs: Vec<i64>,
}

/// A graph with what is known of its vertices.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Definition {
    /// Encoded [`Op`]s; the last one names the result.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub def: Vec<Bytes>,
    /// What does not belong to the identity of a vertex, by its digest.
    #[prost(btree_map = "string, message", tag = "2")]
    pub metadata: BTreeMap<String, OpMetadata>,
    /// Where in which file the vertices come from.
    #[prost(message, optional, boxed, tag = "3")]
    pub source: Option<Box<Source>>,
}
