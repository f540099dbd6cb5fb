//! What an operation is given beside its inputs: whom to tell about progress, and whether anyone
//! still waits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use rbuild_events::{Event, Reporter, Stream, Warning};
use rbuild_oci::Digest;

/// The surroundings of one call of an operation.
#[derive(Clone)]
pub struct Context {
    vertex: Digest,
    name: Arc<str>,
    reporter: Arc<dyn Reporter>,
    clock: fn() -> SystemTime,
    canceled: Arc<AtomicBool>,
}

impl Context {
    /// Returns the surroundings of work on `vertex`.
    pub fn new(vertex: Digest, name: &str, reporter: Arc<dyn Reporter>, clock: fn() -> SystemTime) -> Self {
        Self { vertex, name: name.into(), reporter, clock, canceled: Arc::default() }
    }

    /// Returns the digest of the vertex worked on: the one to put into events.
    pub fn vertex(&self) -> Digest {
        self.vertex
    }

    /// Returns what the vertex is called before people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the time, by the clock of the solver.
    pub fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// Returns whom to tell about progress; all jobs that want the vertex hear of it.
    pub fn reporter(&self) -> &Arc<dyn Reporter> {
        &self.reporter
    }

    /// Reports bytes that the work wrote.
    pub fn log(&self, stream: Stream, data: Vec<u8>) {
        self.reporter.report(Event::Log { vertex: self.vertex, stream, data, at: self.now() });
    }

    /// Reports a warning of one line.
    pub fn warn(&self, short: impl Into<String>) {
        self.reporter.report(Event::Warning(Warning {
            vertex: self.vertex,
            short: short.into(),
            detail: Vec::new(),
            url: String::new(),
            source: None,
        }));
    }

    /// Returns whether the work is no longer wanted.
    ///
    /// Futures need not ask, they are dropped; this is for threads that a future left behind.
    pub fn is_canceled(&self) -> bool {
        self.canceled.load(Ordering::Relaxed)
    }

    /// Returns the flag behind [`Self::is_canceled`], for code that knows no context.
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.canceled)
    }

    /// Returns a guard that sets the flag when dropped, unless it is told that all went well.
    pub(crate) fn guard(&self) -> CancelGuard {
        CancelGuard(Some(self.cancel_flag()))
    }
}

impl Reporter for Context {
    fn report(&self, event: Event) {
        self.reporter.report(event);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("vertex", &self.vertex).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Says "canceled" when dropped early.
pub(crate) struct CancelGuard(Option<Arc<AtomicBool>>);

impl CancelGuard {
    /// The work ended by itself.
    pub(crate) fn finished(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if let Some(flag) = &self.0 {
            flag.store(true, Ordering::Relaxed);
        }
    }
}
