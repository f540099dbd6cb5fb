//! The progress of a build as clients are told: kept from its beginning, for those who come late.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures::Stream;
use prost::Message;
use prost_types::Timestamp;
use rbuild_buildkit_api::control::{self, StatusResponse};
use rbuild_events::{Event, Outcome, Reporter, Source, Stream as Output, Warning};
use rbuild_graph::pb;
use rbuild_oci::Digest;
use tokio::sync::watch;

/// The most bytes of logs in one message: clients take no message larger than 16 MiB.
const BATCH_LOGS: usize = 512 << 10;
/// The most records in one message.
const BATCH_RECORDS: usize = 4096;
/// The most bytes of warnings that a build's frontends may tell: all of a build's progress is kept until it is forgotten.
const MOST_WARNED: usize = 16 << 20;
/// The error by which clients know that a vertex was given up.
const CANCELED: &str = "context canceled";

/// What became known of a build, one thing after the other.
#[derive(Debug, Clone)]
enum Entry {
    Vertex(control::Vertex),
    Status(control::VertexStatus),
    Log(control::VertexLog),
    Warning(control::VertexWarning),
}

/// The progress of one build.
pub(crate) struct Feed {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    vertices: HashMap<Digest, control::Vertex>,
    /// Bytes of warnings of frontends.
    warned: usize,
    ended: bool,
}

impl Feed {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: watch::Sender::new(()) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.changed.send_replace(());
    }

    /// Says that nothing more will come of a build that failed: what runs still is given up, as far as it goes.
    pub(crate) fn give_up(&self) {
        let mut state = self.state();
        if !state.ended {
            state.cancel(SystemTime::now());
        }
        drop(state);
        self.end();
    }

    /// Returns all that became known and will, until the end.
    pub(crate) fn follow(self: &Arc<Self>) -> impl Stream<Item = StatusResponse> + Send + use<> {
        let (feed, changes) = (Arc::clone(self), self.changed.subscribe());
        futures::stream::unfold((feed, changes, 0), |(feed, mut changes, mut position)| async move {
            loop {
                changes.mark_unchanged();
                let (batch, ended) = feed.batch(&mut position);
                match (batch, ended) {
                    (Some(batch), _) => return Some((batch, (feed, changes, position))),
                    (None, true) => return None,
                    (None, false) => changes.changed().await.ok()?,
                }
            }
        })
    }

    /// Returns all that became known so far.
    pub(crate) fn so_far(&self) -> Vec<StatusResponse> {
        let mut position = 0;
        std::iter::from_fn(|| self.batch(&mut position).0).collect()
    }

    fn batch(&self, position: &mut usize) -> (Option<StatusResponse>, bool) {
        let state = self.state();
        let mut batch = StatusResponse::default();
        let (mut logged, mut count) = (0, 0);
        for entry in &state.entries[(*position).min(state.entries.len())..] {
            if logged > BATCH_LOGS || count > BATCH_RECORDS {
                break;
            }
            count += 1;
            match entry.clone() {
                Entry::Vertex(vertex) => batch.vertexes.push(vertex),
                Entry::Status(status) => batch.statuses.push(status),
                Entry::Log(log) => {
                    logged += log.msg.len();
                    batch.logs.push(log);
                }
                Entry::Warning(warning) => batch.warnings.push(warning),
            }
        }
        *position += count;
        ((count > 0).then_some(batch), state.ended)
    }

    /// Adds a warning of a frontend; returns whether there was room for it.
    pub(crate) fn warn(&self, warning: control::VertexWarning) -> bool {
        // An empty one takes room, too.
        let size = size_of_val(&warning) + warning.encoded_len();
        let mut has_room = true;
        self.push(|state| {
            has_room = state.warned + size <= MOST_WARNED;
            state.warned += if has_room { size } else { 0 };
            has_room.then_some(Entry::Warning(warning))
        });
        has_room
    }

    fn push(&self, make: impl FnOnce(&mut State) -> Option<Entry>) {
        let mut state = self.state();
        if state.ended {
            return;
        }
        if let Some(entry) = make(&mut state) {
            state.entries.push(entry);
            drop(state);
            self.changed.send_replace(());
        }
    }
}

impl State {
    /// Changes what is known of a vertex, and tells it.
    fn vertex(&mut self, digest: Digest, change: impl FnOnce(&mut control::Vertex)) -> Option<Entry> {
        let vertex = self.vertices.entry(digest).or_default();
        change(vertex);
        Some(Entry::Vertex(vertex.clone()))
    }

    /// Tells of all vertices that have begun and not ended that they are canceled.
    fn cancel(&mut self, at: SystemTime) {
        for vertex in self.vertices.values_mut().filter(|known| known.started.is_some() && known.completed.is_none()) {
            vertex.completed = Some(timestamp(at));
            vertex.error = CANCELED.to_owned();
            self.entries.push(Entry::Vertex(vertex.clone()));
        }
    }
}

impl Reporter for Feed {
    fn report(&self, event: Event) {
        self.push(|state| match event {
            Event::Vertex(vertex) => state.vertex(vertex.digest, |known| {
                known.digest = vertex.digest.to_string();
                known.name = vertex.name;
                known.inputs = vertex.inputs.iter().map(Digest::to_string).collect();
            }),
            Event::Started { vertex, at } => state.vertex(vertex, |known| {
                known.started = Some(timestamp(at));
                known.completed = None;
                known.cached = false;
                known.error.clear();
            }),
            Event::Paused { vertex, started, at } => state.vertex(vertex, |known| {
                known.started = Some(timestamp(started));
                known.completed = Some(timestamp(at));
            }),
            Event::Completed { vertex, at, outcome } => state.vertex(vertex, |known| {
                known.started.get_or_insert(timestamp(at));
                known.completed = Some(timestamp(at));
                known.cached = outcome == Outcome::Cached;
                known.error = match outcome {
                    Outcome::Done | Outcome::Cached => String::new(),
                    Outcome::Canceled => CANCELED.to_owned(),
                    Outcome::Failed(message) => message,
                };
            }),
            Event::Status(status) => Some(Entry::Status(self::status(status))),
            Event::Log { vertex, stream, data, at } => Some(Entry::Log(control::VertexLog {
                vertex: vertex.to_string(),
                timestamp: Some(timestamp(at)),
                stream: match stream {
                    Output::Stdout => 1,
                    Output::Stderr => 2,
                },
                msg: data.into(),
            })),
            Event::Warning(warning) => Some(Entry::Warning(self::warning(warning))),
        });
    }
}

fn status(status: rbuild_events::Status) -> control::VertexStatus {
    control::VertexStatus {
        name: status.action().to_owned(),
        id: status.id,
        vertex: status.vertex.to_string(),
        current: i64::try_from(status.current).unwrap_or(i64::MAX),
        total: i64::try_from(status.total).unwrap_or(i64::MAX),
        timestamp: Some(timestamp(SystemTime::now())),
        started: Some(timestamp(status.started)),
        completed: status.completed.map(timestamp),
    }
}

fn warning(warning: Warning) -> control::VertexWarning {
    let (info, ranges) = match warning.source {
        Some(source) => {
            let (info, range) = place(&source);
            (Some(info), vec![range])
        }
        None => (None, Vec::new()),
    };
    control::VertexWarning {
        vertex: warning.vertex.to_string(),
        level: 1,
        short: warning.short.into(),
        detail: warning.detail.into_iter().map(Bytes::from).collect(),
        url: warning.url,
        info,
        ranges,
    }
}

/// Returns a file and an area of it in the protocol's words.
pub(crate) fn place(source: &Source) -> (pb::SourceInfo, pb::Range) {
    let info = pb::SourceInfo {
        filename: source.filename.clone(),
        data: Bytes::copy_from_slice(source.text.as_bytes()),
        definition: None,
        language: "Dockerfile".to_owned(),
    };
    let position = |line: usize| Some(pb::Position { line: i32::try_from(line).unwrap_or(i32::MAX), character: 0 });
    (info, pb::Range { start: position(source.lines.0), end: position(source.lines.1) })
}

/// Returns a moment in the protocol's words.
pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    at.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbuild_events::Vertex;

    #[test]
    fn what_runs_when_a_build_fails_is_canceled() {
        let feed = Feed::new();
        let digests: Vec<Digest> = ["waits", "runs", "done"].iter().map(|name| Digest::of(name.as_bytes())).collect();
        let at = SystemTime::now();
        for vertex in &digests {
            feed.report(Event::Vertex(Vertex { digest: *vertex, name: String::new(), inputs: Vec::new() }));
        }
        for vertex in &digests[1..] {
            feed.report(Event::Started { vertex: *vertex, at });
        }
        feed.report(Event::Completed { vertex: digests[2], at, outcome: Outcome::Done });
        feed.give_up();
        feed.give_up();
        let told: Vec<_> = feed.so_far().into_iter().flat_map(|status| status.vertexes).collect();
        let last = |digest: &Digest| told.iter().rfind(|vertex| vertex.digest == digest.to_string()).unwrap();
        let errors: Vec<_> = digests.iter().map(|digest| last(digest).error.as_str()).collect();
        assert_eq!(errors, ["", "context canceled", ""]);
        assert!(last(&digests[0]).completed.is_none() && last(&digests[1]).completed.is_some());
        assert_eq!(told.len(), 3 + 2 + 1 + 1);
    }

    #[test]
    fn frontends_cannot_warn_for_ever() {
        let feed = Feed::new();
        let warning = || control::VertexWarning { short: vec![b'x'; 1 << 20].into(), ..Default::default() };
        assert_eq!((0..100).filter(|_| feed.warn(warning())).count(), 15);
        assert!((0..MOST_WARNED).any(|_| !feed.warn(control::VertexWarning::default())));
        assert!(feed.state().warned <= MOST_WARNED);
    }
}
