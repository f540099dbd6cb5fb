//! A vertex at work: its operation, where its inputs come from, and the answers already there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use futures::FutureExt;
use futures::future::BoxFuture;
use rbuild_events::{Outcome, Reporter};
use rbuild_oci::Digest;
use tokio::sync::Semaphore;

use crate::cache::{CacheError, CacheStorage};
use crate::context::Context;
use crate::drive::{self, Pending};
use crate::error::{SolveError, Task};
use crate::explain::Explanation;
use crate::graph::Node;
use crate::inquiry::Inquiry;
use crate::key::Known;
use crate::lock::Locks;
use crate::once::{Lost, Once, Tasks};
use crate::operation::{CacheMap, OperationError, ResultStore};
use crate::progress::Progress;
use crate::renewal::{Renewals, Renewed};

type Answer<T> = Result<T, SolveError>;

/// What all vertices of a solver share.
pub(crate) struct World<R> {
    pub(crate) cache: Arc<dyn CacheStorage>,
    pub(crate) results: Arc<dyn ResultStore<R>>,
    pub(crate) locks: Arc<Locks>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) running: Option<Arc<Semaphore>>,
    pub(crate) clock: fn() -> SystemTime,
    pub(crate) nonces: Arc<AtomicU64>,
    pub(crate) renewals: Arc<Renewals>,
}

impl<R> World<R> {
    /// Returns the same world with another memory.
    pub(crate) fn remembering(&self, cache: Arc<dyn CacheStorage>, results: Arc<dyn ResultStore<R>>) -> Self {
        Self {
            cache,
            results,
            locks: Arc::clone(&self.locks),
            tasks: Arc::clone(&self.tasks),
            running: self.running.clone(),
            clock: self.clock,
            nonces: Arc::clone(&self.nonces),
            renewals: Arc::clone(&self.renewals),
        }
    }

    /// Does what may wait for the disk or for other processes where waiting does no harm.
    pub(crate) async fn with_cache<T: Send + 'static>(
        &self,
        task: &'static str,
        work: impl FnOnce(&dyn CacheStorage) -> Result<T, CacheError> + Send + 'static,
    ) -> Answer<T> {
        let cache = Arc::clone(&self.cache);
        let done = tokio::task::spawn_blocking(move || work(&*cache)).await;
        Ok(done.map_err(|_| CacheError::Lost { task })??)
    }

    /// Returns bytes that no other call, in whatever process, returns.
    pub(crate) fn nonce(&self) -> Vec<u8> {
        let since = (self.clock)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let count = self.nonces.fetch_add(1, Ordering::Relaxed);
        let parts = [since.as_nanos(), u128::from(std::process::id()), u128::from(count)];
        parts.iter().flat_map(|part| part.to_be_bytes()).collect()
    }
}

/// A vertex that some job wants.
pub(crate) struct Vertex<R> {
    pub(crate) world: Arc<World<R>>,
    pub(crate) node: Node<R>,
    pub(crate) inputs: Vec<EdgeRef<R>>,
    pub(crate) progress: Arc<Progress>,
    /// What its run returned: the lock is held while it runs.
    pub(crate) ran: tokio::sync::Mutex<Option<Vec<Valued<R>>>>,
    /// The names of its outputs, if it was done anew.
    pub(crate) renewed: OnceLock<Renewed>,
    /// What it resolved itself to, if it is a source that says so.
    pub(crate) pin: OnceLock<String>,
    cache_map: Once<Answer<Arc<CacheMap>>>,
    contents: Vec<Once<Answer<Option<Digest>>>>,
    edges: Mutex<BTreeMap<u32, Arc<EdgeState<R>>>>,
    held: Mutex<Held>,
    failed: AtomicBool,
}

/// Questions whose answers could no longer find a key, but which an edge's value will need: held so
/// that the work begun for them is not given up and begun anew. As that work holds on to the
/// vertex in turn, somebody must let go of it: the last call of [`Job::solve`](crate::Job::solve) that
/// is interested in the vertex does.
#[derive(Default)]
struct Held {
    interested: usize,
    pending: BTreeMap<u32, Pending>,
}

/// A value and all the keys it is known by.
#[derive(Clone)]
pub(crate) struct Valued<R> {
    pub(crate) value: R,
    pub(crate) keys: Arc<[Known]>,
}

/// The three questions about an edge.
struct EdgeState<R> {
    fast: Once<Answer<Arc<Inquiry>>>,
    slow: Once<Answer<Arc<Inquiry>>>,
    value: Once<Answer<Valued<R>>>,
    explanation: Mutex<Option<Explanation>>,
}

impl<R: Clone + Send + Sync + 'static> Vertex<R> {
    pub(crate) fn new(world: Arc<World<R>>, node: Node<R>, inputs: Vec<EdgeRef<R>>, progress: Progress) -> Self {
        Self {
            contents: inputs.iter().map(|_| Once::default()).collect(),
            world,
            node,
            inputs,
            progress: Arc::new(progress),
            ran: tokio::sync::Mutex::default(),
            renewed: OnceLock::new(),
            pin: OnceLock::new(),
            cache_map: Once::default(),
            edges: Mutex::default(),
            held: Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// Returns the surroundings of one call of the operation.
    pub(crate) fn context(&self) -> Context {
        let reporter: Arc<dyn Reporter> = Arc::<Progress>::clone(&self.progress);
        Context::new(self.node.digest, &self.node.name, reporter, self.world.clock)
    }

    /// Asks for the cache map.
    pub(crate) fn cache_map(self: &Arc<Self>) -> BoxFuture<'static, Answer<Arc<CacheMap>>> {
        let asked = self.cache_map.get(&self.world.tasks, || drive::cache_map(Arc::clone(self)));
        let vertex = Arc::clone(self);
        async move { vertex.settle(asked.await) }.boxed()
    }

    /// Asks for the content key of an input.
    pub(crate) fn content(self: &Arc<Self>, index: usize) -> BoxFuture<'static, Answer<Option<Digest>>> {
        let asked = self.contents[index].get(&self.world.tasks, || drive::content(Arc::clone(self), index));
        let vertex = Arc::clone(self);
        async move { vertex.settle(asked.await) }.boxed()
    }

    /// Whether some question about it had no good answer.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Turns an operation's error into one of ours, and tells the jobs of it.
    pub(crate) fn failure(&self, task: Task, source: OperationError) -> SolveError {
        self.fail(SolveError::operation(self.node.digest, &self.node.name, task, source))
    }

    /// Tells the jobs that the vertex failed.
    pub(crate) fn fail(&self, error: SolveError) -> SolveError {
        self.failed.store(true, Ordering::Relaxed);
        self.progress.complete(Outcome::Failed(error.own_words()));
        error
    }

    fn settle<T>(&self, answer: Result<Answer<T>, Lost>) -> Answer<T> {
        let lost = |Lost(message)| {
            self.fail(SolveError::Lost { vertex: self.node.digest, name: self.node.name.clone(), message })
        };
        let answer = answer.map_err(lost)?;
        if answer.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Notes that one more is interested in the vertex.
    pub(crate) fn gain_interest(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).interested += 1;
    }

    /// Notes that one less is interested; the last lets go of what is held.
    pub(crate) fn lose_interest(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.interested -= 1;
        if held.interested == 0 {
            let pending = std::mem::take(&mut held.pending);
            drop(held);
            drop(pending);
        }
    }

    /// Says of all that the vertex depends on, as far as it is not worked on, that it needed no work.
    pub(crate) fn inputs_were_cached(&self) {
        let mut order: Vec<&Self> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut stack: Vec<(&Self, usize)> = vec![(self, 0)];
        while let Some((vertex, next)) = stack.pop() {
            match vertex.inputs.get(next) {
                Some(input) => {
                    stack.push((vertex, next + 1));
                    if !input.vertex.progress.is_complete() && seen.insert(input.vertex.node.digest) {
                        stack.push((&input.vertex, 0));
                    }
                }
                None => order.push(vertex),
            }
        }
        order.pop();
        order.iter().for_each(|vertex| vertex.progress.cached());
    }

    /// Returns how the answers about its outputs came about.
    pub(crate) fn explanations(&self) -> Vec<Explanation> {
        let edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        let explained =
            |edge: &Arc<EdgeState<R>>| edge.explanation.lock().unwrap_or_else(PoisonError::into_inner).clone();
        edges.values().filter_map(explained).collect()
    }
}

impl<R> Drop for Vertex<R> {
    /// Takes a long chain apart link by link rather than by recursion.
    fn drop(&mut self) {
        let mut inputs = std::mem::take(&mut self.inputs);
        while let Some(input) = inputs.pop() {
            if let Some(mut vertex) = Arc::into_inner(input.vertex) {
                inputs.append(&mut vertex.inputs);
            }
        }
    }
}

/// One output of a vertex at work.
pub(crate) struct EdgeRef<R> {
    pub(crate) vertex: Arc<Vertex<R>>,
    pub(crate) output: u32,
}

impl<R> Clone for EdgeRef<R> {
    fn clone(&self) -> Self {
        Self { vertex: Arc::clone(&self.vertex), output: self.output }
    }
}

impl<R: Clone + Send + Sync + 'static> EdgeRef<R> {
    fn state(&self) -> Arc<EdgeState<R>> {
        let mut edges = self.vertex.edges.lock().unwrap_or_else(PoisonError::into_inner);
        let state = edges.entry(self.output).or_insert_with(|| {
            Arc::new(EdgeState {
                fast: Once::default(),
                slow: Once::default(),
                value: Once::default(),
                explanation: Mutex::default(),
            })
        });
        Arc::clone(state)
    }

    /// Asks what keys the edge has by definition.
    pub(crate) fn fast(&self) -> BoxFuture<'static, Answer<Arc<Inquiry>>> {
        let asked = self.state().fast.get(&self.vertex.world.tasks, || drive::fast_keys(self.clone()));
        let vertex = Arc::clone(&self.vertex);
        async move { vertex.settle(asked.await) }.boxed()
    }

    /// Asks what keys the edge has by contents of its inputs.
    pub(crate) fn slow(&self) -> BoxFuture<'static, Answer<Arc<Inquiry>>> {
        let asked = self.state().slow.get(&self.vertex.world.tasks, || drive::slow_keys(self.clone()));
        let vertex = Arc::clone(&self.vertex);
        async move { vertex.settle(asked.await) }.boxed()
    }

    /// Asks for the value.
    pub(crate) fn value(&self) -> BoxFuture<'static, Answer<Valued<R>>> {
        let asked = self.state().value.get(&self.vertex.world.tasks, || drive::value(self.clone()));
        let vertex = Arc::clone(&self.vertex);
        async move { vertex.settle(asked.await) }.boxed()
    }

    /// Holds questions until the value is asked for.
    pub(crate) fn hold(&self, pending: Pending) {
        let mut held = self.vertex.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.interested > 0 && !pending.is_empty() {
            held.pending.insert(self.output, pending);
        }
    }

    /// Returns the questions held.
    pub(crate) fn take_held(&self) -> Option<Pending> {
        self.vertex.held.lock().unwrap_or_else(PoisonError::into_inner).pending.remove(&self.output)
    }

    pub(crate) fn explain(&self, explanation: Explanation) {
        *self.state().explanation.lock().unwrap_or_else(PoisonError::into_inner) = Some(explanation);
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures::future;
    use rbuild_events as events;

    use super::*;
    use crate::cache::MemoryCache;
    use crate::operation::{Operation, Saved};

    struct Nothing;

    #[async_trait]
    impl Operation<()> for Nothing {
        async fn cache_map(&self, _: &Context) -> Result<CacheMap, OperationError> {
            Ok(CacheMap::source(Digest::of(b"nothing")))
        }

        async fn content_key(&self, _: &Context, _: usize, _: &()) -> Result<Option<Digest>, OperationError> {
            Ok(None)
        }

        async fn run(&self, _: &Context, _: Vec<()>) -> Result<Vec<()>, OperationError> {
            Ok(vec![()])
        }
    }

    #[async_trait]
    impl ResultStore<()> for Nothing {
        async fn save(&self, _: &()) -> Result<Saved, OperationError> {
            Ok(Saved::default())
        }

        async fn load(&self, _: &[u8]) -> Result<Option<()>, OperationError> {
            Ok(None)
        }
    }

    fn edge() -> EdgeRef<()> {
        let world = World {
            cache: Arc::new(MemoryCache::new()),
            results: Arc::new(Nothing) as Arc<dyn ResultStore<()>>,
            locks: Arc::new(Locks::private()),
            tasks: Arc::default(),
            running: None,
            clock: SystemTime::now,
            nonces: Arc::default(),
            renewals: Arc::default(),
        };
        let digest = Digest::of(b"vertex");
        let name = "vertex".to_owned();
        let shown = events::Vertex { digest, name: name.clone(), inputs: Vec::new() };
        let node =
            Node { digest, name, inputs: Vec::new(), ignore_cache: false, scope: None, operation: Arc::new(Nothing) };
        let vertex = Vertex::new(Arc::new(world), node, Vec::new(), Progress::new(shown, SystemTime::now));
        EdgeRef { vertex: Arc::new(vertex), output: 0 }
    }

    /// Returns a question that holds on to the vertex, as real ones do.
    fn question(edge: &EdgeRef<()>) -> Pending {
        let owned = edge.clone();
        let pending = Pending::new();
        pending.push(Box::pin(async move {
            let _owned = owned;
            future::pending().await
        }));
        pending
    }

    #[test]
    fn questions_are_held_while_somebody_is_interested() {
        let edge = edge();
        edge.vertex.gain_interest();
        edge.vertex.gain_interest();
        edge.hold(question(&edge));
        edge.vertex.lose_interest();
        assert_eq!(Arc::strong_count(&edge.vertex), 2);
        edge.vertex.lose_interest();
        assert_eq!(Arc::strong_count(&edge.vertex), 1, "the last one let go");
        edge.hold(question(&edge));
        assert_eq!(Arc::strong_count(&edge.vertex), 1, "too late to be held");
        edge.vertex.gain_interest();
        edge.hold(question(&edge));
        assert_eq!(edge.take_held().map(|pending| pending.len()), Some(1));
        assert!(edge.take_held().is_none());
    }
}
