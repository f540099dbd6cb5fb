//! Other sources for a graph: what depends on a changed one gets another digest, all else keeps its bytes.

use std::collections::HashMap;
use std::sync::Arc;

use rbuild_oci::Digest;

use crate::{Edge, Graph, GraphError, Vertex, name, pb, validate};

impl Graph {
    /// Returns the graph with other sources: `change` returns what takes the place of one, none if it stays.
    ///
    /// # Errors
    /// If `change` fails, or what it returns is no valid source.
    pub fn with_sources<E, F>(&self, mut change: F) -> Result<Self, E>
    where
        E: From<GraphError>,
        F: FnMut(&pb::SourceOp) -> Result<Option<pb::SourceOp>, E>,
    {
        let mut rewritten = Self { source: self.source.clone(), ..Self::default() };
        let mut renamed: HashMap<Digest, Digest> = HashMap::new();
        for vertex in self.vertices() {
            let source = match vertex.kind() {
                pb::Kind::Source(source) => change(source)?,
                _ => None,
            };
            let digest = match changed(vertex, source, &renamed) {
                None => rewritten.keep(vertex),
                Some(op) => rewritten.replace(vertex, op, &renamed)?,
            };
            if digest != vertex.digest {
                renamed.insert(vertex.digest, digest);
            }
        }
        let now = |edge: Edge| Edge { vertex: renamed.get(&edge.vertex).copied().unwrap_or(edge.vertex), ..edge };
        rewritten.root = self.root.map(now);
        if let Some(source) = &mut rewritten.source {
            for (old, new) in &renamed {
                if let Some(places) = source.locations.remove(&old.to_string()) {
                    source.locations.entry(new.to_string()).or_default().locations.extend(places.locations);
                }
            }
        }
        Ok(rewritten)
    }

    fn keep(&mut self, vertex: &Arc<Vertex>) -> Digest {
        match self.position(&vertex.digest) {
            // A source was changed to what another one is.
            Some(position) => Arc::make_mut(&mut self.vertices[position]).join(vertex),
            None => self.append(vertex.clone()),
        }
        vertex.digest
    }

    fn replace(
        &mut self,
        vertex: &Arc<Vertex>,
        op: pb::Op,
        renamed: &HashMap<Digest, Digest>,
    ) -> Result<Digest, GraphError> {
        let bytes = op.to_bytes();
        let digest = Digest::of(&bytes);
        if let Some(position) = self.position(&digest) {
            Arc::make_mut(&mut self.vertices[position]).join(vertex);
            return Ok(digest);
        }
        let outputs = validate::op(&op).map_err(|reason| GraphError::Invalid { vertex: digest, reason })?;
        let now = |edge: &Edge| Edge { vertex: renamed.get(&edge.vertex).copied().unwrap_or(edge.vertex), ..*edge };
        let inputs = vertex.inputs.iter().map(now).collect();
        let mut new = Vertex { digest, bytes: bytes.into(), op, inputs, outputs, ..(**vertex).clone() };
        new.name = name::of(&new, self);
        self.append(Arc::new(new));
        Ok(digest)
    }
}

impl Vertex {
    /// Takes over what is said of the same vertex at another place.
    fn join(&mut self, other: &Self) {
        self.metadata.merge(&other.metadata);
        self.locations.extend(
            other.locations.iter().filter(|place| !self.locations.contains(place)).cloned().collect::<Vec<_>>(),
        );
    }
}

/// Returns the op with another source or other inputs; none if it has neither.
fn changed(vertex: &Vertex, source: Option<pb::SourceOp>, renamed: &HashMap<Digest, Digest>) -> Option<pb::Op> {
    if source.is_none() && !vertex.inputs.iter().any(|edge| renamed.contains_key(&edge.vertex)) {
        return None;
    }
    let mut op = vertex.op.clone();
    if let Some(source) = source {
        op.op = Some(pb::Kind::Source(source));
    }
    for (input, edge) in op.inputs.iter_mut().zip(&vertex.inputs) {
        if let Some(digest) = renamed.get(&edge.vertex) {
            input.digest = digest.to_string();
        }
    }
    Some(op)
}
