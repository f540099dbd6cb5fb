//! Work on a cache, shown as a vertex beside those of the graph.

use std::sync::Arc;
use std::time::SystemTime;

use rbuild_events::{Event, Outcome, Reporter, Status, Vertex, Warning};
use rbuild_oci::Digest;

/// A vertex of our own work; it is canceled if it is dropped before its end.
pub(crate) struct Shown {
    reporter: Arc<dyn Reporter>,
    vertex: Digest,
    ended: bool,
}

impl Shown {
    /// Shows that work called `name` begins; `place` tells it from others of the same name.
    pub(crate) fn begin(reporter: &Arc<dyn Reporter>, name: &str, place: &str) -> Self {
        let vertex = Digest::of(format!("{name}\0{place}").as_bytes());
        reporter.report(Event::Vertex(Vertex { digest: vertex, name: name.to_owned(), inputs: Vec::new() }));
        reporter.report(Event::Started { vertex, at: SystemTime::now() });
        Self { reporter: Arc::clone(reporter), vertex, ended: false }
    }

    pub(crate) fn vertex(&self) -> Digest {
        self.vertex
    }

    pub(crate) fn reporter(&self) -> &Arc<dyn Reporter> {
        &self.reporter
    }

    /// Shows a part of the work that is done at once.
    pub(crate) fn note(&self, id: impl Into<String>) {
        self.part(id).end();
    }

    /// Shows that a part of the work begins.
    pub(crate) fn part(&self, id: impl Into<String>) -> Part<'_> {
        let part = Part { shown: self, id: id.into(), started: SystemTime::now() };
        part.report(None);
        part
    }

    /// Shows how the work ended.
    pub(crate) fn end(mut self, failure: Option<String>) {
        self.complete(failure.map_or(Outcome::Done, Outcome::Failed));
    }

    fn complete(&mut self, outcome: Outcome) {
        self.ended = true;
        self.reporter.report(Event::Completed { vertex: self.vertex, at: SystemTime::now(), outcome });
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if !self.ended {
            self.complete(Outcome::Canceled);
        }
    }
}

/// A part of the work.
pub(crate) struct Part<'a> {
    shown: &'a Shown,
    id: String,
    started: SystemTime,
}

impl Part<'_> {
    fn report(&self, completed: Option<SystemTime>) {
        let (vertex, id) = (self.shown.vertex, self.id.clone());
        let status = Status { vertex, id, current: 0, total: 0, started: self.started, completed };
        self.shown.reporter.report(Event::Status(status));
    }

    /// Shows that it is done.
    pub(crate) fn end(self) {
        self.report(Some(SystemTime::now()));
    }
}

/// Tells something that does not stop the build.
pub(crate) fn warn(reporter: &dyn Reporter, vertex: Digest, short: String) {
    let (detail, url) = (Vec::new(), String::new());
    reporter.report(Event::Warning(Warning { vertex, short, detail, url, source: None }));
}
