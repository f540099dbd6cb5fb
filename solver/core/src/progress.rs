//! What the jobs that want a vertex are told of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rbuild_events::{Event, Outcome, Reporter, Vertex};

/// Tells all jobs that want a vertex how it fares, each what it has missed when it joins.
pub(crate) struct Progress {
    vertex: Vertex,
    clock: fn() -> SystemTime,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    started: Option<SystemTime>,
    working: usize,
    completed: Option<(SystemTime, Outcome)>,
    listeners: Vec<(u64, Arc<dyn Reporter>)>,
}

impl Progress {
    pub(crate) fn new(vertex: Vertex, clock: fn() -> SystemTime) -> Self {
        Self { vertex, clock, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a job listen, if it does not yet.
    pub(crate) fn join(&self, job: u64, reporter: Arc<dyn Reporter>) {
        let mut state = self.state();
        if state.listeners.iter().any(|(other, _)| *other == job) {
            return;
        }
        reporter.report(Event::Vertex(self.vertex.clone()));
        if let Some(at) = state.started {
            reporter.report(Event::Started { vertex: self.vertex.digest, at });
        }
        if let Some((at, outcome)) = state.completed.clone() {
            reporter.report(Event::Completed { vertex: self.vertex.digest, at, outcome });
        }
        state.listeners.push((job, reporter));
    }

    /// Ends a job's listening; what it has seen begin has ended for it.
    pub(crate) fn leave(&self, job: u64) {
        let mut state = self.state();
        let Some(index) = state.listeners.iter().position(|(other, _)| *other == job) else { return };
        let (_, reporter) = state.listeners.remove(index);
        if state.started.is_some() && state.completed.is_none() {
            let (vertex, at) = (self.vertex.digest, (self.clock)());
            reporter.report(Event::Completed { vertex, at, outcome: Outcome::Canceled });
        }
    }

    /// Says that work begins; it lasts until the value returned is dropped.
    pub(crate) fn work(self: &Arc<Self>) -> Working {
        let mut state = self.state();
        state.working += 1;
        if state.started.is_none() || state.completed.is_some() {
            state.start(&self.vertex, (self.clock)());
        }
        Working(Arc::clone(self))
    }

    /// Says how all work on the vertex ended.
    pub(crate) fn complete(&self, outcome: Outcome) {
        let mut state = self.state();
        if state.completed.is_none() {
            state.complete(&self.vertex, (self.clock)(), outcome);
        }
    }

    /// Says that the vertex needed no work, unless it is worked on or has ended otherwise.
    pub(crate) fn cached(&self) {
        let mut state = self.state();
        if state.completed.is_none() && state.working == 0 {
            state.complete(&self.vertex, (self.clock)(), Outcome::Cached);
        }
    }

    /// Returns whether all work on the vertex has ended.
    pub(crate) fn is_complete(&self) -> bool {
        self.state().completed.is_some()
    }
}

impl State {
    fn start(&mut self, vertex: &Vertex, at: SystemTime) {
        self.started = Some(at);
        self.completed = None;
        self.tell(&Event::Started { vertex: vertex.digest, at });
    }

    fn pause(&mut self, vertex: &Vertex, at: SystemTime) {
        if let Some(started) = self.started.take() {
            self.tell(&Event::Paused { vertex: vertex.digest, started, at });
        }
    }

    fn complete(&mut self, vertex: &Vertex, at: SystemTime, outcome: Outcome) {
        if self.started.is_none() {
            self.start(vertex, at);
        }
        self.completed = Some((at, outcome.clone()));
        self.tell(&Event::Completed { vertex: vertex.digest, at, outcome });
    }

    fn tell(&self, event: &Event) {
        for (_, reporter) in &self.listeners {
            reporter.report(event.clone());
        }
    }
}

impl Reporter for Progress {
    fn report(&self, event: Event) {
        self.state().tell(&event);
    }
}

/// Work under way.
pub(crate) struct Working(Arc<Progress>);

impl Working {
    /// Says that this part of the work is done, but not all: others have to come first, perhaps for long.
    pub(crate) fn rest(self) {
        let mut state = self.0.state();
        if state.working == 1 && state.completed.is_none() {
            state.pause(&self.0.vertex, (self.0.clock)());
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.state().working -= 1;
    }
}
