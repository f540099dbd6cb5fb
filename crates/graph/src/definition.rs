//! Definitions: graphs as they are sent and stored.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use rbuild_oci::Digest;

use crate::{GraphError, pb};

/// A graph as it is sent and stored: encoded ops, of which the last one names the result, and what
/// is known of the vertices besides. No ops at all mean an empty file system.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Definition {
    /// Encoded ops.
    pub ops: Vec<Bytes>,
    /// What does not belong to the identity of a vertex.
    pub metadata: BTreeMap<Digest, pb::OpMetadata>,
    /// Where the vertices come from.
    pub source: Option<pb::Source>,
}

impl Definition {
    /// Returns whether the definition stands for an empty file system.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Returns the protobuf bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.to_pb().encode_to_vec()
    }

    /// Reads protobuf bytes. The ops themselves are read by [`Graph::load`](crate::Graph::load).
    pub fn decode(bytes: impl Into<Bytes>) -> Result<Self, GraphError> {
        let message = pb::Definition::decode(bytes.into());
        Self::from_pb(message.map_err(|error| GraphError::Definition(error.to_string()))?)
    }

    /// Returns the protobuf message.
    pub fn to_pb(&self) -> pb::Definition {
        let metadata = self.metadata.iter();
        pb::Definition {
            def: self.ops.clone(),
            metadata: metadata.map(|(digest, data)| (digest.to_string(), data.clone())).collect(),
            source: self.source.clone().map(Box::new),
        }
    }

    /// Takes over a protobuf message.
    pub fn from_pb(message: pb::Definition) -> Result<Self, GraphError> {
        let keyed = |(key, data): (String, pb::OpMetadata)| match key.parse() {
            Ok(digest) => Ok((digest, data)),
            Err(_) => Err(GraphError::Key(key)),
        };
        Ok(Self {
            ops: message.def,
            metadata: message.metadata.into_iter().map(keyed).collect::<Result<_, _>>()?,
            source: message.source.map(|source| *source),
        })
    }
}
