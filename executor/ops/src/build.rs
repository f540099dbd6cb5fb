//! The build op: an input holds a definition, and its result becomes the op's.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use prost::Message as _;
use rbuild_graph::{Definition, Graph, pb};
use rbuild_oci::Digest;
use rbuild_solver::{CacheMap, Context, Edge, InputMap, Operation, OperationError, Solver};

use crate::file::rooted;
use crate::resolve::resolve_at;
use crate::value::Ref;
use crate::worker::Worker;
use crate::{OpsError, blocking};

/// The input that holds the definition, and the name of its file if the op has no other.
const DEFINITION: &str = "buildkit.llb.definition";
/// The attribute that holds the name of the file.
const FILENAME: &str = "llbbuild.filename";
/// The largest definition that is read.
const LARGEST: u64 = 64 << 20;
/// How many builds may lie within each other.
const DEEPEST: usize = 8;

/// Judges a definition before it is built; returns the graph to be built in its place.
pub type Admit = dyn Fn(Graph) -> Result<Graph, OperationError> + Send + Sync;

/// What builds the definitions that ops find in their inputs.
pub(crate) struct Nested {
    pub(crate) solver: Solver<Ref>,
    pub(crate) admit: Arc<Admit>,
}

/// A build of what an input defines.
pub(crate) struct BuildOperation {
    worker: Arc<Worker>,
    key: Digest,
    inputs: usize,
    definition: From,
    depth: usize,
}

/// Where the definition comes from.
enum From {
    File { input: usize, name: String },
    Op(Box<pb::Definition>),
}

impl BuildOperation {
    /// Reads the op, which `depth` builds lie around.
    pub(crate) fn new(worker: Arc<Worker>, op: &pb::BuildOp, inputs: usize, depth: usize) -> Result<Self, OpsError> {
        let invalid = |reason: String| Err(OpsError::Nested(reason));
        if op.builder != pb::EMPTY {
            return invalid("only LLB builder is currently allowed".to_owned());
        }
        if depth >= DEEPEST {
            return invalid(format!("more than {DEEPEST} builds lie within each other"));
        }
        if let Some(unknown) = op.attrs.keys().find(|key| *key != FILENAME) {
            return invalid(format!("attribute `{unknown}` is not supported"));
        }
        let name = op.attrs.get(FILENAME).filter(|name| !name.is_empty()).map_or(DEFINITION, String::as_str).to_owned();
        let file = op.inputs.get(DEFINITION).and_then(|input| usize::try_from(input.input).ok());
        let definition = match (file, &op.def) {
            (Some(input), _) if input < inputs => From::File { input, name },
            (None, Some(definition)) => From::Op(Box::new(definition.clone())),
            _ => return invalid(format!("no llb definition input {DEFINITION} found")),
        };
        let mut bytes = b"rbuild.build.v1\0".to_vec();
        op.encode(&mut bytes).expect("a vector takes any length");
        Ok(Self { worker, key: Digest::of(&bytes), inputs, definition, depth })
    }

    async fn definition(&self, inputs: &[Ref]) -> Result<Definition, OpsError> {
        let read = |error: rbuild_graph::GraphError| OpsError::Nested(error.to_string());
        let (input, name) = match &self.definition {
            From::Op(definition) => return Definition::from_pb((**definition).clone()).map_err(read),
            From::File { input, name } => (*input, name.clone()),
        };
        let value = inputs.get(input).cloned().ok_or(OpsError::Graph("a build op names an input that is not there"))?;
        let worker = self.worker.clone();
        let shown = name.clone();
        let bytes = blocking(move || worker.read_file(&value, Path::new(&rooted(&name)), LARGEST)).await?;
        let bytes =
            bytes.ok_or_else(|| OpsError::Nested(format!("failed to open {shown}: no such file or directory")))?;
        if bytes.len() as u64 > LARGEST {
            return Err(OpsError::Nested(format!("{shown} has more than {LARGEST} bytes")));
        }
        Definition::decode(bytes).map_err(read)
    }
}

#[async_trait]
impl Operation<Ref> for BuildOperation {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        Ok(CacheMap::new(self.key, vec![InputMap::default(); self.inputs]))
    }

    async fn content_key(&self, _: &Context, _: usize, _: &Ref) -> Result<Option<Digest>, OperationError> {
        Ok(None)
    }

    async fn run(&self, context: &Context, inputs: Vec<Ref>) -> Result<Vec<Ref>, OperationError> {
        let nested = self.worker.nested().ok_or(OpsError::Unsupported("a nested build (BuildOp)"))?;
        let definition = self.definition(&inputs).await?;
        let graph = (nested.admit)(Graph::load(&definition)?)?;
        let Some(root) = graph.root() else { return Ok(vec![Ref::Layers(Vec::new())]) };
        let graph = resolve_at(&graph, &self.worker, self.depth + 1)?;
        let job = nested.solver.job(context.reporter().clone());
        let target = Edge { vertex: root.vertex, output: root.output };
        let solved = job.solve(&graph, &[target]).await?;
        Ok(solved.into_iter().map(|solved| solved.value).collect())
    }

    fn only_waits(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use rbuild_events::Silent;
    use rbuild_graph::{Builder, Output};
    use rbuild_solver::{MemoryCache, Settings};

    use super::*;
    use crate::LayerResults;
    use crate::source::testing::{Client, Place};

    fn add(builder: &mut Builder, kind: pb::Kind, inputs: Vec<Output>) -> Output {
        let op = pb::Op { op: Some(kind), ..pb::Op::default() };
        builder.add(op, inputs, &pb::OpMetadata::default(), &[]).output(0)
    }

    fn mkfile(builder: &mut Builder, path: &str, data: Vec<u8>) -> Output {
        let (path, data) = (path.to_owned(), data.into());
        let mkfile = pb::FileActionMkFile { path, mode: 0o644, data, timestamp: 1, ..Default::default() };
        let action = Some(pb::Action::Mkfile(mkfile));
        let action = pb::FileAction { input: pb::EMPTY, secondary_input: pb::EMPTY, output: 0, action };
        add(builder, pb::Kind::File(pb::FileOp { actions: vec![action] }), Vec::new())
    }

    fn from_file(name: Option<&str>) -> pb::BuildOp {
        let attrs = name.map(|name| (FILENAME.to_owned(), name.to_owned())).into_iter().collect();
        let inputs = [(DEFINITION.to_owned(), pb::BuildInput { input: 0 })].into();
        pb::BuildOp { builder: pb::EMPTY, inputs, attrs, def: None }
    }

    /// Returns a definition that builds what a file called `name` defines.
    fn nested(inner: &Definition, name: &str, op: pb::BuildOp) -> Definition {
        let mut builder = Builder::new();
        let file = mkfile(&mut builder, name, inner.encode());
        let built = add(&mut builder, pb::Kind::Build(op), vec![file]);
        builder.finish(Some(built), Vec::new())
    }

    fn hello() -> Definition {
        let mut builder = Builder::new();
        let file = mkfile(&mut builder, "hello", b"world".to_vec());
        builder.finish(Some(file), Vec::new())
    }

    /// Builds a definition; returns the content of `hello` and how many nested graphs were admitted, or the error.
    async fn build(definition: &Definition, parallelism: usize) -> Result<(String, usize), String> {
        let place = Place::new();
        let worker = Arc::into_inner(place.worker(Client::default())).expect("nobody else has it yet");
        let results = Arc::new(LayerResults(worker.images().store().clone()));
        let settings = Settings { parallelism: parallelism.try_into().ok(), ..Settings::default() };
        let solver = Solver::new(Arc::new(MemoryCache::default()), results, settings);
        let admitted = Arc::new(Mutex::new(0));
        let admit = {
            let admitted = admitted.clone();
            move |graph| {
                *admitted.lock().unwrap() += 1;
                Ok(graph)
            }
        };
        let worker = Arc::new(worker.with_nested_builds(solver.clone(), Arc::new(admit)));
        let graph = Graph::load(definition).map_err(|error| error.to_string())?;
        let resolved = resolve_at(&graph, &worker, 0).map_err(|error| error.to_string())?;
        let root = graph.root().expect("there is a result");
        let target = Edge { vertex: root.vertex, output: root.output };
        let solved = solver.job(Arc::new(Silent)).solve(&resolved, &[target]).await.map_err(|error| error.chain())?;
        let read = worker.read_file(&solved[0].value, Path::new("hello"), 100).map_err(|error| error.to_string())?;
        let admitted = *admitted.lock().unwrap();
        Ok((String::from_utf8(read.unwrap_or_default()).unwrap(), admitted))
    }

    async fn check(definition: Definition, expect: Result<usize, &str>) {
        match (build(&definition, 1).await, expect) {
            (Ok(built), Ok(admitted)) => assert_eq!(built, ("world".to_owned(), admitted)),
            (Err(error), Err(expect)) => assert!(error.contains(expect), "{error}\nfor {expect}"),
            (built, expect) => panic!("{built:?} instead of {expect:?}"),
        }
    }

    /// One operation at a time is enough: a build that waits for others holds no place of theirs.
    #[tokio::test(flavor = "multi_thread")]
    async fn definitions_of_files_are_built() {
        check(nested(&hello(), DEFINITION, from_file(None)), Ok(1)).await;
        check(nested(&hello(), "dir", from_file(Some("/x/../dir"))), Ok(1)).await;
        check(nested(&nested(&hello(), "a", from_file(Some("a"))), "b", from_file(Some("b"))), Ok(2)).await;
        let inline = pb::BuildOp { def: Some(hello().to_pb()), inputs: Default::default(), ..from_file(None) };
        check(nested(&Definition::default(), "x", inline), Ok(1)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn x90_hostile_definitions_in_files() {
        check(nested(&hello(), "other", from_file(None)), Err("no such file or directory")).await;
        check(nested(&hello(), DEFINITION, pb::BuildOp { builder: 0, ..from_file(None) }), Err("only LLB builder"))
            .await;
        let bare = pb::BuildOp { inputs: Default::default(), ..from_file(None) };
        check(nested(&hello(), DEFINITION, bare), Err("no llb definition input")).await;
        let mut odd = from_file(None);
        odd.attrs.insert("x".to_owned(), String::new());
        check(nested(&hello(), DEFINITION, odd), Err("attribute `x` is not supported")).await;
        let mut garbage = hello();
        garbage.ops.insert(0, vec![0xff].into());
        check(nested(&garbage, DEFINITION, from_file(None)), Err("decoding op 0")).await;
        let deep = (0..9).fold(hello(), |inner, _| nested(&inner, DEFINITION, from_file(None)));
        check(deep, Err("more than 8 builds lie within each other")).await;
    }
}
