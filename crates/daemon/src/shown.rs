//! Work of the daemon itself, shown as vertices beside those of the graph.

use std::fmt::Display;
use std::time::SystemTime;

use rbuild_events::{Event, Outcome, Reporter, Vertex};
use rbuild_oci::Digest;

/// Does `work` as a vertex called `name`; equal `id`s are one vertex.
pub(crate) async fn shown<T, E: Display>(
    reporter: &dyn Reporter,
    name: &str,
    id: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let vertex = Digest::of(if id.is_empty() { name } else { id }.as_bytes());
    reporter.report(Event::Vertex(Vertex { digest: vertex, name: name.to_owned(), inputs: Vec::new() }));
    reporter.report(Event::Started { vertex, at: SystemTime::now() });
    let guard = Unfinished { reporter, vertex, is_open: true };
    let done = work.await;
    guard.end(match &done {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error.to_string()),
    });
    done
}

/// A vertex that is told as canceled unless it ends.
struct Unfinished<'a> {
    reporter: &'a dyn Reporter,
    vertex: Digest,
    is_open: bool,
}

impl Unfinished<'_> {
    fn end(mut self, outcome: Outcome) {
        self.is_open = false;
        self.tell(outcome);
    }

    fn tell(&self, outcome: Outcome) {
        self.reporter.report(Event::Completed { vertex: self.vertex, at: SystemTime::now(), outcome });
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.tell(Outcome::Canceled);
        }
    }
}
