//! Work that is no operation of a graph, shown as a vertex beside those that are.

use std::sync::Arc;
use std::time::SystemTime;

use rbuild_oci::Digest;

use crate::{Event, Outcome, Reporter, Status, Vertex};

/// A vertex of work such as reading a Dockerfile or exporting a result; dropped before its end, the work counts as
/// canceled.
pub struct Track {
    reporter: Arc<dyn Reporter>,
    vertex: Digest,
    ended: bool,
}

impl Track {
    /// Shows that work called `name` begins.
    pub fn start(reporter: &Arc<dyn Reporter>, name: &str) -> Self {
        Self::start_as(reporter, name, name)
    }

    /// Shows that work called `name` begins, where other work has the same name: `id` tells them apart.
    pub fn start_as(reporter: &Arc<dyn Reporter>, id: &str, name: &str) -> Self {
        let vertex = Digest::of(id.as_bytes());
        reporter.report(Event::Vertex(Vertex { digest: vertex, name: name.to_owned(), inputs: Vec::new() }));
        reporter.report(Event::Started { vertex, at: SystemTime::now() });
        Self { reporter: reporter.clone(), vertex, ended: false }
    }

    /// Returns the vertex, for transfers that belong to it.
    pub fn vertex(&self) -> Digest {
        self.vertex
    }

    /// Shows a part of the work that is done at once.
    pub fn note(&self, id: impl Into<String>) {
        self.parts().note(id);
    }

    /// Returns what shows parts of this work, for those who do them.
    pub fn parts(&self) -> Parts {
        Parts { reporter: self.reporter.clone(), vertex: self.vertex }
    }

    /// Shows how the work ended, and hands its result on.
    pub fn end<T, E: std::fmt::Display>(mut self, result: Result<T, E>) -> Result<T, E> {
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

/// Shows parts of the work of one vertex.
#[derive(Clone)]
pub struct Parts {
    reporter: Arc<dyn Reporter>,
    vertex: Digest,
}

impl Parts {
    /// Returns the reporter.
    pub fn reporter(&self) -> &Arc<dyn Reporter> {
        &self.reporter
    }

    /// Returns the vertex.
    pub fn vertex(&self) -> Digest {
        self.vertex
    }

    /// Shows a part that is done at once.
    pub fn note(&self, id: impl Into<String>) {
        let now = SystemTime::now();
        self.reporter.report(Event::Status(Status {
            vertex: self.vertex,
            id: id.into(),
            current: 0,
            total: 0,
            started: now,
            completed: Some(now),
        }));
    }

    /// Shows that a part begins; it ends when the value returned is dropped.
    #[must_use = "the part ends when this is dropped"]
    pub fn begin(&self, id: impl Into<String>) -> Part {
        let part = Part {
            reporter: self.reporter.clone(),
            vertex: self.vertex,
            id: id.into(),
            started: SystemTime::now(),
            current: 0,
        };
        part.report(None);
        part
    }
}

/// A part of a vertex's work that goes on.
pub struct Part {
    reporter: Arc<dyn Reporter>,
    vertex: Digest,
    id: String,
    started: SystemTime,
    current: u64,
}

impl Part {
    /// Shows how many bytes are done.
    pub fn advance(&mut self, current: u64) {
        self.current = current;
        self.report(None);
    }

    fn report(&self, completed: Option<SystemTime>) {
        self.reporter.report(Event::Status(Status {
            vertex: self.vertex,
            id: self.id.clone(),
            current: self.current,
            total: 0,
            started: self.started,
            completed,
        }));
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.report(Some(SystemTime::now()));
    }
}
