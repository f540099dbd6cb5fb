//! The mechanism: asks what [`next_probe`] says, until a question is answered.
//!
//! Each function here is the body of one memoised question and runs on a task of its own, so that a
//! deep graph needs no deep stack, and dropping whoever waits ends all that was begun for them.

use std::sync::Arc;

use futures::future::{self, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, TryFutureExt};
use rbuild_oci::Digest;

use crate::cache::{Change, Others};
use crate::error::{SolveError, Task};
use crate::explain::{ExplainedInput, Explanation, Miss, Verdict};
use crate::inquiry::{Answer, Inquiry};
use crate::key::{Key, Known};
use crate::operation::CacheMap;
use crate::probe::{Found, Goal, Probe, Question, next_probe};
use crate::run::{self, Attempt};
use crate::vertex::{EdgeRef, Valued, Vertex};

/// Asks the operation for its cache map.
pub(crate) async fn cache_map<R>(vertex: Arc<Vertex<R>>) -> Result<Arc<CacheMap>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    // Resolving a source is work that people like to see; describing oneself is not.
    let working = vertex.inputs.is_empty().then(|| vertex.progress.work());
    let context = vertex.context();
    let guard = context.guard();
    let map = vertex.node.operation.cache_map(&context).await;
    guard.finished();
    let map = map.map_err(|error| vertex.failure(Task::CacheMap, error))?;
    if let Some(working) = working {
        working.rest();
    }
    if map.inputs.len() != vertex.inputs.len() {
        return Err(vertex.fail(SolveError::InputCount {
            vertex: vertex.node.digest,
            name: vertex.node.name.clone(),
            inputs: vertex.inputs.len(),
            described: map.inputs.len(),
        }));
    }
    if let Some(pin) = &map.pin {
        // Asked once more after it was given up, it may say the same again.
        let _ = vertex.pin.set(pin.clone());
    }
    Ok(Arc::new(map))
}

/// Asks the operation for the content key of an input, whose value is computed for it.
pub(crate) async fn content<R>(vertex: Arc<Vertex<R>>, index: usize) -> Result<Option<Digest>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let input = vertex.inputs[index].value().await?;
    let working = vertex.progress.work();
    let context = vertex.context();
    let guard = context.guard();
    let key = vertex.node.operation.content_key(&context, index, &input.value).await;
    guard.finished();
    let key = key.map_err(|error| vertex.failure(Task::ContentKey, error))?;
    working.rest();
    Ok(key)
}

/// Finds the keys of an edge that follow from definitions.
pub(crate) async fn fast_keys<R>(edge: EdgeRef<R>) -> Result<Arc<Inquiry>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let map = edge.vertex.cache_map().await?;
    let mut inquiry = Inquiry::new(map, edge.output, edge.vertex.node.ignore_cache);
    advance(&edge, Goal::FastKeys, &mut inquiry, &mut Pending::new()).await?;
    settle_keys(&edge, &inquiry).await?;
    Ok(Arc::new(inquiry))
}

/// Finds the keys of an edge, looking at contents of its inputs if need be.
pub(crate) async fn slow_keys<R>(edge: EdgeRef<R>) -> Result<Arc<Inquiry>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let mut inquiry = Inquiry::clone(&*edge.fast().await?);
    let mut pending = Pending::new();
    if inquiry.found.is_empty() {
        advance(&edge, Goal::SlowKeys, &mut inquiry, &mut pending).await?;
        settle_keys(&edge, &inquiry).await?;
    }
    if inquiry.found.is_empty() {
        edge.hold(pending);
    }
    Ok(Arc::new(inquiry))
}

async fn settle_keys<R>(edge: &EdgeRef<R>, inquiry: &Inquiry) -> Result<(), SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    remember_ways(edge, inquiry).await?;
    let found: Vec<Key> = inquiry.found.iter().map(|known| known.key).collect();
    let verdict = if found.is_empty() { Verdict::Unknown } else { Verdict::Known(found) };
    explain(edge, inquiry, &inquiry.found, verdict);
    Ok(())
}

/// Finds or makes the value of an edge.
pub(crate) async fn value<R>(edge: EdgeRef<R>) -> Result<Valued<R>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let mut inquiry = Inquiry::clone(&*edge.slow().await?);
    let mut pending = edge.take_held().unwrap_or_else(|| {
        inquiry.take_back();
        Pending::new()
    });
    loop {
        if advance(&edge, Goal::Value, &mut inquiry, &mut pending).await? == Probe::Load {
            if let Some(value) = load(&edge, &mut inquiry).await? {
                return Ok(value);
            }
        } else {
            let miss = miss(&inquiry);
            if let Attempt::Made(value) = run::attempt(&edge, &mut inquiry).await? {
                explain(&edge, &inquiry, &value.keys, Verdict::Made(miss));
                return Ok(value);
            }
        }
    }
}

/// Questions asked and not answered yet. Dropping one gives it up.
pub(crate) type Pending = FuturesUnordered<BoxFuture<'static, Result<Answer, SolveError>>>;

/// Asks questions until what is to be done is something else: loading, running or nothing.
async fn advance<R>(
    edge: &EdgeRef<R>,
    goal: Goal,
    inquiry: &mut Inquiry,
    pending: &mut Pending,
) -> Result<Probe, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    inquiry.look_up(&*edge.vertex.world.cache, goal)?;
    loop {
        let probe = next_probe(&inquiry.view(goal));
        match &probe {
            Probe::Ask(questions) => {
                for (index, question) in questions {
                    inquiry.ask(*index, *question);
                    pending.push(ask(edge, *index, *question));
                }
                inquiry.probes.push(probe);
            }
            Probe::Wait => {
                let answer = pending.next().await.expect("only an open question is waited for");
                inquiry.answer(&answer?);
                // What else has been answered meanwhile needs no look-up of its own.
                while let Some(Some(answer)) = pending.next().now_or_never() {
                    inquiry.answer(&answer?);
                }
                inquiry.look_up(&*edge.vertex.world.cache, goal)?;
            }
            Probe::Load | Probe::Run => {
                inquiry.probes.push(probe.clone());
                return Ok(probe);
            }
            Probe::Done => return Ok(probe),
        }
    }
}

/// Asks an input.
fn ask<R>(edge: &EdgeRef<R>, index: usize, question: Question) -> BoxFuture<'static, Result<Answer, SolveError>>
where
    R: Clone + Send + Sync + 'static,
{
    let input = &edge.vertex.inputs[index];
    let answer = move |keys: &[Known], content| Answer { index, question, keys: keys.to_vec(), content };
    match question {
        Question::FastKeys => input.fast().map_ok(move |inquiry| answer(&inquiry.found, None)).boxed(),
        Question::SlowKeys => input.slow().map_ok(move |inquiry| answer(&inquiry.found, None)).boxed(),
        Question::Value => input.value().map_ok(move |value| answer(&value.keys, None)).boxed(),
        Question::Content => {
            let both = future::try_join(edge.vertex.content(index), input.value());
            both.map_ok(move |(content, value)| answer(&value.keys, content)).boxed()
        }
    }
}

/// Loads the record found; none if it stands for something that is gone.
async fn load<R>(edge: &EdgeRef<R>, inquiry: &mut Inquiry) -> Result<Option<Valued<R>>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let vertex = &edge.vertex;
    let Some((key, result)) = inquiry.record.take() else { return Ok(None) };
    let value = vertex.world.results.load(&result).await.map_err(|error| vertex.failure(Task::Load, error))?;
    let Some(value) = value else {
        vertex.world.with_cache("forgetting a record", move |cache| cache.forget(&key, &result)).await?;
        return Ok(None);
    };
    remember_ways(edge, inquiry).await?;
    explain(edge, inquiry, &inquiry.found, Verdict::Loaded(key));
    vertex.inputs_were_cached();
    vertex.progress.cached();
    Ok(Some(Valued { value, keys: inquiry.found.as_slice().into() }))
}

/// Writes the links by which what was found will be found sooner next time.
async fn remember_ways<R>(edge: &EdgeRef<R>, inquiry: &Inquiry) -> Result<(), SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let targets = inquiry.found.iter().filter(|known| known.is_stored());
    let links: Vec<_> = targets.flat_map(|known| inquiry.links_to(known.key, edge.output)).collect();
    if links.is_empty() {
        return Ok(());
    }
    let world = &edge.vertex.world;
    let origins = inquiry.content_origins().collect();
    let change = Change { origins, links, others: Others::Keep, records: Vec::new(), at: (world.clock)() };
    world.with_cache("writing links", move |cache| cache.commit(&change)).await?;
    Ok(())
}

/// Says why the edge was not found.
fn miss(inquiry: &Inquiry) -> Miss {
    let view = inquiry.view(Goal::Value);
    let indexed = view.inputs.iter().enumerate();
    let unmatched: Vec<_> = indexed.filter(|(_, input)| !input.matched).map(|(index, _)| index).collect();
    match view.found {
        _ if view.ignore_cache => Miss::Ignored,
        _ if view.inputs.is_empty() => Miss::Unseen,
        Found::Key | Found::Record => Miss::RecordGone(inquiry.found.iter().map(|known| known.key).collect()),
        Found::Nothing if unmatched.is_empty() => Miss::NeverTogether,
        Found::Nothing => Miss::InputsChanged(unmatched),
    }
}

fn explain<R>(edge: &EdgeRef<R>, inquiry: &Inquiry, keys: &[Known], verdict: Verdict)
where
    R: Clone + Send + Sync + 'static,
{
    let described = inquiry.inputs.iter().zip(&inquiry.map.inputs);
    let inputs = edge.vertex.inputs.iter().zip(described).map(|(from, (input, map))| ExplainedInput {
        vertex: from.vertex.node.digest,
        output: from.output,
        selector: map.selector,
        alternatives: input.alternatives.clone(),
    });
    edge.explain(Explanation {
        vertex: edge.vertex.node.digest,
        name: edge.vertex.node.name.clone(),
        output: edge.output,
        operation: inquiry.map.key,
        probes: inquiry.probes.clone(),
        inputs: inputs.collect(),
        keys: keys.to_vec(),
        verdict,
    });
}
