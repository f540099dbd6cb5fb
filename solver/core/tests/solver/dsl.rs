//! Vertices made by hand: values are texts, every call is counted.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rbuild_events::{Event, Outcome, Reporter};
use rbuild_oci::Digest;
use rbuild_solver::{
    CacheMap, CacheStorage, Context, Edge, Graph, InputMap, Job, Locks, MemoryCache, Node, Operation, OperationError,
    ResultStore, Saved, Settings, SolveError, Solver, SqliteCache,
};
use tokio::sync::{Barrier, Notify};

pub(crate) type Value = Arc<str>;

/// How often what was asked of which vertex.
#[derive(Debug, Default, Clone)]
pub(crate) struct Calls(Arc<Mutex<BTreeMap<String, u32>>>);

impl Calls {
    pub(crate) fn count(&self, what: &str, name: &str) {
        *self.0.lock().unwrap().entry(format!("{what} {name}")).or_default() += 1;
    }

    /// Returns what was called since the last time, without cache maps: `content a`, `run b x2`.
    pub(crate) fn take(&self) -> String {
        let calls = std::mem::take(&mut *self.0.lock().unwrap());
        let shown = calls.iter().filter(|(call, _)| !call.starts_with("map "));
        let text = |(call, count): (&String, &u32)| if *count == 1 { call.clone() } else { format!("{call} x{count}") };
        shown.map(text).collect::<Vec<_>>().join(", ")
    }
}

/// Keeps values by number; they may be lost.
#[derive(Default)]
pub(crate) struct Results {
    values: Mutex<HashMap<u64, Value>>,
    next: AtomicU64,
    calls: Calls,
}

impl Results {
    /// Forgets all values that contain `text`.
    pub(crate) fn lose(&self, text: &str) {
        self.values.lock().unwrap().retain(|_, value| !value.contains(text));
    }
}

#[async_trait]
impl ResultStore<Value> for Results {
    async fn save(&self, value: &Value) -> Result<Saved, OperationError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.values.lock().unwrap().insert(id, value.clone());
        Ok(Saved { result: id.to_be_bytes().to_vec(), size: Some(value.len() as u64) })
    }

    async fn load(&self, result: &[u8]) -> Result<Option<Value>, OperationError> {
        let id = u64::from_be_bytes(result.try_into()?);
        let value = self.values.lock().unwrap().get(&id).cloned();
        if let Some(value) = &value {
            self.calls.count("load", value);
        }
        Ok(value)
    }
}

/// What outlives a process: a cache, values, and a directory for locks.
pub(crate) struct Store {
    directory: Option<tempfile::TempDir>,
    memory: Arc<MemoryCache>,
    pub(crate) results: Arc<Results>,
    pub(crate) calls: Calls,
}

impl Store {
    pub(crate) fn memory() -> Self {
        let calls = Calls::default();
        let results = Arc::new(Results { calls: calls.clone(), ..Results::default() });
        Self { directory: None, memory: Arc::default(), results, calls }
    }

    pub(crate) fn on_disk() -> Self {
        Self { directory: Some(tempfile::tempdir().unwrap()), ..Self::memory() }
    }

    fn path(&self) -> Option<&Path> {
        self.directory.as_ref().map(tempfile::TempDir::path)
    }

    pub(crate) fn cache(&self) -> Arc<dyn CacheStorage> {
        match self.path() {
            Some(path) => Arc::new(SqliteCache::open(&path.join("cache.sqlite")).unwrap()),
            None => Arc::<MemoryCache>::clone(&self.memory),
        }
    }

    /// Returns the solver of a new process.
    pub(crate) fn solver(&self) -> Solver<Value> {
        let locks = self.path().map_or_else(Locks::private, |path| Locks::shared(path.to_owned()));
        Solver::new(self.cache(), Arc::<Results>::clone(&self.results), Settings { locks, ..Settings::default() })
    }

    /// Builds in a new process; returns the value and what was called.
    pub(crate) async fn build(&self, target: &Vtx) -> (String, String) {
        let value = solve(&self.solver().job(Arc::new(Events::default())), target).await.unwrap();
        (value, self.calls.take())
    }

    /// Builds in a new process and checks what was called.
    pub(crate) async fn check(&self, target: &Vtx, calls: &str) -> String {
        let (value, called) = self.build(target).await;
        assert_eq!(called, calls, "building {}", target.name);
        value
    }
}

pub(crate) async fn solve(job: &Job<Value>, target: &Vtx) -> Result<String, SolveError> {
    let mut graph = Graph::new();
    target.insert(&mut graph);
    let solved = job.solve(&graph, &[Edge { vertex: target.digest(), output: 0 }]).await?;
    Ok(solved[0].value.to_string())
}

/// Remembers events as lines.
#[derive(Default)]
pub(crate) struct Events {
    lines: Mutex<Vec<String>>,
    names: Mutex<HashMap<Digest, String>>,
}

impl Events {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Reporter for Events {
    fn report(&self, event: Event) {
        let mut names = self.names.lock().unwrap();
        let line = match event {
            Event::Vertex(vertex) => {
                names.insert(vertex.digest, vertex.name);
                return;
            }
            Event::Started { vertex, .. } => format!("{} started", names[&vertex]),
            Event::Paused { vertex, .. } => format!("{} paused", names[&vertex]),
            Event::Completed { vertex, outcome, .. } => match outcome {
                Outcome::Done => format!("{} done", names[&vertex]),
                Outcome::Cached => format!("{} cached", names[&vertex]),
                Outcome::Canceled => format!("{} canceled", names[&vertex]),
                Outcome::Failed(message) => format!("{} failed: {message}", names[&vertex]),
            },
            Event::Log { data, .. } => String::from_utf8(data).unwrap(),
            Event::Status(status) => status.id,
            Event::Warning(warning) => warning.short,
        };
        self.lines.lock().unwrap().push(line);
    }
}

/// What a run does beside returning its value.
#[derive(Clone, Default)]
pub(crate) enum Act {
    #[default]
    Nothing,
    Fail,
    /// Fails the first time only.
    FailOnce(Arc<AtomicBool>),
    Panic,
    /// Goes on only when as many run as the barrier counts.
    Meet(Arc<Barrier>),
    /// Tells that it began, then never ends; tells when it is dropped.
    Hang(Arc<Hanging>),
    Sleep(Duration),
}

#[derive(Default)]
pub(crate) struct Hanging {
    pub(crate) began: Notify,
    pub(crate) dropped: AtomicBool,
}

struct Dropped(Arc<Hanging>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::SeqCst);
    }
}

/// A vertex. Its value is `name(value of inputs)` unless set.
#[derive(Clone)]
pub(crate) struct Vtx {
    pub(crate) name: String,
    key: String,
    value: Option<String>,
    session: bool,
    ignore_cache: bool,
    scope: Option<Digest>,
    outputs: u32,
    inputs: Vec<Input>,
    act: Act,
    calls: Calls,
    describes: usize,
}

#[derive(Clone)]
struct Input {
    vertex: Vtx,
    output: u32,
    selector: Option<String>,
    content: bool,
}

impl Store {
    /// Returns a vertex without inputs.
    pub(crate) fn vtx(&self, name: &str) -> Vtx {
        Vtx {
            name: name.into(),
            key: name.into(),
            value: None,
            session: false,
            ignore_cache: false,
            scope: None,
            outputs: 1,
            inputs: Vec::new(),
            act: Act::Nothing,
            calls: self.calls.clone(),
            describes: 0,
        }
    }
}

impl Vtx {
    /// Sets another key of the operation than the name.
    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = key.into();
        self
    }

    pub(crate) fn value(mut self, value: &str) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Makes the key mean nothing to later builds.
    pub(crate) fn session(mut self) -> Self {
        self.session = true;
        self
    }

    pub(crate) fn ignore_cache(mut self) -> Self {
        self.ignore_cache = true;
        self
    }

    pub(crate) fn scope(mut self, scope: &str) -> Self {
        self.scope = Some(Digest::of(scope.as_bytes()));
        self
    }

    pub(crate) fn outputs(mut self, outputs: u32) -> Self {
        self.outputs = outputs;
        self
    }

    pub(crate) fn act(mut self, act: Act) -> Self {
        self.act = act;
        self
    }

    /// Describes this many inputs more than there are.
    pub(crate) fn describe_more(mut self, more: usize) -> Self {
        self.describes = more;
        self
    }

    /// Adds an input known by its key only.
    pub(crate) fn on(self, vertex: &Vtx) -> Self {
        self.input(vertex, 0, None, false)
    }

    /// Adds an input that has a content key.
    pub(crate) fn reads(self, vertex: &Vtx) -> Self {
        self.input(vertex, 0, None, true)
    }

    pub(crate) fn input(mut self, vertex: &Vtx, output: u32, selector: Option<&str>, content: bool) -> Self {
        self.inputs.push(Input { vertex: vertex.clone(), output, selector: selector.map(Into::into), content });
        self
    }

    pub(crate) fn digest(&self) -> Digest {
        let inputs: Vec<_> = self
            .inputs
            .iter()
            .map(|input| (input.vertex.digest(), input.output, &input.selector, input.content))
            .collect();
        Digest::of(format!("{} {} {inputs:?}", self.name, self.key).as_bytes())
    }

    pub(crate) fn insert(&self, graph: &mut Graph<Value>) {
        for input in &self.inputs {
            input.vertex.insert(graph);
        }
        let edge = |input: &Input| Edge { vertex: input.vertex.digest(), output: input.output };
        graph.insert(Node {
            digest: self.digest(),
            name: self.name.clone(),
            inputs: self.inputs.iter().map(edge).collect(),
            ignore_cache: self.ignore_cache,
            scope: self.scope,
            operation: Arc::new(self.clone()),
        });
    }

    async fn perform(&self) -> Result<(), OperationError> {
        match &self.act {
            Act::Nothing => {}
            Act::Fail => return Err("no luck".into()),
            Act::FailOnce(failed) if !failed.swap(true, Ordering::SeqCst) => return Err("no luck".into()),
            Act::FailOnce(_) => {}
            Act::Panic => panic!("out of mind"),
            Act::Meet(barrier) => {
                barrier.wait().await;
            }
            Act::Hang(hanging) => {
                let _dropped = Dropped(Arc::clone(hanging));
                hanging.began.notify_one();
                std::future::pending::<()>().await;
            }
            Act::Sleep(time) => tokio::time::sleep(*time).await,
        }
        Ok(())
    }
}

#[async_trait]
impl Operation<Value> for Vtx {
    async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
        self.calls.count("map", &self.name);
        let map = |input: &Input| InputMap {
            selector: input.selector.as_ref().map(|selector| Digest::of(selector.as_bytes())),
            content: input.content,
        };
        let mut inputs: Vec<_> = self.inputs.iter().map(map).collect();
        inputs.resize(inputs.len() + self.describes, InputMap::default());
        let map = CacheMap::new(Digest::of(self.key.as_bytes()), inputs);
        Ok(if self.session { map.for_session() } else { map })
    }

    async fn content_key(&self, _: &Context, index: usize, value: &Value) -> Result<Option<Digest>, OperationError> {
        self.calls.count("content", &format!("{}[{index}]", self.name));
        Ok(Some(Digest::of(value.as_bytes())))
    }

    async fn run(&self, context: &Context, inputs: Vec<Value>) -> Result<Vec<Value>, OperationError> {
        self.calls.count("run", &self.name);
        self.perform().await?;
        assert!(!context.is_canceled());
        let joined = inputs.join(",");
        let made = match (&self.value, inputs.is_empty()) {
            (Some(value), _) => value.clone(),
            (None, true) => self.name.clone(),
            (None, false) => format!("{}({joined})", self.name),
        };
        let output = |output| if output == 0 { made.as_str().into() } else { format!("{made}.{output}").into() };
        Ok((0..self.outputs).map(output).collect())
    }
}
