//! Results that are made when somebody asks for them.

use std::fmt;

use rbuild_graph::{Definition, Graph, pb};
use rbuild_ops::{Ref, Worker, resolve};
use rbuild_solver::{Edge, Job, Solved};
use std::sync::Arc;
use tokio::sync::OnceCell;

use crate::fault::Fault;

/// A result that is made when somebody asks for it; made once.
pub(crate) struct Lazy {
    definition: pb::Definition,
    graph: Graph,
    operations: rbuild_solver::Graph<Ref>,
    solved: OnceCell<Result<Solved<Ref>, Fault>>,
}

impl Lazy {
    /// Loads a definition; none if it is the empty file system. Nothing is done yet.
    pub(crate) fn load(definition: &pb::Definition, worker: &Arc<Worker>) -> Result<Option<Self>, Fault> {
        let graph = Graph::load(&Definition::from_pb(definition.clone())?)?;
        if graph.root().is_none() {
            return Ok(None);
        }
        let operations = resolve(&graph, worker).map_err(|error| Fault::from(error).context("failed to load LLB"))?;
        Ok(Some(Self { definition: definition.clone(), graph, operations, solved: OnceCell::new() }))
    }

    /// Returns the definition as its client gave it.
    pub(crate) fn definition(&self) -> &pb::Definition {
        &self.definition
    }

    /// Returns the graph.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Returns the result and what the cache calls it.
    pub(crate) async fn solve(&self, job: &Job<Ref>) -> Result<&Solved<Ref>, Fault> {
        let solved = self.solved.get_or_init(|| async {
            let root = self.graph.root().ok_or_else(|| Fault::new("a graph without a result"))?;
            let target = Edge { vertex: root.vertex, output: root.output };
            let solved = job.solve(&self.operations, &[target]).await;
            let solved = solved.map_err(|error| Fault::solve(&error, &self.graph))?;
            solved.into_iter().next().ok_or_else(|| Fault::new("a target without a value"))
        });
        solved.await.as_ref().map_err(Fault::clone)
    }
}

impl fmt::Debug for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy").field("root", &self.graph.root()).finish_non_exhaustive()
    }
}
