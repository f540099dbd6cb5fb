//! What happens during work, as values: vertex started, cached, log bytes, transfer progress,
//! warnings; and the [`Reporter`] they are given to.
//!
//! The shape follows BuildKit's `SolveStatus` (vertexes, statuses, logs, warnings), so that any
//! front of ours (terminal, rawjson, gRPC) is a fold over these values. Nothing here prints.

mod track;

use std::sync::Arc;
use std::time::SystemTime;

use rbuild_oci::Digest;

pub use track::{Part, Parts, Track};

/// Which stream a step wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A node of the build graph as shown to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// The vertex's digest: its identity in all later events.
    pub digest: Digest,
    /// What it is called, such as `[build 2/5] RUN make`.
    pub name: String,
    /// The vertexes it depends on.
    pub inputs: Vec<Digest>,
}

/// How a vertex ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its work was done.
    Done,
    /// Its result was known already.
    Cached,
    /// It was no longer wanted.
    Canceled,
    /// It failed, with the message shown to the person.
    Failed(String),
}

/// How far a part of a vertex's work has come, such as one layer's download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The vertex it belongs to.
    pub vertex: Digest,
    /// What it is, unique within the vertex, such as `sha256:…` or `exporting layers`.
    pub id: String,
    /// Units done, bytes if `total` is in bytes.
    pub current: u64,
    /// Units in all, 0 if unknown.
    pub total: u64,
    /// When it began.
    pub started: SystemTime,
    /// When it ended, if it has.
    pub completed: Option<SystemTime>,
}

impl Status {
    /// Returns what is being done, in the word by which BuildKit's clients know it; none if they know none.
    pub fn action(&self) -> &'static str {
        match self.id.split_once([' ', ':']).map_or(self.id.as_str(), |(first, _)| first) {
            "transferring" => "transferring",
            "extracting" => "extract",
            "sha256" if self.completed.is_some() => "done",
            "sha256" => "downloading",
            _ => "",
        }
    }
}

/// Something a person should know that does not stop the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The vertex it belongs to.
    pub vertex: Digest,
    /// One line.
    pub short: String,
    /// More lines.
    pub detail: Vec<String>,
    /// A page that explains it, or empty.
    pub url: String,
    /// The file and its text, if the warning has a place.
    pub source: Option<Source>,
}

/// A place in a source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file's name.
    pub filename: String,
    /// The file's whole text.
    pub text: Arc<str>,
    /// First and last line, counted from 1.
    pub lines: (usize, usize),
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A vertex is part of the build.
    Vertex(Vertex),
    /// A vertex's work began.
    Started {
        /// Which vertex.
        vertex: Digest,
        /// When.
        at: SystemTime,
    },
    /// A vertex's work rests: what it needs next is yet to be made by others.
    Paused {
        /// Which vertex.
        vertex: Digest,
        /// When it began.
        started: SystemTime,
        /// When it came to rest.
        at: SystemTime,
    },
    /// A vertex's work ended.
    Completed {
        /// Which vertex.
        vertex: Digest,
        /// When.
        at: SystemTime,
        /// How.
        outcome: Outcome,
    },
    /// A part of a vertex's work went on.
    Status(Status),
    /// A step wrote something.
    Log {
        /// Which vertex.
        vertex: Digest,
        /// Which stream.
        stream: Stream,
        /// What it wrote, as it is: not cut at lines, not checked to be text.
        data: Vec<u8>,
        /// When.
        at: SystemTime,
    },
    /// Something a person should know.
    Warning(Warning),
}

/// Takes events, from any thread, without blocking for long.
pub trait Reporter: Send + Sync {
    /// Takes one event.
    fn report(&self, event: Event);
}

/// A reporter that forgets everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _: Event) {}
}

impl<R: Reporter + ?Sized> Reporter for Arc<R> {
    fn report(&self, event: Event) {
        (**self).report(event);
    }
}
