//! From a definition to a graph.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use rbuild_oci::Digest;

use crate::{Definition, Edge, GraphError, Vertex, capability, name, pb, validate};

/// Most ops that a definition may have.
pub const MAX_VERTICES: usize = 200_000;
/// Most bytes that the ops of a definition may take.
pub const MAX_BYTES: usize = 256 << 20;

/// A valid build graph.
///
/// Every input is a vertex of the graph and has the output asked for, every index inside an op is in
/// range, every choice is made. There are no cycles: a digest covers the digests of the inputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    pub(crate) vertices: Vec<Arc<Vertex>>,
    pub(crate) index: HashMap<Digest, usize>,
    pub(crate) root: Option<Edge>,
    pub(crate) source: Option<pb::Source>,
}

impl Graph {
    /// Loads a definition, whoever wrote it. A definition without ops is the empty file system.
    pub fn load(definition: &Definition) -> Result<Self, GraphError> {
        let Some((last, ops)) = definition.ops.split_last() else {
            return Ok(Self::default());
        };
        check_size(&definition.ops)?;
        let mut graph = Self { source: definition.source.clone(), ..Self::default() };
        let parsed = Parsed::of(ops)?;
        for position in parsed.inputs_first()? {
            graph.push(&parsed, position, definition)?;
        }
        let result = decode(last, ops.len())?;
        graph.root = Some(graph.result(&result)?);
        Ok(graph)
    }

    /// Returns the result; none for the empty file system.
    pub fn root(&self) -> Option<Edge> {
        self.root
    }

    /// Returns the vertex with `digest`.
    pub fn vertex(&self, digest: &Digest) -> Option<&Arc<Vertex>> {
        self.index.get(digest).map(|position| &self.vertices[*position])
    }

    /// Returns all vertices, each after its inputs.
    pub fn vertices(&self) -> &[Arc<Vertex>] {
        &self.vertices
    }

    /// Returns the files that vertices come from.
    pub fn source(&self) -> Option<&pb::Source> {
        self.source.as_ref()
    }

    /// Returns the position of a vertex in [`Graph::vertices`].
    pub(crate) fn position(&self, digest: &Digest) -> Option<usize> {
        self.index.get(digest).copied()
    }

    fn push(&mut self, parsed: &Parsed<'_>, position: usize, definition: &Definition) -> Result<(), GraphError> {
        let (digest, bytes, op) = &parsed.ops[position];
        let inputs = op.inputs.iter().map(|input| self.edge(*digest, input)).collect::<Result<Vec<_>, _>>()?;
        let invalid = |reason| GraphError::Invalid { vertex: *digest, reason };
        let outputs = validate::op(op).map_err(invalid)?;
        let mut vertex = Vertex {
            digest: *digest,
            bytes: (*bytes).clone(),
            op: op.clone(),
            inputs,
            outputs,
            metadata: definition.metadata.get(digest).cloned().unwrap_or_default(),
            name: String::new(),
            locations: self.locations(digest),
        };
        capability::check(&vertex.metadata.caps)?;
        vertex.name = name::of(&vertex, self);
        self.append(Arc::new(vertex));
        Ok(())
    }

    /// Adds a vertex whose inputs are there and which itself is not.
    pub(crate) fn append(&mut self, vertex: Arc<Vertex>) {
        self.index.insert(vertex.digest, self.vertices.len());
        self.vertices.push(vertex);
    }

    fn locations(&self, digest: &Digest) -> Vec<pb::Location> {
        let by_vertex = self.source.as_ref().and_then(|source| source.locations.get(&digest.to_string()));
        by_vertex.map(|found| found.locations.clone()).unwrap_or_default()
    }

    fn edge(&self, vertex: Digest, input: &pb::Input) -> Result<Edge, GraphError> {
        let missing = || GraphError::MissingInput { vertex, input: input.digest.chars().take(100).collect() };
        let digest: Digest = input.digest.parse().map_err(|_| missing())?;
        let target = self.vertex(&digest).ok_or_else(missing)?;
        let no_output = || GraphError::MissingOutput { vertex, input: digest, index: input.index };
        let output = u32::try_from(input.index).map_err(|_| no_output())?;
        if output >= target.outputs {
            return Err(no_output());
        }
        Ok(Edge { vertex: digest, output })
    }

    /// Reads the last op, which does nothing but name the result.
    fn result(&self, op: &pb::Op) -> Result<Edge, GraphError> {
        match (op.inputs.as_slice(), &op.op) {
            ([input], None) => self.edge(Digest::of(&op.encode_to_vec()), input),
            _ => Err(GraphError::Result),
        }
    }
}

fn check_size(ops: &[Bytes]) -> Result<(), GraphError> {
    if ops.len() > MAX_VERTICES + 1 {
        return Err(GraphError::TooMany { count: ops.len(), limit: MAX_VERTICES });
    }
    let bytes = ops.iter().map(Bytes::len).sum();
    if bytes > MAX_BYTES {
        return Err(GraphError::TooLarge { bytes, limit: MAX_BYTES });
    }
    Ok(())
}

fn decode(bytes: &Bytes, index: usize) -> Result<pb::Op, GraphError> {
    pb::Op::decode(bytes.clone()).map_err(|error| GraphError::Op { index, message: error.to_string() })
}

/// The ops of a definition, read, each once however often it is listed.
struct Parsed<'a> {
    ops: Vec<(Digest, &'a Bytes, pb::Op)>,
    index: HashMap<String, usize>,
}

impl<'a> Parsed<'a> {
    fn of(ops: &'a [Bytes]) -> Result<Self, GraphError> {
        let mut parsed = Self { ops: Vec::with_capacity(ops.len()), index: HashMap::with_capacity(ops.len()) };
        for (index, bytes) in ops.iter().enumerate() {
            let digest = Digest::of(bytes);
            if let std::collections::hash_map::Entry::Vacant(entry) = parsed.index.entry(digest.to_string()) {
                entry.insert(parsed.ops.len());
                parsed.ops.push((digest, bytes, decode(bytes, index)?));
            }
        }
        Ok(parsed)
    }

    /// Returns the positions of all ops, each after its inputs, in the order of the definition where
    /// that is free. Walks with its own stack: a chain of ops may be as long as the definition.
    fn inputs_first(&self) -> Result<Vec<usize>, GraphError> {
        let mut order = Vec::with_capacity(self.ops.len());
        let mut seen = vec![false; self.ops.len()];
        for start in 0..self.ops.len() {
            let mut stack = vec![(start, 0)];
            while let Some((position, next)) = stack.pop() {
                if next == 0 && std::mem::replace(&mut seen[position], true) {
                    continue;
                }
                let (digest, _, op) = &self.ops[position];
                let Some(input) = op.inputs.get(next) else {
                    order.push(position);
                    continue;
                };
                stack.push((position, next + 1));
                let found = self.index.get(&input.digest).ok_or_else(|| GraphError::MissingInput {
                    vertex: *digest,
                    input: input.digest.chars().take(100).collect(),
                })?;
                if !seen[*found] {
                    stack.push((*found, 0));
                }
            }
        }
        Ok(order)
    }
}
