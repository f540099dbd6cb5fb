//! The graph of a Dockerfile as JSON (`frontend.convertllb`), for people and tools that look into it.
//!
//! Ops and places are in protobuf's own JSON: names of fields in camel case as the protocol declares them, defaults
//! left out, 64-bit numbers as texts, bytes in base64. What is known of vertices is in Go's, where numbers are numbers.

mod exec;
mod fields;
mod file;
mod source;

use std::collections::BTreeMap;

use prost::Message as _;
use rbuild_graph::{Definition, pb};
use rbuild_oci::{Digest, json};
use serde_json::{Map, Value};

use self::fields::{Object, long};
use crate::answered::Answered;
use crate::error::BuiltinError;

/// The name of the question.
pub(crate) const NAME: &str = "frontend.convertllb";
/// The version of the answer's form.
const VERSION: &str = "0.1.0";

/// Returns a graph as clients read it.
pub(crate) fn answered(definition: &Definition) -> Result<Answered, BuiltinError> {
    let mut ops = Map::new();
    for bytes in &definition.ops {
        let decoded = pb::Op::decode(bytes.clone());
        let decoded = decoded.map_err(|error| BuiltinError::Request(format!("reading the graph: {error}")))?;
        ops.insert(Digest::of(bytes).to_string(), op(&decoded));
    }
    let metadata = definition.metadata.iter().map(|(digest, known)| (digest.to_string(), source::known(known)));
    let mut all = Map::new();
    all.insert("def".to_owned(), Value::Object(ops));
    all.insert("metadata".to_owned(), Value::Object(metadata.collect()));
    all.insert("source".to_owned(), source::source(definition.source.as_ref().unwrap_or(&pb::Source::default())));
    let metadata = BTreeMap::from([
        ("result.json".to_owned(), json::to_vec_indented(&Value::Object(all))),
        ("version".to_owned(), VERSION.into()),
    ]);
    Ok(Answered { metadata, ..Answered::default() })
}

fn op(op: &pb::Op) -> Value {
    let inputs = op
        .inputs
        .iter()
        .map(|input| Object::default().text("digest", &input.digest).long("index", input.index).value());
    let object = Object::default().list("inputs", inputs);
    let object = match &op.op {
        None => object,
        Some(pb::Kind::Exec(op)) => object.with("exec", exec::exec(op)),
        Some(pb::Kind::Source(op)) => object
            .with("source", Object::default().text("identifier", &op.identifier).texts("attrs", &op.attrs).value()),
        Some(pb::Kind::File(op)) => object.with("file", file::file(op)),
        Some(pb::Kind::Build(op)) => object.with("build", build(op)),
        Some(pb::Kind::Merge(op)) => {
            let inputs = op.inputs.iter().map(|input| Object::default().long("input", input.input).value());
            object.with("merge", Object::default().list("inputs", inputs).value())
        }
        Some(pb::Kind::Diff(op)) => {
            let side =
                |side: Option<pb::DiffInput>| side.map(|side| Object::default().long("input", side.input).value());
            object.with(
                "diff",
                Object::default().optional("lower", side(op.lower)).optional("upper", side(op.upper)).value(),
            )
        }
        Some(pb::Kind::Passthrough(op)) => {
            let outputs = op.outputs.iter().map(|output| long(*output));
            object.with("passthrough", Object::default().text("id", &op.id).list("outputs", outputs).value())
        }
    };
    let constraints = op.constraints.as_ref();
    let constraints = constraints.map(|constraints| Object::default().words("filter", &constraints.filter).value());
    object.optional("platform", op.platform.as_ref().map(platform)).optional("constraints", constraints).value()
}

fn platform(platform: &pb::Platform) -> Value {
    Object::default()
        .text("Architecture", &platform.architecture)
        .text("OS", &platform.os)
        .text("Variant", &platform.variant)
        .text("OSVersion", &platform.os_version)
        .words("OSFeatures", &platform.os_features)
        .value()
}

fn build(op: &pb::BuildOp) -> Value {
    let input = |input: &pb::BuildInput| Object::default().long("input", input.input).value();
    let inputs = op.inputs.iter().map(|(name, one)| (name.clone(), input(one)));
    Object::default()
        .long("builder", op.builder)
        .map("inputs", inputs)
        .optional("def", op.def.as_ref().map(source::definition))
        .texts("attrs", &op.attrs)
        .value()
}
