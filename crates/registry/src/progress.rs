//! How far a transfer has come, told to a [`Reporter`] not more often than a person can see.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rbuild_events::{Event, Reporter, Status};
use rbuild_oci::Digest;

/// Time between two reports of one transfer.
const INTERVAL: Duration = Duration::from_millis(100);

/// Reports one transfer as a [`Status`] of a vertex.
pub struct Progress {
    reporter: Arc<dyn Reporter>,
    status: Status,
    reported: Option<Instant>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Progress").field(&self.status).finish()
    }
}

impl Progress {
    /// Returns the progress of the transfer `id` (usually its digest) within `vertex`.
    pub fn new(reporter: Arc<dyn Reporter>, vertex: Digest, id: impl Into<String>) -> Self {
        let id = id.into();
        let started = SystemTime::now();
        let status = Status { vertex, id, current: 0, total: 0, started, completed: None };
        Self { reporter, status, reported: None }
    }

    /// Returns a progress that nobody sees.
    pub fn silent() -> Self {
        Self::new(Arc::new(rbuild_events::Silent), Digest::from_bytes([0; 32]), "")
    }

    /// Tells the size of the whole.
    pub(crate) fn begin(&mut self, total: u64) {
        self.status.total = total;
        self.report();
    }

    /// Tells how much is there by now.
    pub(crate) fn reach(&mut self, current: u64) {
        self.status.current = current;
        if self.reported.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.report();
        }
    }

    /// Tells that the whole is there.
    pub(crate) fn complete(&mut self) {
        self.status.current = self.status.total;
        self.status.completed = Some(SystemTime::now());
        self.report();
    }

    fn report(&mut self) {
        self.reported = Some(Instant::now());
        self.reporter.report(Event::Status(self.status.clone()));
    }
}
