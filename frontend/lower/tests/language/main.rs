//! The language as far as graph and configuration tell it, item by item.

#[allow(dead_code, reason = "shared by several tests")]
#[path = "../common/mod.rs"]
mod common;

mod scopes;
mod stages;
mod steps;

use common::{build, graph, request, show};
use rbuild_graph::pb;
use rbuild_lower::{Lowered, Request};

fn ok(text: &str) -> Lowered {
    with(text, &request())
}

fn with(text: &str, request: &Request) -> Lowered {
    build(text, request).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// Returns the graph as text.
fn shown(text: &str) -> String {
    show(&Ok(ok(text)))
}

/// Expects an error that contains `expect`.
#[track_caller]
fn fails(text: &str, expect: &str) {
    fails_with(text, &request(), expect);
}

#[track_caller]
fn fails_with(text: &str, request: &Request, expect: &str) {
    let error = build(text, request).err().unwrap_or_else(|| panic!("{text}: was accepted"));
    assert!(error.first().contains(expect), "{text}\n{error}");
}

/// Returns the steps, inputs first.
fn execs(lowered: &Lowered) -> Vec<pb::ExecOp> {
    let exec = |vertex: &std::sync::Arc<rbuild_graph::Vertex>| match vertex.kind() {
        pb::Kind::Exec(exec) => Some(exec.clone()),
        _ => None,
    };
    graph(lowered).vertices().iter().filter_map(exec).collect()
}

fn last_exec(text: &str) -> pb::ExecOp {
    execs(&ok(text)).pop().expect("a RUN")
}

/// Returns the variables of the last step.
fn env(lowered: &Lowered) -> Vec<String> {
    execs(lowered).pop().expect("a RUN").meta.expect("a process").env
}
