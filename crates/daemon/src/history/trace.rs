//! The trace of a build: a span for the build and one for each of its steps, in the shape of Go's span stubs, which
//! is what clients make of the traces of BuildKit's daemon. One JSON document after another.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use rbuild_buildkit_api::control::{StatusResponse, Vertex};
use rbuild_oci::Digest;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The media type of traces.
pub(super) const MEDIA_TYPE: &str = "application/vnd.buildkit.otlp.json.v0";
/// The most steps that are told.
const MOST_STEPS: usize = 10_000;
/// What a span has no parent is told by.
const NOBODY: &str = "0000000000000000";
/// A call within one program.
const INTERNAL: u8 = 1;

/// The steps of a build as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Steps(BTreeMap<String, Vertex>);

impl Steps {
    /// Takes what is reported; a step began when it was first at work, and ended when it last was.
    pub(super) fn push(&mut self, status: &StatusResponse) {
        for vertex in &status.vertexes {
            if self.0.len() >= MOST_STEPS && !self.0.contains_key(&vertex.digest) {
                continue;
            }
            let known = self.0.entry(vertex.digest.clone()).or_default();
            let started = known.started.or(vertex.started);
            *known = Vertex { started, ..vertex.clone() };
        }
    }

    /// Returns the trace of a build that went on from one moment to another.
    pub(super) fn trace(&self, build: &str, from: Timestamp, until: Timestamp, error: Option<&str>) -> Vec<u8> {
        let trace = &Digest::of(build.as_bytes()).hex()[..32];
        let whole = id(build, "");
        let mut spans = vec![span(trace, (&whole, NOBODY), "build", (from, until), error)];
        for (digest, vertex) in &self.0 {
            if let (Some(from), Some(until)) = (vertex.started, vertex.completed) {
                let error = Some(vertex.error.as_str()).filter(|error| !error.is_empty());
                let mut told = span(trace, (&id(build, digest), &whole), &vertex.name, (from, until), error);
                told["Attributes"] = json!([
                    attribute("vertex", "STRING", digest.as_str().into()),
                    attribute("cached", "BOOL", vertex.cached.into()),
                ]);
                spans.push(told);
            }
        }
        let children = spans.len() - 1;
        spans[0]["ChildSpanCount"] = children.into();
        let documents = spans.iter().map(rbuild_oci::json::to_vec_indented);
        documents.flat_map(|document| document.into_iter().chain([b'\n'])).collect()
    }
}

fn id(build: &str, step: &str) -> String {
    Digest::of(format!("{build}\0{step}").as_bytes()).hex()[..16].to_owned()
}

fn attribute(key: &str, kind: &str, value: Value) -> Value {
    json!({ "Key": key, "Value": { "Type": kind, "Value": value } })
}

fn span(
    trace: &str,
    (own, parent): (&str, &str),
    name: &str,
    (from, until): (Timestamp, Timestamp),
    error: Option<&str>,
) -> Value {
    let context = |span: &str| {
        let flags = if span == NOBODY { "00" } else { "01" };
        let trace = if span == NOBODY { "0".repeat(32) } else { trace.to_owned() };
        json!({ "TraceID": trace, "SpanID": span, "TraceFlags": flags, "TraceState": "", "Remote": false })
    };
    let code = if error.is_some() { "Error" } else { "Unset" };
    json!({
        "Name": name,
        "SpanContext": context(own),
        "Parent": context(parent),
        "SpanKind": INTERNAL,
        "StartTime": moment(from),
        "EndTime": moment(until),
        "Attributes": null,
        "Events": null,
        "Links": null,
        "Status": { "Code": code, "Description": error.unwrap_or_default() },
        "DroppedAttributes": 0,
        "DroppedEvents": 0,
        "DroppedLinks": 0,
        "ChildSpanCount": 0,
        "Resource": [attribute("service.name", "STRING", "rbuild".into())],
        "InstrumentationLibrary": { "Name": "rbuild", "Version": env!("CARGO_PKG_VERSION"), "SchemaURL": "" },
    })
}

fn moment(at: Timestamp) -> String {
    let nanoseconds = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_steps() {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let vertex = |digest: &str, from: i64, until: Option<i64>, error: &str| Vertex {
            digest: digest.to_owned(),
            name: format!("step {digest}"),
            started: Some(at(from)),
            completed: until.map(at),
            error: error.to_owned(),
            ..Vertex::default()
        };
        let mut steps = Steps::default();
        let status = |vertexes| StatusResponse { vertexes, ..StatusResponse::default() };
        steps.push(&status(vec![vertex("a", 1, Some(2), ""), vertex("b", 1, None, "")]));
        steps.push(&status(vec![vertex("a", 3, Some(4), "bad")]));
        let trace = steps.trace("build", at(0), at(5), None);
        let spans: Vec<Value> =
            serde_json::Deserializer::from_slice(&trace).into_iter().collect::<Result<_, _>>().unwrap();
        let told = |span: &Value| {
            let text = |key: &str| span[key].as_str().unwrap().to_owned();
            (text("Name"), text("StartTime"), text("EndTime"), span["Status"]["Code"].as_str().unwrap().to_owned())
        };
        let want = [
            ("build", "1970-01-01T00:00:00Z", "1970-01-01T00:00:05Z", "Unset"),
            ("step a", "1970-01-01T00:00:01Z", "1970-01-01T00:00:04Z", "Error"),
        ];
        let want = want.map(|(name, from, until, code)| (name.into(), from.into(), until.into(), code.into()));
        assert_eq!(spans.iter().map(told).collect::<Vec<_>>(), want);
        assert_eq!(spans[0]["ChildSpanCount"], 1);
        assert_eq!(spans[1]["Parent"]["SpanID"], spans[0]["SpanContext"]["SpanID"]);
        assert_eq!(spans[1]["SpanContext"]["TraceID"].as_str().unwrap().len(), 32);
    }
}
