//! Vertices and edges of a loaded graph.

use bytes::Bytes;
use rbuild_oci::Digest;

use crate::{description, pb};

/// An output of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// The vertex.
    pub vertex: Digest,
    /// Which of its outputs.
    pub output: u32,
}

/// A vertex of a [`Graph`](crate::Graph): valid, and as it was sent.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Vertex {
    /// The sha256 of `bytes`.
    pub digest: Digest,
    /// The op as it was sent.
    pub bytes: Bytes,
    /// The op.
    pub op: pb::Op,
    /// The op's inputs.
    pub inputs: Vec<Edge>,
    /// How many outputs it has.
    pub outputs: u32,
    /// What does not belong to its identity.
    pub metadata: pb::OpMetadata,
    /// The name it is shown by.
    pub name: String,
    /// Where it comes from.
    pub locations: Vec<pb::Location>,
}

impl Vertex {
    /// Returns what the vertex does.
    pub fn kind(&self) -> &pb::Kind {
        self.op.op.as_ref().expect("loading refuses vertices that do nothing")
    }

    /// Returns the platform the op was made for, if it depends on one.
    pub fn platform(&self) -> Option<rbuild_oci::Platform> {
        self.op.platform.as_ref().map(rbuild_oci::Platform::from)
    }

    /// Returns the name that its maker gave to the vertex.
    pub fn custom_name(&self) -> Option<&str> {
        self.metadata.description.get(description::CUSTOM_NAME).map(String::as_str)
    }

    /// Returns what an index in one of the op's messages stands for.
    pub fn operand(&self, index: i64) -> Operand {
        Operand::of(index, self.inputs.len())
    }
}

/// What an index in an op stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operand {
    /// An empty file system.
    Scratch,
    /// An input of the op.
    Input(usize),
    /// The result of an earlier action of the same file op.
    Action(usize),
}

impl Operand {
    /// Returns what `index` stands for in an op with `inputs` inputs.
    pub fn of(index: i64, inputs: usize) -> Self {
        match usize::try_from(index) {
            Err(_) => Self::Scratch,
            Ok(index) if index < inputs => Self::Input(index),
            Ok(index) => Self::Action(index - inputs),
        }
    }
}
