//! BuildKit's `--progress=rawjson`: one `SolveStatus` object a line.
//!
//! Bytes are base64, times RFC 3339, empty fields left out, as Go's encoder writes them.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rbuild_events::{Event, Outcome, Status, Stream, Warning};
use rbuild_oci::Digest;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::model::Step;

#[derive(Debug, Default, Serialize)]
struct SolveStatus<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    vertexes: Option<[JsonVertex<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statuses: Option<[JsonStatus<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<[JsonLog; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<[JsonWarning<'a>; 1]>,
}

#[derive(Debug, Serialize)]
struct JsonVertex<'a> {
    digest: Digest,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    inputs: &'a [Digest],
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Debug, Serialize)]
struct JsonStatus<'a> {
    id: &'a str,
    vertex: Digest,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    current: u64,
    timestamp: String,
    started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
}

#[derive(Debug, Serialize)]
struct JsonLog {
    vertex: Digest,
    stream: u8,
    data: String,
    timestamp: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonWarning<'a> {
    vertex: Digest,
    level: u8,
    short: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detail: Vec<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<JsonSource<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[JsonRange; 1]>,
}

#[derive(Debug, Serialize)]
struct JsonSource<'a> {
    filename: &'a str,
    data: String,
}

#[derive(Debug, Serialize)]
struct JsonRange {
    start: JsonPosition,
    end: JsonPosition,
}

#[derive(Debug, Serialize)]
struct JsonPosition {
    line: usize,
}

/// Returns the line for one event; `step` is the step it concerns, with the event folded in.
pub(crate) fn line(event: &Event, step: Option<&Step>, now: SystemTime) -> Option<String> {
    let mut status = SolveStatus::default();
    match event {
        Event::Vertex(_) | Event::Started { .. } | Event::Completed { .. } => {
            status.vertexes = Some([vertex(step?)]);
        }
        // BuildKit has no word for it: work that rests is told as done, and as begun when it goes on.
        Event::Paused { started, at, .. } => {
            let paused = JsonVertex { started: Some(moment(*started)), completed: Some(moment(*at)), ..vertex(step?) };
            status.vertexes = Some([paused]);
        }
        Event::Status(part) => status.statuses = Some([part_of(part, now)]),
        Event::Log { vertex, stream, data, at } => {
            let stream = match stream {
                Stream::Stdout => 1,
                Stream::Stderr => 2,
            };
            status.logs = Some([JsonLog { vertex: *vertex, stream, data: base64(data), timestamp: moment(*at) }]);
        }
        Event::Warning(found) => status.warnings = Some([warning(found)]),
    }
    let mut line = serde_json::to_string(&status).ok()?;
    line.push('\n');
    Some(line)
}

fn vertex(step: &Step) -> JsonVertex<'_> {
    let error = match &step.outcome {
        Some(Outcome::Failed(message)) => message.as_str(),
        Some(Outcome::Canceled) => "context canceled",
        _ => "",
    };
    JsonVertex {
        digest: step.digest,
        inputs: &step.inputs,
        name: &step.name,
        started: step.started.map(moment),
        completed: step.completed.map(moment),
        cached: step.outcome == Some(Outcome::Cached),
        error,
    }
}

fn part_of(part: &Status, now: SystemTime) -> JsonStatus<'_> {
    JsonStatus {
        id: &part.id,
        vertex: part.vertex,
        name: part.action(),
        total: Some(part.total).filter(|total| *total > 0),
        current: part.current,
        timestamp: moment(now),
        started: moment(part.started),
        completed: part.completed.map(moment),
    }
}

fn warning(found: &Warning) -> JsonWarning<'_> {
    let source = found.source.as_ref();
    JsonWarning {
        vertex: found.vertex,
        level: 1,
        short: base64(found.short.as_bytes()),
        detail: found.detail.iter().map(|line| base64(line.as_bytes())).collect(),
        url: &found.url,
        source_info: source
            .map(|source| JsonSource { filename: &source.filename, data: base64(source.text.as_bytes()) }),
        range: source.map(|source| {
            let (start, end) = source.lines;
            [JsonRange { start: JsonPosition { line: start }, end: JsonPosition { line: end } }]
        }),
    }
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn moment(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}
