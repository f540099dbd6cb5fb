//! The graph as the solver sees it: digests, edges, opaque operations.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rbuild_oci::Digest;

use crate::error::SolveError;
use crate::operation::Operation;

/// One output of one vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The vertex.
    pub vertex: Digest,
    /// Which of its outputs, from 0.
    pub output: u32,
}

/// A vertex: an operation and where its inputs come from.
pub struct Node<R> {
    /// The vertex's digest, covering its definition and that of all its inputs.
    ///
    /// Nodes of equal digest in one solver are one piece of work, whichever job asks.
    pub digest: Digest,
    /// What it is called before people.
    pub name: String,
    /// Where its inputs come from, in order.
    pub inputs: Vec<Edge>,
    /// Whether it is to be done again even if its result is known.
    pub ignore_cache: bool,
    /// Sets it apart from nodes of equal digest in other jobs, when what it does depends on who
    /// asks (whose build context, whose secrets). All that depends on it is set apart with it.
    pub scope: Option<Digest>,
    /// What it does.
    pub operation: Arc<dyn Operation<R>>,
}

impl<R> Clone for Node<R> {
    fn clone(&self) -> Self {
        Self {
            digest: self.digest,
            name: self.name.clone(),
            inputs: self.inputs.clone(),
            ignore_cache: self.ignore_cache,
            scope: self.scope,
            operation: Arc::clone(&self.operation),
        }
    }
}

impl<R> fmt::Debug for Node<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("digest", &self.digest).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A set of vertices that refer to each other.
#[derive(Debug)]
pub struct Graph<R> {
    nodes: HashMap<Digest, Node<R>>,
}

impl<R> Default for Graph<R> {
    fn default() -> Self {
        Self { nodes: HashMap::new() }
    }
}

impl<R> Graph<R> {
    /// Returns a graph without vertices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex; one of equal digest is replaced.
    pub fn insert(&mut self, node: Node<R>) {
        self.nodes.insert(node.digest, node);
    }

    /// Returns the vertex of this digest.
    pub fn get(&self, digest: &Digest) -> Option<&Node<R>> {
        self.nodes.get(digest)
    }

    /// Returns the vertices reachable from `targets`, each after all its inputs.
    pub(crate) fn order(&self, targets: &[Edge]) -> Result<Vec<&Node<R>>, SolveError> {
        let mut order = Vec::new();
        let mut marks = HashMap::new();
        for target in targets {
            self.visit(target.vertex, &mut marks, &mut order)?;
        }
        Ok(order)
    }

    /// Depth first with a stack of its own: a hostile graph may be deeper than the thread's.
    fn visit<'a>(
        &'a self,
        start: Digest,
        marks: &mut HashMap<Digest, Mark>,
        order: &mut Vec<&'a Node<R>>,
    ) -> Result<(), SolveError> {
        let mut stack = vec![(start, 0)];
        while let Some((digest, next)) = stack.pop() {
            let node = self.get(&digest).ok_or(SolveError::MissingVertex { vertex: digest })?;
            if next == 0 {
                match marks.get(&digest) {
                    Some(Mark::Done) => continue,
                    Some(Mark::Open) => return Err(SolveError::Cycle { vertex: digest, name: node.name.clone() }),
                    None => marks.insert(digest, Mark::Open),
                };
            }
            match node.inputs.get(next) {
                Some(input) => {
                    stack.push((digest, next + 1));
                    stack.push((input.vertex, 0));
                }
                None => {
                    marks.insert(digest, Mark::Done);
                    order.push(node);
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Mark {
    Open,
    Done,
}
