//! Running an operation, at most once for each application to the same inputs.

use std::sync::Arc;
use std::time::SystemTime;

use futures::future::try_join_all;
use rbuild_events::{Event, Outcome, Reporter, Status};

use crate::cache::{Change, NewRecord, Others};
use crate::context::Context;
use crate::error::{SolveError, Task};
use crate::inquiry::Inquiry;
use crate::key::{Derivation, Known};
use crate::lock::Locked;
use crate::operation::{Lifetime, Saved};
use crate::probe::Goal;
use crate::progress::Working;
use crate::vertex::{EdgeRef, Valued, Vertex};

/// How an attempt to run ended.
pub(crate) enum Attempt<R> {
    /// The value is there.
    Made(Valued<R>),
    /// While waiting for the right to run, somebody else's result was found.
    Found,
}

/// Runs the edge's operation unless somebody else does, or has done.
pub(crate) async fn attempt<R>(edge: &EdgeRef<R>, inquiry: &mut Inquiry) -> Result<Attempt<R>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let vertex = &edge.vertex;
    // Within a vertex first: another of its outputs may be wanted at the same time.
    let mut ran = vertex.ran.lock().await;
    if let Some(outputs) = &*ran {
        return pick(edge, outputs).map(Attempt::Made);
    }
    let derivation = inquiry.derivation();
    let mut locked = None;
    if derivation.lifetime() == Lifetime::Stored && !inquiry.ignore_cache {
        locked = Some(acquire(vertex, derivation).await?);
        // Between our last look and the lock another may have done the work.
        inquiry.look_up(&*vertex.world.cache, Goal::Value)?;
        if inquiry.record.is_some() {
            return Ok(Attempt::Found);
        }
    }
    let outputs = run(vertex).await?;
    let outputs = keep(vertex, inquiry, derivation, outputs, locked).await?;
    vertex.progress.complete(Outcome::Done);
    let outputs = ran.insert(outputs);
    pick(edge, outputs).map(Attempt::Made)
}

fn pick<R>(edge: &EdgeRef<R>, outputs: &[Valued<R>]) -> Result<Valued<R>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let output = usize::try_from(edge.output).ok().and_then(|output| outputs.get(output));
    output.cloned().ok_or_else(|| {
        edge.vertex.fail(SolveError::MissingOutput {
            vertex: edge.vertex.node.digest,
            name: edge.vertex.node.name.clone(),
            output: edge.output,
            outputs: outputs.len(),
        })
    })
}

async fn acquire<R>(vertex: &Arc<Vertex<R>>, derivation: Derivation) -> Result<Locked, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let mut waiting = None;
    let wait = || waiting = Some(Waiting::begin(vertex.context(), vertex.progress.work()));
    vertex.world.locks.acquire(&derivation.digest(), wait).await.map_err(|error| vertex.fail(error))
}

/// Shows that the step is being run by another process.
struct Waiting {
    context: Context,
    started: SystemTime,
    _working: Working,
}

impl Waiting {
    fn begin(context: Context, working: Working) -> Self {
        let waiting = Self { started: context.now(), context, _working: working };
        waiting.report(None);
        waiting
    }

    fn report(&self, completed: Option<SystemTime>) {
        self.context.report(Event::Status(Status {
            vertex: self.context.vertex(),
            id: "waiting for another build that runs this step".to_owned(),
            current: 0,
            total: 0,
            started: self.started,
            completed,
        }));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.report(Some(self.context.now()));
    }
}

async fn run<R>(vertex: &Arc<Vertex<R>>) -> Result<Vec<R>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let inputs = try_join_all(vertex.inputs.iter().map(EdgeRef::value)).await?;
    let _permit = match &vertex.world.running {
        Some(running) if !vertex.node.operation.only_waits() => {
            Some(running.acquire().await.expect("the semaphore is never closed"))
        }
        _ => None,
    };
    let _working = vertex.progress.work();
    let context = vertex.context();
    let guard = context.guard();
    let inputs = inputs.into_iter().map(|input| input.value).collect();
    let outputs = vertex.node.operation.run(&context, inputs).await;
    guard.finished();
    outputs.map_err(|error| vertex.failure(Task::Run, error))
}

/// Records what a run made. Goes on even if nobody waits any more: the work is done, it would be
/// a pity to lose it.
async fn keep<R>(
    vertex: &Arc<Vertex<R>>,
    inquiry: &Inquiry,
    derivation: Derivation,
    outputs: Vec<R>,
    locked: Option<Locked>,
) -> Result<Vec<Valued<R>>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let (owner, inquiry) = (Arc::clone(vertex), inquiry.clone());
    let keeping = vertex.world.tasks.spawn(async move {
        let _locked = locked;
        record(&owner, &inquiry, derivation, outputs).await
    });
    let lost = |error: tokio::task::JoinError| {
        let message = format!("keeping its result: {error}");
        vertex.fail(SolveError::Lost { vertex: vertex.node.digest, name: vertex.node.name.clone(), message })
    };
    keeping.await.map_err(lost)?
}

async fn record<R>(
    vertex: &Arc<Vertex<R>>,
    inquiry: &Inquiry,
    derivation: Derivation,
    outputs: Vec<R>,
) -> Result<Vec<Valued<R>>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let world = &vertex.world;
    let is_stored = derivation.lifetime() == Lifetime::Stored;
    let saved = if is_stored { save(vertex, &outputs).await? } else { Vec::new() };
    let renewed = inquiry.ignore_cache && !inquiry.inputs.is_empty();
    let _naming = if renewed { Some(world.renewals.naming().await) } else { None };
    let count = u32::try_from(outputs.len()).unwrap_or(u32::MAX);
    let names = if renewed {
        let derivation = derivation.renewed(&world.nonce());
        inquiry.rename_outputs(&*world.cache, derivation, count, |key| world.renewals.contains(key))?
    } else {
        inquiry.name_outputs(&*world.cache, derivation, count)?
    };
    if renewed {
        vertex.renewed.get_or_init(|| world.renewals.note(&names));
    }
    if is_stored {
        let record = |(name, saved): (&Known, Saved)| {
            let description = vertex.node.name.clone();
            NewRecord { key: name.key, result: saved.result, size: saved.size, description }
        };
        let records = names.iter().zip(saved).map(record).collect();
        let links = (0..).zip(&names).flat_map(|(output, name)| inquiry.links_to(name.key, output)).collect();
        let others = if renewed { Others::Replace } else { Others::Keep };
        let change = Change { origins: inquiry.origins(&names), links, others, records, at: (world.clock)() };
        world.with_cache("writing a result", move |cache| cache.commit(&change)).await?;
    }
    let valued = |(value, name): (R, Known)| Valued { value, keys: [name].into() };
    Ok(outputs.into_iter().zip(names).map(valued).collect())
}

async fn save<R>(vertex: &Arc<Vertex<R>>, outputs: &[R]) -> Result<Vec<Saved>, SolveError>
where
    R: Clone + Send + Sync + 'static,
{
    let mut all = Vec::with_capacity(outputs.len());
    for value in outputs {
        all.push(vertex.world.results.save(value).await.map_err(|error| vertex.failure(Task::Save, error))?);
    }
    Ok(all)
}
