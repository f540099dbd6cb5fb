//! Results that are made when somebody asks for them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rbuild_export::provenance::Capture;
use rbuild_graph::policy::{Engine, Policy, PolicyError};
use rbuild_graph::{Definition, Graph, pb};
use rbuild_ops::{Ref, Worker, resolve};
use rbuild_solver::{Edge, Solved};
use tokio::sync::OnceCell;

use crate::attest;
use crate::build::{Build, Terms};
use crate::caches::{Asked, Looking};
use crate::fault::Fault;
use crate::judge::Judge;

/// A result that is made when somebody asks for it; made once.
pub(crate) struct Lazy {
    definition: pb::Definition,
    graph: Graph,
    /// What holds for it besides what holds for all of its build.
    terms: Terms,
    operations: rbuild_solver::Graph<Ref>,
    solved: OnceCell<Result<Solved<Ref>, Fault>>,
    /// What it was made of, once it is.
    captured: OnceLock<Capture>,
}

impl Lazy {
    /// Loads a definition; none if it is the empty file system. Nothing is done yet.
    pub(crate) fn load(
        definition: &pb::Definition,
        policies: &[Policy],
        terms: &Terms,
        worker: &Arc<Worker>,
    ) -> Result<Option<Self>, Fault> {
        let refused = |error: PolicyError| Fault::of(&error).context("failed to load LLB");
        let graph = Graph::load(&Definition::from_pb(definition.clone())?)?;
        let graph = match policies {
            [] => graph,
            policies => Engine::new(policies).and_then(|mut engine| engine.apply(&graph)).map_err(refused)?,
        };
        if graph.root().is_none() {
            return Ok(None);
        }
        let operations = resolve(&graph, worker).map_err(|error| Fault::from(error).context("failed to load LLB"))?;
        Ok(Some(Self {
            definition: definition.clone(),
            graph,
            terms: terms.clone(),
            operations,
            solved: OnceCell::new(),
            captured: OnceLock::new(),
        }))
    }

    /// Returns the definition as its client gave it.
    pub(crate) fn definition(&self) -> &pb::Definition {
        &self.definition
    }

    /// Returns the graph.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Returns the caches that may have the result.
    pub(crate) fn imports(&self) -> &[Asked] {
        &self.terms.imports
    }

    /// Returns what holds for it besides what holds for all of its build.
    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Returns the output that is the result.
    pub(crate) fn edge(&self) -> Option<Edge> {
        self.graph.root().map(|root| Edge { vertex: root.vertex, output: root.output })
    }

    /// Returns the result and what the cache calls it.
    pub(crate) async fn solve(&self, build: &Build) -> Result<&Solved<Ref>, Fault> {
        let solved = self.solved.get_or_init(|| async {
            let caches = build.caches();
            if let Some(judge) = build.judge() {
                return self.solve_judged(build, judge).await;
            }
            let looking = caches.looking(self.imports()).await;
            loop {
                let solved = attempt(&looking, &self.graph, &self.operations).await;
                if solved.is_ok() {
                    self.captured.get_or_init(|| attest::capture(&self.graph, &looking.job.pins()));
                }
                if solved.is_ok() || !caches.strike(&looking)? {
                    return solved;
                }
            }
        });
        solved.await.as_ref().map_err(Fault::clone)
    }

    /// Returns what the result was made of; none if it was not made.
    pub(crate) fn capture(&self) -> Option<Capture> {
        self.captured.get().cloned()
    }

    /// Solves what the client's session makes of the graph.
    async fn solve_judged(&self, build: &Build, judge: &Judge) -> Result<Solved<Ref>, Fault> {
        let graph = judge.graph(build, &self.graph).await?;
        let operations = resolve(&graph, build.worker())?;
        let looking = build.caches().looking(self.imports()).await;
        loop {
            let solved = attempt(&looking, &graph, &operations).await;
            if solved.is_ok() {
                self.captured.get_or_init(|| attest::capture(&graph, &looking.job.pins()));
            }
            if solved.is_ok() || !build.caches().strike(&looking)? {
                return solved;
            }
        }
    }
}

async fn attempt(
    looking: &Looking,
    graph: &Graph,
    operations: &rbuild_solver::Graph<Ref>,
) -> Result<Solved<Ref>, Fault> {
    let root = graph.root().ok_or_else(|| Fault::new("a graph without a result"))?;
    let target = Edge { vertex: root.vertex, output: root.output };
    let solved = looking.job.solve(operations, &[target]).await;
    let solved = solved.map_err(|error| Fault::solve(&error, graph))?;
    solved.into_iter().next().ok_or_else(|| Fault::new("a target without a value"))
}

impl fmt::Debug for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy").field("root", &self.graph.root()).finish_non_exhaustive()
    }
}
