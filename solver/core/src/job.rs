//! The solver and its jobs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use futures::future::try_join_all;
use rbuild_events::{self as events, Reporter};
use rbuild_oci::{Digest, Hasher};
use tokio::sync::Semaphore;

use crate::cache::CacheStorage;
use crate::error::SolveError;
use crate::explain::{Explanation, Verdict};
use crate::graph::{Edge, Graph, Node};
use crate::key::{Key, Known};
use crate::lock::Locks;
use crate::once::Tasks;
use crate::operation::ResultStore;
use crate::progress::Progress;
use crate::vertex::{EdgeRef, Vertex, World};

/// What a solver may be told beside its cache.
#[derive(Debug)]
pub struct Settings {
    /// Keeps others from running the same step.
    pub locks: Locks,
    /// How many operations may run at once; no limit if none.
    pub parallelism: Option<NonZeroUsize>,
    /// Tells the time for events and records.
    pub clock: fn() -> SystemTime,
}

impl Default for Settings {
    fn default() -> Self {
        Self { locks: Locks::private(), parallelism: None, clock: SystemTime::now }
    }
}

/// Evaluates graphs; jobs that run at the same time share their work.
pub struct Solver<R> {
    shared: Arc<Shared<R>>,
}

struct Shared<R> {
    world: Arc<World<R>>,
    active: Mutex<HashMap<Digest, Weak<Vertex<R>>>>,
    jobs: AtomicU64,
}

impl<R> Clone for Solver<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<R> fmt::Debug for Solver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Solver")
    }
}

impl<R: Clone + Send + Sync + 'static> Solver<R> {
    /// Returns a solver that remembers in `cache` and keeps values in `results`.
    pub fn new(cache: Arc<dyn CacheStorage>, results: Arc<dyn ResultStore<R>>, settings: Settings) -> Self {
        let world = World {
            cache,
            results,
            locks: Arc::new(settings.locks),
            tasks: Arc::<Tasks>::default(),
            running: settings.parallelism.map(|limit| Arc::new(Semaphore::new(limit.get()))),
            clock: settings.clock,
            nonces: Arc::default(),
            renewals: Arc::default(),
        };
        let shared = Shared { world: Arc::new(world), active: Mutex::default(), jobs: AtomicU64::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// Begins a job: one or more graphs solved for one purpose. What was found for the one is at hand for
    /// the next, until the job is dropped.
    pub fn job(&self, reporter: Arc<dyn Reporter>) -> Job<R> {
        self.begin(reporter, Arc::clone(&self.shared.world), None)
    }

    /// Begins a job that remembers more than others do.
    pub fn job_with(&self, reporter: Arc<dyn Reporter>, memory: &Memory<R>) -> Job<R> {
        let world = self.shared.world.remembering(Arc::clone(&memory.cache), Arc::clone(&memory.results));
        self.begin(reporter, Arc::new(world), Some(memory.scope))
    }

    fn begin(&self, reporter: Arc<dyn Reporter>, world: Arc<World<R>>, scope: Option<Digest>) -> Job<R> {
        let id = self.shared.jobs.fetch_add(1, Ordering::Relaxed);
        Job { shared: Arc::clone(&self.shared), id, reporter, world, scope, wanted: Mutex::default() }
    }

    /// Returns the cache.
    pub fn cache(&self) -> &Arc<dyn CacheStorage> {
        &self.shared.world.cache
    }

    /// Waits until nothing runs: that canceled work has cleaned up, that finished work is recorded.
    pub async fn idle(&self) {
        self.shared.world.tasks.idle().await;
    }
}

/// A request to solve graphs. Dropping it ends all work that no other job wants.
pub struct Job<R> {
    shared: Arc<Shared<R>>,
    id: u64,
    reporter: Arc<dyn Reporter>,
    world: Arc<World<R>>,
    /// Sets all its vertices apart from those of jobs that remember other things.
    scope: Option<Digest>,
    wanted: Mutex<Wanted<R>>,
}

/// What a job looks into instead of the solver's own cache and results, such as both together with a
/// cache imported from elsewhere.
pub struct Memory<R> {
    /// Where links and records are found and written.
    pub cache: Arc<dyn CacheStorage>,
    /// Where values are kept.
    pub results: Arc<dyn ResultStore<R>>,
    /// Jobs of equal scope remember the same and share their work while it goes on. Others do not: they
    /// wait for each other's steps by lock, and find them in the cache if they look into the same.
    pub scope: Digest,
}

impl<R> Clone for Memory<R> {
    fn clone(&self) -> Self {
        Self { cache: Arc::clone(&self.cache), results: Arc::clone(&self.results), scope: self.scope }
    }
}

impl<R> fmt::Debug for Memory<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("scope", &self.scope).finish_non_exhaustive()
    }
}

struct Wanted<R> {
    /// Each after all its inputs.
    vertices: Vec<Arc<Vertex<R>>>,
    /// The addresses of `vertices`.
    known: HashSet<usize>,
    touched: HashSet<Key>,
}

impl<R> Default for Wanted<R> {
    fn default() -> Self {
        Self { vertices: Vec::new(), known: HashSet::new(), touched: HashSet::new() }
    }
}

/// Interest in vertices, until it is dropped.
struct Interest<R: Clone + Send + Sync + 'static>(Vec<Arc<Vertex<R>>>);

impl<R: Clone + Send + Sync + 'static> Interest<R> {
    fn new(vertices: Vec<Arc<Vertex<R>>>) -> Self {
        vertices.iter().for_each(|vertex| vertex.gain_interest());
        Self(vertices)
    }
}

impl<R: Clone + Send + Sync + 'static> Drop for Interest<R> {
    fn drop(&mut self) {
        self.0.iter().for_each(|vertex| vertex.lose_interest());
    }
}

/// A target's value and the keys it is known by.
#[derive(Debug, Clone)]
pub struct Solved<R> {
    /// The value.
    pub value: R,
    /// Its keys; none of them need be stored.
    pub keys: Vec<Known>,
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<R: Clone + Send + Sync + 'static> Job<R> {
    /// Returns the value of each target; the first failure ends the rest.
    pub async fn solve(&self, graph: &Graph<R>, targets: &[Edge]) -> Result<Vec<Solved<R>>, SolveError> {
        let (targets, _interest) = self.attach(graph, targets)?;
        let values = try_join_all(targets.iter().map(EdgeRef::value)).await;
        self.touch().await;
        let solved = |valued: crate::vertex::Valued<R>| Solved { value: valued.value, keys: valued.keys.to_vec() };
        Ok(values?.into_iter().map(solved).collect())
    }

    /// Returns how the answers about all edges came about, inputs first.
    pub fn explanations(&self) -> Vec<Explanation> {
        self.wanted().vertices.iter().flat_map(|vertex| vertex.explanations()).collect()
    }

    /// Returns what the sources among the job's vertices resolved themselves to, by vertex.
    pub fn pins(&self) -> BTreeMap<Digest, String> {
        let wanted = self.wanted();
        let pin = |vertex: &Arc<Vertex<R>>| Some((vertex.node.digest, vertex.pin.get()?.clone()));
        wanted.vertices.iter().filter_map(pin).collect()
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted<R>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds or creates the vertices at work for those of the graph.
    fn attach(&self, graph: &Graph<R>, targets: &[Edge]) -> Result<(Vec<EdgeRef<R>>, Interest<R>), SolveError> {
        let order = graph.order(targets)?;
        let mut attached: HashMap<Digest, (Digest, Arc<Vertex<R>>)> = HashMap::new();
        let mut active = self.shared.active.lock().unwrap_or_else(PoisonError::into_inner);
        for node in order {
            let inputs = node.inputs.iter().map(|input| &attached[&input.vertex]);
            let identity = identity(node, self.scope, inputs.clone().map(|(identity, _)| *identity));
            let edges = inputs.zip(&node.inputs);
            let inputs: Vec<_> =
                edges.map(|((_, vertex), edge)| EdgeRef { vertex: Arc::clone(vertex), output: edge.output }).collect();
            let vertex = active.get(&identity).and_then(Weak::upgrade).filter(|vertex| is_usable(vertex, &inputs));
            let vertex = vertex.unwrap_or_else(|| {
                let vertex = self.vertex(node, inputs);
                active.insert(identity, Arc::downgrade(&vertex));
                vertex
            });
            self.want(&vertex);
            attached.insert(node.digest, (identity, vertex));
        }
        let edge = |target: &Edge| EdgeRef { vertex: Arc::clone(&attached[&target.vertex].1), output: target.output };
        let targets = targets.iter().map(edge).collect();
        Ok((targets, Interest::new(attached.into_values().map(|(_, vertex)| vertex).collect())))
    }

    fn vertex(&self, node: &Node<R>, inputs: Vec<EdgeRef<R>>) -> Arc<Vertex<R>> {
        let world = Arc::clone(&self.world);
        let shown = events::Vertex {
            digest: node.digest,
            name: node.name.clone(),
            inputs: node.inputs.iter().map(|input| input.vertex).collect(),
        };
        let progress = Progress::new(shown, world.clock);
        Arc::new(Vertex::new(world, node.clone(), inputs, progress))
    }

    fn want(&self, vertex: &Arc<Vertex<R>>) {
        let mut wanted = self.wanted();
        if wanted.known.insert(Arc::as_ptr(vertex) as usize) {
            wanted.vertices.push(Arc::clone(vertex));
            vertex.progress.join(self.id, Arc::clone(&self.reporter));
        }
    }

    /// Notes the use of all that was found, each once. Only statistics: a failure is nobody's concern.
    async fn touch(&self) {
        let found: Vec<Key> = self.explanations().into_iter().flat_map(|explanation| used(&explanation)).collect();
        let news: Vec<Key> = {
            let mut wanted = self.wanted();
            found.into_iter().filter(|key| wanted.touched.insert(*key)).collect()
        };
        if !news.is_empty() {
            let at = (self.world.clock)();
            let _ = self.world.with_cache("noting the use of records", move |cache| cache.touch(&news, at)).await;
        }
    }
}

fn used(explanation: &Explanation) -> Vec<Key> {
    match &explanation.verdict {
        Verdict::Known(keys) => keys.clone(),
        Verdict::Loaded(key) => vec![*key],
        Verdict::Unknown | Verdict::Made(_) => Vec::new(),
    }
}

/// A vertex that failed, or stands on one that did, is of no use to a job that has seen nothing of it.
fn is_usable<R: Clone + Send + Sync + 'static>(vertex: &Vertex<R>, inputs: &[EdgeRef<R>]) -> bool {
    let same = |(ours, theirs): (&EdgeRef<R>, &EdgeRef<R>)| Arc::ptr_eq(&ours.vertex, &theirs.vertex);
    !vertex.has_failed() && vertex.inputs.iter().zip(inputs).all(same)
}

/// What makes two vertices one piece of work: their digest, unless they or what they depend on are set
/// apart by more than that.
fn identity<R>(node: &Node<R>, memory: Option<Digest>, inputs: impl Iterator<Item = Digest>) -> Digest {
    let inputs: Vec<Digest> = inputs.collect();
    let plain = inputs.iter().eq(node.inputs.iter().map(|input| &input.vertex));
    if plain && !node.ignore_cache && node.scope.is_none() && memory.is_none() {
        return node.digest;
    }
    let mut hasher = Hasher::new();
    hasher.update(node.digest.as_bytes());
    hasher.update(&[u8::from(node.ignore_cache), u8::from(node.scope.is_some()), u8::from(memory.is_some())]);
    for scope in node.scope.iter().chain(&memory) {
        hasher.update(scope.as_bytes());
    }
    inputs.iter().for_each(|input| hasher.update(input.as_bytes()));
    hasher.finish()
}

impl<R> Drop for Job<R> {
    fn drop(&mut self) {
        let wanted = self.wanted.get_mut().unwrap_or_else(PoisonError::into_inner);
        wanted.vertices.iter().for_each(|vertex| vertex.progress.leave(self.id));
        wanted.vertices.clear();
        let mut active = self.shared.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.retain(|_, vertex| vertex.strong_count() > 0);
    }
}
