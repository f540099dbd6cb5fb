//! Attributes and inputs in, graphs and metadata out: tables through one door.

mod attributes;
mod contexts;
mod errors;
mod host;
mod results;

use std::collections::BTreeMap;

use futures::executor::block_on;
use rbuild_builtin::{Answered, Asked, BuiltinError, Refs, build};
use rbuild_graph::{Graph, pb};
use rbuild_oci::Platform;

use crate::host::Table;

/// Attributes as `key=value`, split at the first sign of equality.
pub(crate) fn pairs(given: &[&str]) -> BTreeMap<String, String> {
    let split = |pair: &&str| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    given.iter().map(|pair| split(pair).unwrap_or(((*pair).to_owned(), String::new()))).collect()
}

/// Asks a host, with inputs.
pub(crate) fn ask_with(
    table: &Table,
    attributes: &[&str],
    inputs: &BTreeMap<String, pb::Definition>,
) -> Result<Answered, BuiltinError> {
    let platforms = [Platform::new("linux", "amd64", None)];
    let attributes = pairs(attributes);
    let asked = Asked { attributes: &attributes, inputs, session: Some("s1"), platforms: &platforms };
    block_on(build(asked, table))
}

/// Asks a host.
pub(crate) fn ask(table: &Table, attributes: &[&str]) -> Result<Answered, BuiltinError> {
    ask_with(table, attributes, &BTreeMap::new())
}

/// A client with a Dockerfile.
pub(crate) fn client(dockerfile: &str) -> Table {
    Table::default().with("local://dockerfile", &[("Dockerfile", dockerfile)]).with("local://context", &[("a", "a")])
}

/// The graphs of an answer, with the ids of their platforms.
pub(crate) fn graphs(answered: &Answered) -> Vec<(String, Graph)> {
    let load = |definition| Graph::load(definition).unwrap();
    match &answered.refs {
        Refs::None => Vec::new(),
        Refs::Single(definition) => vec![(String::new(), load(definition))],
        Refs::Platforms(all) => all.iter().map(|(id, definition)| (id.clone(), load(definition))).collect(),
    }
}

/// The text of all graphs of an answer.
pub(crate) fn shown(answered: &Answered) -> String {
    graphs(answered).iter().map(|(id, graph)| format!("{id}\n{}", graph.to_text())).collect()
}

/// An item of the metadata as text.
pub(crate) fn metadata<'a>(answered: &'a Answered, key: &str) -> &'a str {
    answered.metadata.get(key).map_or("", |bytes| std::str::from_utf8(bytes).unwrap())
}

/// The error of a request, with its causes.
pub(crate) fn fails(table: &Table, attributes: &[&str]) -> String {
    ask(table, attributes).unwrap_err().chain()
}
