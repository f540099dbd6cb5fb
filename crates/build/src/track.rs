//! Work of the builder itself, shown as vertices beside those of the graph.

use std::sync::Arc;
use std::time::SystemTime;

use rbuild_events::{Event, Outcome, Reporter, Status, Vertex};
use rbuild_oci::Digest;

/// A vertex of the builder's own work.
pub(crate) struct Track {
    reporter: Arc<dyn Reporter>,
    vertex: Digest,
    ended: bool,
}

impl Track {
    /// Shows that work called `name` begins.
    pub(crate) fn start(reporter: &Arc<dyn Reporter>, name: &str) -> Self {
        let vertex = Digest::of(name.as_bytes());
        reporter.report(Event::Vertex(Vertex { digest: vertex, name: name.to_owned(), inputs: Vec::new() }));
        reporter.report(Event::Started { vertex, at: SystemTime::now() });
        Self { reporter: reporter.clone(), vertex, ended: false }
    }

    /// Returns the vertex, for transfers that belong to it.
    pub(crate) fn vertex(&self) -> Digest {
        self.vertex
    }

    /// Shows a part of the work that is done at once.
    pub(crate) fn note(&self, id: impl Into<String>) {
        let now = SystemTime::now();
        let (vertex, id) = (self.vertex, id.into());
        self.reporter.report(Event::Status(Status {
            vertex,
            id,
            current: 0,
            total: 0,
            started: now,
            completed: Some(now),
        }));
    }

    /// Shows how the work ended, and hands its result on.
    pub(crate) fn end<T, E: std::fmt::Display>(mut self, result: Result<T, E>) -> Result<T, E> {
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        self.complete(outcome);
        result
    }

    fn complete(&mut self, outcome: Outcome) {
        self.ended = true;
        self.reporter.report(Event::Completed { vertex: self.vertex, at: SystemTime::now(), outcome });
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        if !self.ended {
            self.complete(Outcome::Canceled);
        }
    }
}
