//! Graphs that make no sense, each in another way.

use bytes::Bytes;
use rbuild_graph::pb;

use crate::graphs::{definition, exec, mkfile};

/// Returns the definition of ops as they are, the last of which is the result's entry.
fn of(ops: &[pb::Op]) -> pb::Definition {
    pb::Definition { def: ops.iter().map(|op| op.to_bytes().into()).collect(), ..pb::Definition::default() }
}

fn vertex(kind: pb::Kind, inputs: Vec<pb::Input>) -> pb::Op {
    pb::Op { op: Some(kind), inputs, ..pb::Op::default() }
}

fn input(op: &pb::Op, index: i64) -> pb::Input {
    let bytes = Bytes::from(op.to_bytes());
    pb::Input { digest: digest(&bytes), index }
}

/// Returns the digest of a vertex.
fn digest(bytes: &Bytes) -> String {
    rbuild_oci::Digest::of(bytes).to_string()
}

/// Returns the definition of one vertex, of which a result is asked for.
fn only(kind: pb::Kind, inputs: Vec<pb::Input>) -> pb::Definition {
    let op = vertex(kind, inputs);
    of(&[op.clone(), result(vec![input(&op, 0)])])
}

fn result(inputs: Vec<pb::Input>) -> pb::Op {
    pb::Op { inputs, ..pb::Op::default() }
}

fn source(identifier: &str, list: &[(&str, &str)]) -> pb::Kind {
    let attrs = crate::build_client::attributes(list);
    pb::Kind::Source(pb::SourceOp { identifier: identifier.to_owned(), attrs })
}

fn action(action: Option<pb::Action>, input: i64, secondary_input: i64, output: i64) -> pb::Kind {
    pb::Kind::File(pb::FileOp { actions: vec![pb::FileAction { input, secondary_input, output, action }] })
}

fn copy(src: &str, dest: &str) -> Option<pb::Action> {
    let copy = pb::FileActionCopy { src: src.to_owned(), dest: dest.to_owned(), ..pb::FileActionCopy::default() };
    Some(pb::Action::Copy(copy))
}

fn mounted(mount: pb::Mount) -> pb::Kind {
    let mut step = exec(&["true"]);
    step.mounts.push(mount);
    pb::Kind::Exec(step)
}

/// Returns them by what is wrong with them.
pub(crate) fn broken() -> Vec<(&'static str, pb::Definition)> {
    [shapes(), sources(), files(), steps(), others()].concat()
}

fn shapes() -> Vec<(&'static str, pb::Definition)> {
    let good = vertex(mkfile("/f", b"x", pb::EMPTY), vec![]);
    let digest = |text: &str| vec![pb::Input { digest: text.to_owned(), index: 0 }];
    let raw = |bytes: &[u8]| pb::Definition { def: vec![Bytes::copy_from_slice(bytes)], ..pb::Definition::default() };
    let zeros = format!("sha256:{}", "0".repeat(64));
    vec![
        ("bytes that are no op", raw(&[0xff; 40])),
        ("an empty op", raw(b"")),
        ("an op cut short", raw(&good.to_bytes()[..good.to_bytes().len() - 1])),
        ("no result", of(std::slice::from_ref(&good))),
        ("a result without inputs", of(&[good.clone(), result(vec![])])),
        ("a result of two", of(&[good.clone(), result(vec![input(&good, 0), input(&good, 0)])])),
        ("an output that is not there", of(&[good.clone(), result(vec![input(&good, 7)])])),
        ("a negative output", of(&[good.clone(), result(vec![input(&good, -9)])])),
        ("the largest output", of(&[good.clone(), result(vec![input(&good, i64::MAX)])])),
        ("an unknown digest", of(&[good.clone(), result(digest(&zeros))])),
        ("no digest", of(&[good.clone(), result(digest(""))])),
        ("half a digest", of(&[good.clone(), result(digest("sha256:12"))])),
        ("a digest of another kind", of(&[good.clone(), result(digest("md5:00"))])),
        ("a vertex before its input", {
            let late = vertex(mkfile("/g", b"y", 0), vec![input(&good, 3)]);
            of(&[late.clone(), good, result(vec![input(&late, 0)])])
        }),
    ]
}

fn sources() -> Vec<(&'static str, pb::Definition)> {
    let source = |identifier, list: &[(&str, &str)]| only(self::source(identifier, list), vec![]);
    vec![
        ("no identifier", source("", &[])),
        ("no scheme", source("sideways", &[])),
        ("an unknown scheme", source("sideways://x", &[])),
        ("no image", source("docker-image://", &[])),
        ("an invalid image", source("docker-image://A B", &[])),
        ("no repository", source("git://", &[])),
        ("no address", source("http://", &[])),
        ("an address of another scheme", source("http://[::", &[])),
        ("a checksum that is none", source("http://127.0.0.1:1/x", &[("http.checksum", "x")])),
        ("no layout", source("oci-layout://", &[])),
        ("no directory", source("local://", &[])),
        ("a directory of nobody", source("local://absent", &[])),
        ("patterns that are none", source("local://x", &[("local.includepattern", "[")])),
        ("a pattern that is none", source("local://x", &[("local.excludepatterns", "[\"[\"]")])),
        ("a session of nobody", source("local://x", &[("local.session", "absent")])),
    ]
}

fn files() -> Vec<(&'static str, pb::Definition)> {
    let actions = |kind| only(kind, vec![]);
    let names = |names: &[(&'static str, &str)]| {
        let made = |(what, path): &(&'static str, &str)| (*what, actions(mkfile(path, b"x", pb::EMPTY)));
        names.iter().map(made).collect::<Vec<_>>()
    };
    let mut all = vec![
        ("no actions", actions(pb::Kind::File(pb::FileOp::default()))),
        ("an action that is none", actions(action(None, pb::EMPTY, pb::EMPTY, 0))),
        ("an input that is not there", actions(action(copy("/", "/"), 5, pb::EMPTY, 0))),
        ("a negative input", actions(action(copy("/", "/"), -7, -7, 0))),
        ("the largest input", actions(action(copy("/", "/"), i64::MAX, i64::MAX, 0))),
        ("no output", actions(action(copy("/", "/"), pb::EMPTY, pb::EMPTY, pb::SKIP_OUTPUT))),
        ("an output far away", actions(action(copy("/", "/"), pb::EMPTY, pb::EMPTY, i64::MAX))),
        ("a copy of what is not there", actions(action(copy("/absent", "/"), pb::EMPTY, pb::EMPTY, 0))),
    ];
    all.extend(names(&[("a file that is the root", "/"), ("a file without a name", ""), ("a NUL byte", "/a\0b")]));
    all
}

fn steps() -> Vec<(&'static str, pb::Definition)> {
    let step = |kind| only(kind, vec![]);
    let with = |change: fn(&mut pb::ExecOp)| {
        let mut step = exec(&["true"]);
        change(&mut step);
        only(pb::Kind::Exec(step), vec![])
    };
    let at = |dest: &str, input: i64| pb::Mount {
        dest: dest.to_owned(),
        input,
        output: pb::SKIP_OUTPUT,
        ..pb::Mount::default()
    };
    let of_kind = |kind: i32| pb::Mount { mount_type: kind, ..at("/m", pb::EMPTY) };
    vec![
        ("an empty step", step(pb::Kind::Exec(pb::ExecOp::default()))),
        ("no process", with(|step| step.meta = None)),
        ("no arguments", with(|step| step.meta.as_mut().unwrap().args.clear())),
        ("no mounts", with(|step| step.mounts.clear())),
        ("a root that is not there", with(|_| {})),
        ("a negative root", with(|step| step.mounts[0].input = -9)),
        ("an unknown network", with(|step| step.network = 77)),
        ("an unknown security", with(|step| step.security = -77)),
        ("a variable without a name", with(|step| step.meta.as_mut().unwrap().env.push("\0".to_owned()))),
        ("a mount nowhere", step(mounted(at("", pb::EMPTY)))),
        ("a mount of what is not there", step(mounted(at("/m", 99)))),
        ("an unknown kind of mount", step(mounted(of_kind(77)))),
        ("a secret without options", step(mounted(of_kind(pb::MountType::Secret.into())))),
        ("a cache without options", step(mounted(of_kind(pb::MountType::Cache.into())))),
        ("an output twice", with(|step| step.mounts.push(pb::Mount { dest: "/m".to_owned(), ..pb::Mount::default() }))),
    ]
}

fn others() -> Vec<(&'static str, pb::Definition)> {
    let merge = |inputs: &[i64]| {
        let inputs = inputs.iter().map(|input| pb::MergeInput { input: *input }).collect();
        only(pb::Kind::Merge(pb::MergeOp { inputs }), vec![])
    };
    let diff = |lower, upper| {
        let side = |input: Option<i64>| input.map(|input| pb::DiffInput { input });
        only(pb::Kind::Diff(pb::DiffOp { lower: side(lower), upper: side(upper) }), vec![])
    };
    let build = |build| only(pb::Kind::Build(build), vec![]);
    let itself = definition(vec![(mkfile("/f", b"x", pb::EMPTY), vec![])]);
    vec![
        ("a merge of what is not there", merge(&[0, 1])),
        ("a merge of negative inputs", merge(&[-5, i64::MIN])),
        ("a difference of what is not there", diff(Some(4), Some(5))),
        ("a difference of nothing in particular", diff(None, Some(i64::MIN))),
        ("a build of nothing", build(pb::BuildOp::default())),
        (
            "a build by what is not there",
            build(pb::BuildOp { builder: 9, def: Some(itself), ..pb::BuildOp::default() }),
        ),
        ("a build of garbage", {
            let def = pb::Definition { def: vec![Bytes::from_static(b"\xff")], ..pb::Definition::default() };
            build(pb::BuildOp { builder: pb::EMPTY, def: Some(def), ..pb::BuildOp::default() })
        }),
        ("a passthrough of what is not there", {
            only(pb::Kind::Passthrough(pb::PassthroughOp { id: String::new(), outputs: vec![3, -3] }), vec![])
        }),
        ("an op without a kind", {
            let op = pb::Op { platform: Some(pb::Platform::default()), ..pb::Op::default() };
            of(&[op.clone(), result(vec![input(&op, 0)])])
        }),
        ("metadata of nobody with an unknown capability", {
            let good = vertex(mkfile("/f", b"x", pb::EMPTY), vec![]);
            let head = result(vec![input(&good, 0)]);
            let mut definition = of(&[good.clone(), head]);
            let caps = [("sideways".to_owned(), true)].into();
            let metadata = pb::OpMetadata { caps, ..pb::OpMetadata::default() };
            definition.metadata.insert(digest(&good.to_bytes().into()), metadata);
            definition
        }),
    ]
}
