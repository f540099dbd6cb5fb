//! The graph that a build would evaluate, with the keys it would ask the cache for, and nothing done.
//!
//! The keys are those that the operations themselves give to the solver. An operation is asked only if it can
//! answer without work: what it says of itself, or of an image that was looked up to read the Dockerfile at all.

mod bridge;
mod dot;
mod json;
mod mermaid;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use rbuild_events::Silent;
use rbuild_graph::{Edge, Graph, Vertex, pb, source};
use rbuild_oci::{Digest, Platform};
use rbuild_ops::{Ref, Worker, resolve};
use rbuild_solver::{Context, InputMap};

use crate::builder::{Builder, Lowering, frontend_request, platforms, unresolved};
use crate::error::{BuildError, lines_of};
use crate::explain::bridge::Onlooker;
use crate::request::{BuildRequest, ContextSource};

/// How a graph is explained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExplainOptions {
    /// Whether all stages are shown, not only what the target needs.
    pub all: bool,
    /// Whether neither the store nor a registry is asked for images: each is taken as one without configuration.
    pub offline: bool,
}

/// A build graph, explained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Explanation {
    /// The name of the Dockerfile.
    pub dockerfile: String,
    /// What is asked for: one for each platform, or one for each stage.
    pub targets: Vec<ExplainedTarget>,
    /// The vertices, each after its inputs.
    pub steps: Vec<ExplainedStep>,
}

/// Something that the graph is to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedTarget {
    /// The stage's name; none for a single stage without one.
    pub name: Option<String>,
    /// The platform.
    pub platform: Platform,
    /// Its file system; none for the empty one.
    pub result: Option<ExplainedOutput>,
}

/// An output of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplainedOutput {
    /// The position of the vertex among [`Explanation::steps`].
    pub step: usize,
    /// Which of its outputs.
    pub output: u32,
}

/// A vertex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedStep {
    /// The sha256 of the op.
    pub digest: Digest,
    /// The name that progress shows.
    pub name: String,
    /// What kind of op it is: `source`, `exec`, `file`, `merge` or `diff`.
    pub kind: &'static str,
    /// What a source stands for, such as `docker-image://…`.
    pub source: Option<String>,
    /// The platform, if the op depends on one.
    pub platform: Option<Platform>,
    /// What the cache is asked with.
    pub key: ExplainedKey,
    /// Whether it is done anew in any case.
    pub ignore_cache: bool,
    /// What it is made of.
    pub inputs: Vec<ExplainedInput>,
    /// The lines of the Dockerfile that ask for it, first and last.
    pub lines: Option<(usize, usize)>,
}

/// What is known of an operation's own key before anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainedKey {
    /// All of it.
    Known(Digest),
    /// It is the digest of files that are read by the build.
    Content,
    /// It is that of the layers of an image, which was not looked up.
    Image,
    /// It is known once the address has been asked.
    Remote,
}

/// An input of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplainedInput {
    /// Which output of which vertex.
    pub from: ExplainedOutput,
    /// Whether the content of what is taken is a key too, so that another maker of the same files does as well.
    pub by_content: bool,
}

impl Builder {
    /// Explains what a build would do. Builds and stores nothing.
    ///
    /// # Errors
    /// If the Dockerfile, the request or an image cannot be read.
    pub async fn explain(&self, request: &BuildRequest, options: ExplainOptions) -> Result<Explanation, BuildError> {
        if let ContextSource::Git(address) | ContextSource::Http(address) = &request.context {
            return Err(BuildError::Input(format!("`{address}` would have to be fetched: explain a local directory")));
        }
        let prepared = self.prepare(request).await?;
        let dockerfile = self.read(request, &prepared)?;
        let worker = self.worker(request, &prepared.contexts);
        let host = Onlooker { host: &prepared.host, offline: options.offline };
        let (input, platforms) = (&prepared.input, platforms(request));
        let mut explanation = Explanation { dockerfile: input.filename.clone(), ..Explanation::default() };
        let mut known = HashMap::new();
        for platform in &platforms {
            let named = &prepared.contexts.named;
            let mut asked = frontend_request(request, input, named, platform.clone(), platforms.len() > 1)?;
            asked.all_stages = options.all;
            let lowering = self.lower(&dockerfile, input, &asked, &host, request.color).await?;
            let (graph, roots) = roots(lowering)?;
            explanation.add(&graph, &worker, options, &mut known).await?;
            let result = |edge: Edge| ExplainedOutput { step: known[&edge.vertex], output: edge.output };
            let target = |(name, platform, edge): (_, _, Option<Edge>)| ExplainedTarget {
                name,
                platform,
                result: edge.map(result),
            };
            explanation.targets.extend(roots.into_iter().map(target));
        }
        Ok(explanation)
    }
}

type Root = (Option<String>, Platform, Option<Edge>);

/// Returns the graph to show, and what it is to give.
fn roots(lowering: Lowering) -> Result<(Graph, Vec<Root>), BuildError> {
    let Lowering { lowered, graph } = lowering;
    let platform = lowered.platform;
    let Some(overview) = lowered.overview else {
        let root = graph.root();
        return Ok((graph, vec![(lowered.outline.name, platform, root)]));
    };
    let graph = Graph::load(&overview.definition).map_err(BuildError::engine)?;
    let stages = overview.stages.into_iter().map(|stage| (Some(stage.label), platform.clone(), stage.result));
    Ok((graph, stages.collect()))
}

impl Explanation {
    /// Adds the vertices that are not known yet.
    async fn add(
        &mut self,
        graph: &Graph,
        worker: &Arc<Worker>,
        options: ExplainOptions,
        known: &mut HashMap<Digest, usize>,
    ) -> Result<(), BuildError> {
        let operations = resolve(graph, worker).map_err(unresolved)?;
        for vertex in graph.vertices() {
            if known.contains_key(&vertex.digest) {
                continue;
            }
            let (key, maps) = key(vertex, &operations, options).await?;
            let input = |(edge, map): (&Edge, InputMap)| ExplainedInput {
                from: ExplainedOutput { step: known[&edge.vertex], output: edge.output },
                by_content: map.content,
            };
            let maps = maps.into_iter().chain(std::iter::repeat(InputMap::default()));
            let inputs = vertex.inputs.iter().zip(maps).map(input).collect();
            known.insert(vertex.digest, self.steps.len());
            self.steps.push(ExplainedStep {
                digest: vertex.digest,
                name: vertex.name.clone(),
                kind: kind(vertex),
                source: source_of(vertex).map(str::to_owned),
                platform: vertex.platform(),
                key,
                ignore_cache: vertex.metadata.ignore_cache,
                inputs,
                lines: lines_of(graph, vertex.digest),
            });
        }
        Ok(())
    }
}

/// Asks an operation for its key, if it can answer without work.
async fn key(
    vertex: &Vertex,
    operations: &rbuild_solver::Graph<Ref>,
    options: ExplainOptions,
) -> Result<(ExplainedKey, Vec<InputMap>), BuildError> {
    let is = |scheme: &str| source_of(vertex).is_some_and(|identifier| identifier.starts_with(scheme));
    let late = match source_of(vertex) {
        Some(_) if is(source::LOCAL) => Some(ExplainedKey::Content),
        Some(_) if is(source::DOCKER_IMAGE) => options.offline.then_some(ExplainedKey::Image),
        Some(_) if is(source::OCI_LAYOUT) => None,
        Some(_) => Some(ExplainedKey::Remote),
        None => None,
    };
    let node = operations.get(&vertex.digest);
    let (None, Some(node)) = (late, node) else { return Ok((late.unwrap_or(ExplainedKey::Remote), Vec::new())) };
    let context = Context::new(vertex.digest, &vertex.name, Arc::new(Silent), SystemTime::now);
    let map = node
        .operation
        .cache_map(&context)
        .await
        .map_err(|error| BuildError::Engine(format!("{}: {}", vertex.name, BuildError::chain(&*error))))?;
    Ok((ExplainedKey::Known(map.key), map.inputs))
}

fn source_of(vertex: &Vertex) -> Option<&str> {
    match vertex.kind() {
        pb::Kind::Source(source) => Some(&source.identifier),
        _ => None,
    }
}

fn kind(vertex: &Vertex) -> &'static str {
    match vertex.kind() {
        pb::Kind::Source(_) => "source",
        pb::Kind::Exec(_) => "exec",
        pb::Kind::File(_) => "file",
        pb::Kind::Merge(_) => "merge",
        pb::Kind::Diff(_) => "diff",
        pb::Kind::Build(_) => "build",
        pb::Kind::Passthrough(_) => "passthrough",
    }
}

impl ExplainedStep {
    /// Returns the name in one line.
    fn title(&self) -> String {
        self.name.replace('\n', "\\n").replace('\r', "\\r")
    }
}

impl ExplainedKey {
    /// Returns the key in short, or from what it will come.
    fn short(&self) -> String {
        match self {
            Self::Known(key) => key.short(),
            other => other.word().to_owned(),
        }
    }

    /// Returns from what the key comes.
    fn word(&self) -> &'static str {
        match self {
            Self::Known(_) => "definition",
            Self::Content => "content",
            Self::Image => "image",
            Self::Remote => "remote",
        }
    }
}

impl ExplainedTarget {
    /// Returns what the target is called.
    fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} for {}", self.platform),
            None => format!("result for {}", self.platform),
        }
    }
}
