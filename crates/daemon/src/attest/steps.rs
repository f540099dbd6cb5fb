//! The steps of a definition as provenance tells them, and the text that they come from.

use std::collections::{BTreeMap, HashMap};

use prost::Message;
use rbuild_export::provenance::{BuildConfig, BuildStep};
use rbuild_graph::pb;
use rbuild_oci::Digest;
use serde_json::{Map, Value, json};

use super::operation::{base64, operation};

/// The steps of a definition, each after those it needs.
#[derive(Default)]
pub(super) struct Steps {
    pub(super) config: BuildConfig,
    /// The step of each operation.
    positions: HashMap<String, usize>,
}

/// Walks a definition; what is not one has no steps.
pub(super) fn steps(definition: &pb::Definition) -> Steps {
    walk(definition).unwrap_or_default()
}

fn walk(definition: &pb::Definition) -> Option<Steps> {
    let mut operations: HashMap<String, pb::Op> = HashMap::with_capacity(definition.def.len());
    let mut last = None;
    for bytes in &definition.def {
        let digest = Digest::of(bytes).to_string();
        operations.insert(digest.clone(), pb::Op::decode(bytes.clone()).ok()?);
        last = Some(digest);
    }
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut order = Vec::with_capacity(operations.len());
    let mut stack = vec![(last?, 0)];
    while let Some((digest, next)) = stack.pop() {
        match operations.get(&digest)?.inputs.get(next) {
            None if positions.contains_key(&digest) => {}
            None => {
                positions.insert(digest.clone(), order.len());
                order.push(digest);
            }
            Some(input) => {
                stack.push((digest, next + 1));
                if !positions.contains_key(&input.digest) {
                    stack.push((input.digest.clone(), 0));
                }
            }
        }
    }
    let step = |(position, digest): (usize, &String)| {
        let op = operations.get(digest)?;
        let input = |input: &pb::Input| Some(format!("step{}:{}", positions.get(&input.digest)?, input.index));
        Some(BuildStep {
            id: format!("step{position}"),
            op: operation(op),
            inputs: op.inputs.iter().map(input).collect::<Option<_>>()?,
        })
    };
    let steps = order.iter().enumerate().map(step).collect::<Option<_>>()?;
    let digest_mapping = positions.iter().map(|(digest, position)| (digest.clone(), format!("step{position}")));
    Some(Steps { config: BuildConfig { steps, digest_mapping: digest_mapping.collect() }, positions })
}

impl Steps {
    /// Returns what an output of an operation is called, such as `step0:0`.
    pub(super) fn output(&self, vertex: &Digest, output: u32) -> Option<String> {
        Some(format!("step{}:{output}", self.positions.get(&vertex.to_string())?))
    }

    /// Returns the text that the steps come from, and where in it each of them stands.
    pub(super) fn source(&self, source: &pb::Source) -> Option<Value> {
        if source.infos.is_empty() {
            return None;
        }
        let mut locations = BTreeMap::new();
        for (digest, found) in &source.locations {
            if let Some(position) = self.positions.get(digest) {
                let places: Vec<Value> = found.locations.iter().map(location).collect();
                locations.insert(format!("step{position}"), object([("locations", list(places))]));
            }
        }
        let infos: Vec<Value> = source.infos.iter().map(info).collect();
        let locations = Some(json!(locations)).filter(|_| !locations.is_empty());
        Some(object([("locations", locations), ("infos", list(infos))]))
    }
}

fn info(info: &pb::SourceInfo) -> Value {
    let config = info.definition.as_ref().map(|definition| steps(definition).config).unwrap_or_default();
    let text = |text: &str| Some(Value::from(text)).filter(|_| !text.is_empty());
    let mut told = object([
        ("filename", text(&info.filename)),
        ("language", text(&info.language)),
        ("data", text(&base64(&info.data))),
    ]);
    if let (Some(told), Value::Object(config)) = (told.as_object_mut(), json!(config)) {
        told.extend(config);
    }
    told
}

fn location(location: &pb::Location) -> Value {
    let number = |number: i32| Some(Value::from(number)).filter(|_| number != 0);
    let position =
        |position: &pb::Position| object([("line", number(position.line)), ("character", number(position.character))]);
    let range = |range: &pb::Range| {
        object([("start", range.start.as_ref().map(position)), ("end", range.end.as_ref().map(position))])
    };
    let ranges = location.ranges.iter().map(range).collect();
    object([("sourceIndex", number(location.source_index)), ("ranges", list(ranges))])
}

fn list(values: Vec<Value>) -> Option<Value> {
    Some(Value::Array(values)).filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
}

/// Makes an object of the fields that are there.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(fields.collect::<Map<_, _>>())
}
