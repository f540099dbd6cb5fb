//! Why a call failed, as clients are told: a code, a sentence, and details that their programs know.
//!
//! Details are JSON in BuildKit's own types, each in an `Any` whose type ends in `+json`. What a client does not
//! know it skips; a `Source` makes it show the lines of the Dockerfile, an `ExitMessage` gives it an exit code.

use std::collections::BTreeMap;
use std::error::Error;
use std::panic::Location;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message as _;
use rbuild_buildkit_api::rpc;
use rbuild_graph::{Graph, GraphError, Vertex, pb};
use rbuild_oci::Digest;
use rbuild_ops::{FailedPart, OpsError, Ref, Remains};
use rbuild_solver::{SolveError, Task};
use serde_json::{Map, Value, json};
use tonic::{Code, Status};

use crate::attest;

/// The largest encoded details that are sent: they travel in a header.
const MAX_DETAILS: usize = 4 << 20;

/// An operation that failed, and what it leaves.
#[derive(Debug)]
pub(crate) struct FailedOperation {
    op: pb::Op,
    description: BTreeMap<String, String>,
    remains: Remains,
}

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    code: Code,
    message: String,
    details: Vec<prost_types::Any>,
    /// The operation that failed, if it is one.
    failed: Option<Arc<FailedOperation>>,
    /// Where in this program it was noticed.
    noticed: &'static Location<'static>,
}

impl Fault {
    /// Returns a failure that is only a sentence.
    #[track_caller]
    pub(crate) fn new(message: impl Into<String>) -> Self {
        let noticed = Location::caller();
        Self { code: Code::Unknown, message: message.into(), details: Vec::new(), failed: None, noticed }
    }

    /// Returns a failure of a kind.
    #[track_caller]
    pub(crate) fn with_code(code: Code, message: impl Into<String>) -> Self {
        Self { code, ..Self::new(message) }
    }

    /// Returns a failure with its causes in one line.
    #[track_caller]
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        Self::new(chain(error))
    }

    /// Returns that the client went away or gave up.
    pub(crate) fn canceled() -> Self {
        Self::with_code(Code::Cancelled, "context canceled")
    }

    /// Returns the failure of a build with the place in its source.
    pub(crate) fn solve(error: &SolveError, graph: &Graph) -> Self {
        let operation = match error {
            SolveError::Operation { source, .. } => Some(&**source),
            _ => None,
        };
        let mut fault = match operation {
            Some(source) => Self::of(source),
            None => Self::new(error.chain()),
        };
        if let SolveError::Operation { vertex, task: Task::ContentKey, .. } = error {
            fault = fault.context("failed to compute cache key");
            fault.message = named(&fault.message, *vertex);
        }
        if let Some(vertex) = error.vertex() {
            fault = fault.at(graph, vertex).with(VERTEX, &json!({ "digest": vertex.to_string() }));
            let remains = operation.and_then(ops_error).and_then(OpsError::remains).cloned().unwrap_or_default();
            fault.failed = graph.vertex(&vertex).map(|vertex| Arc::new(FailedOperation::new(vertex, remains)));
        }
        match operation.and_then(exit_code) {
            Some(code) => fault.with_exit_code(code),
            None => fault,
        }
    }

    /// Tells a frontend which operation failed, and what it may mount of what is left: `hold` gives that its names.
    pub(crate) fn with_remains(mut self, hold: impl Fn(&Ref) -> Result<String, Fault>) -> Self {
        let Some(failed) = self.failed.take() else { return self };
        match failed.told(hold) {
            Ok(told) => self.with(SOLVE, &told),
            // Why the build failed is more than that it holds too much.
            Err(_) => self,
        }
    }

    /// Adds the exit code of a process.
    pub(crate) fn with_exit_code(self, code: i32) -> Self {
        self.with(EXIT, &json!({ "Code": code }))
    }

    /// Returns the exit code of the process that failed, if it is one.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        let detail = self.details.iter().find(|detail| detail.type_url.ends_with(&format!("/{EXIT}+json")))?;
        let value: Value = serde_json::from_slice(&detail.value).ok()?;
        value["Code"].as_i64().and_then(|code| i32::try_from(code).ok())
    }

    /// Adds the lines that asked for a vertex.
    fn at(mut self, graph: &Graph, vertex: Digest) -> Self {
        let Some(vertex) = graph.vertex(&vertex) else { return self };
        // What is told last is what clients show first.
        for location in vertex.locations.iter().rev() {
            let index = usize::try_from(location.source_index).ok();
            let info = index.and_then(|index| graph.source()?.infos.get(index));
            if let Some(info) = info {
                self = self.with_source(info, &location.ranges);
            }
        }
        self
    }

    /// Adds a place in a source file.
    pub(crate) fn with_source(self, info: &pb::SourceInfo, ranges: &[pb::Range]) -> Self {
        let mut shown = Map::new();
        put_text(&mut shown, "filename", &info.filename);
        put_text(&mut shown, "data", &STANDARD.encode(&info.data));
        put_text(&mut shown, "language", &info.language);
        if let Some(loaded) = &info.definition {
            shown.insert("definition".to_owned(), definition(loaded));
        }
        let ranges: Vec<Value> = ranges.iter().map(range).collect();
        self.with(SOURCE, &json!({ "info": shown, "ranges": ranges }))
    }

    /// Returns whether it tells a place in a source file.
    pub(crate) fn has_source(&self) -> bool {
        self.details.iter().any(|detail| detail.type_url.ends_with(&format!("/{SOURCE}+json")))
    }

    /// Adds a detail of one of BuildKit's types.
    pub(crate) fn with(mut self, kind: &str, value: &Value) -> Self {
        self.details.push(any(kind, value));
        self
    }

    /// Puts words before the message.
    pub(crate) fn context(mut self, words: &str) -> Self {
        self.message = format!("{words}: {}", self.message);
        self
    }

    /// Says it in other words.
    pub(crate) fn saying(mut self, message: String) -> Self {
        self.message = message;
        self
    }

    /// Returns the failure as a frontend's client or the history has it.
    pub(crate) fn to_rpc(&self) -> rpc::Status {
        let frame = json!({
            "Name": "rbuild_daemon",
            "File": self.noticed.file(),
            "Line": self.noticed.line(),
        });
        let stack = any("stack.Stack", &json!({ "frames": [frame], "version": env!("CARGO_PKG_VERSION") }));
        let details = [stack].into_iter().chain(self.details.clone()).collect();
        rpc::Status { code: self.code as i32, message: self.message.clone(), details }
    }

    /// Takes over what a frontend says of its failure.
    #[track_caller]
    pub(crate) fn from_rpc(status: rpc::Status) -> Self {
        let code = match Code::from_i32(status.code) {
            Code::Ok => Code::Unknown,
            code => code,
        };
        Self { code, details: status.details, ..Self::new(status.message) }
    }
}

impl FailedOperation {
    fn new(vertex: &Vertex, remains: Remains) -> Self {
        Self { op: vertex.op.clone(), description: vertex.metadata.description.clone(), remains }
    }

    /// Returns it as BuildKit's `errdefs.Solve`.
    fn told(&self, hold: impl Fn(&Ref) -> Result<String, Fault>) -> Result<Value, Fault> {
        let name = |kept: &Option<Ref>| kept.as_ref().map_or(Ok(String::new()), &hold);
        let names = |kept: &[Option<Ref>]| kept.iter().map(name).collect::<Result<Vec<_>, _>>();
        let mut told = json!({
            "inputIDs": names(&self.remains.inputs)?,
            "mountIDs": names(&self.remains.mounts)?,
            "op": attest::message(&self.op),
            "description": self.description,
        });
        match self.remains.part {
            Some(FailedPart::Action(index)) => told["file"] = json!({ "index": index }),
            Some(FailedPart::Content(index)) => told["cache"] = json!({ "index": index }),
            None => {}
        }
        Ok(told)
    }
}

const SOLVE: &str = "errdefs.Solve";
const VERTEX: &str = "errdefs.Vertex";
const SOURCE: &str = "errdefs.Source";
const EXIT: &str = "gatewayapi.ExitMessage";

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let mut encoded = fault.to_rpc().encode_to_vec();
        if encoded.len() > MAX_DETAILS {
            let kept = fault.details.iter().filter(|detail| detail.value.len() < MAX_DETAILS / 8).cloned().collect();
            encoded = rpc::Status { details: kept, ..fault.to_rpc() }.encode_to_vec();
        }
        if encoded.len() > MAX_DETAILS {
            return Self::new(fault.code, fault.message);
        }
        Self::with_details(fault.code, fault.message, Bytes::from(encoded))
    }
}

impl From<GraphError> for Fault {
    fn from(error: GraphError) -> Self {
        Self::of(&error).context("failed to load LLB")
    }
}

impl From<OpsError> for Fault {
    fn from(error: OpsError) -> Self {
        Self::of(&error)
    }
}

/// Says of which result a path is missing, as BuildKit does.
fn named(message: &str, vertex: Digest) -> String {
    const CHECKSUM: &str = "failed to calculate checksum of ref";
    message.replacen(&format!("{CHECKSUM}: "), &format!("{CHECKSUM} {}: ", &vertex.hex()[..25]), 1)
}

fn ops_error<'a>(error: &'a (dyn Error + Send + Sync + 'static)) -> Option<&'a OpsError> {
    error.downcast_ref()
}

fn exit_code(error: &(dyn Error + Send + Sync + 'static)) -> Option<i32> {
    match ops_error(error)?.cause() {
        OpsError::Process(failed) => Some(failed.code),
        _ => None,
    }
}

fn any(kind: &str, value: &Value) -> prost_types::Any {
    let type_url = format!("github.com/moby/buildkit/{kind}+json");
    prost_types::Any { type_url, value: value.to_string().into_bytes() }
}

fn put_text(map: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        map.insert(key.to_owned(), text.into());
    }
}

/// Says how a file was fetched.
fn definition(definition: &pb::Definition) -> Value {
    let ops: Vec<String> = definition.def.iter().map(|op| STANDARD.encode(op)).collect();
    let metadata = definition.metadata.iter().map(|(digest, data)| {
        let mut fields = Map::new();
        if !data.description.is_empty() {
            fields.insert("description".to_owned(), json!(data.description));
        }
        if !data.caps.is_empty() {
            fields.insert("caps".to_owned(), json!(data.caps));
        }
        (digest.clone(), Value::Object(fields))
    });
    json!({ "def": ops, "metadata": metadata.collect::<Map<_, _>>() })
}

fn range(range: &pb::Range) -> Value {
    let position = |position: &Option<pb::Position>| {
        let position = position.unwrap_or_default();
        let fields = [("line", position.line), ("character", position.character)];
        let set = fields.into_iter().filter(|(_, value)| *value != 0);
        Value::Object(set.map(|(key, value)| (key.to_owned(), value.into())).collect())
    };
    json!({ "start": position(&range.start), "end": position(&range.end) })
}

/// Returns an error with its causes in one line, nothing said twice.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}
