//! What graphs take, how requests are told, operations and steps as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_export::provenance::{ImageSource, RequestProvenance};
use rbuild_graph::source::attr;
use rbuild_graph::{Builder, Definition, Graph, Node, pb};
use rbuild_oci::{Digest, Platform};
use serde_json::json;

use super::capture::capture;
use super::operation::{message, operation};
use super::producers::Producers;
use super::scope::of_platform;
use super::steps::steps;

const COMMIT: &str = "0123456789012345678901234567890123456789";

fn source(builder: &mut Builder, identifier: &str, attributes: &[(&str, &str)]) -> Node {
    let attrs = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let op = pb::Op {
        op: Some(pb::Kind::Source(pb::SourceOp { identifier: identifier.to_owned(), attrs })),
        platform: Some((&Platform::new("linux", "amd64", None)).into()),
        ..pb::Op::default()
    };
    builder.add(op, Vec::new(), &pb::OpMetadata::default(), &[])
}

fn root_mount() -> pb::Mount {
    pb::Mount { dest: "/".to_owned(), ..pb::Mount::default() }
}

/// A step on a source.
fn built(identifier: &str, attributes: &[(&str, &str)], exec: pb::ExecOp) -> Definition {
    let mut builder = Builder::new();
    let source = source(&mut builder, identifier, attributes);
    let exec = pb::ExecOp {
        meta: Some(pb::Meta { args: vec!["true".to_owned()], cwd: "/".to_owned(), ..pb::Meta::default() }),
        ..exec
    };
    let step = pb::Op { op: Some(pb::Kind::Exec(exec)), ..pb::Op::default() };
    let step = builder.add(step, vec![source.output(0)], &pb::OpMetadata::default(), &[]);
    builder.finish(Some(step.output(0)), Vec::new())
}

fn offline() -> pb::ExecOp {
    pb::ExecOp { mounts: vec![root_mount()], network: pb::NetMode::None.into(), ..pb::ExecOp::default() }
}

/// What is captured, in one line.
fn captured(definition: &Definition, pin: &str) -> String {
    let graph = Graph::load(definition).unwrap();
    let is_source = |kind: &pb::Kind| matches!(kind, pb::Kind::Source(_));
    let sources = graph.vertices().iter().filter(|vertex| is_source(vertex.kind()));
    let pins = sources.filter(|_| !pin.is_empty()).map(|vertex| (vertex.digest, pin.to_owned())).collect();
    let capture = capture(&graph, &pins);
    let mut told = Vec::new();
    for image in &capture.sources.images {
        let platform = image.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        told.push(format!("image {} {platform} local={}", image.reference, image.local));
    }
    told.extend(capture.sources.git.iter().map(|git| format!("git {} {}", git.url, &git.commit[..4])));
    told.extend(capture.sources.http.iter().map(|http| format!("http {}", http.url)));
    told.extend(capture.sources.local.iter().map(|name| format!("local {name}")));
    let secret = |kind: &str, id: &str, optional: bool| format!("{kind} {id}{}", if optional { "?" } else { "" });
    told.extend(capture.request.secrets.iter().map(|one| secret("secret", &one.id, one.optional)));
    told.extend(capture.request.ssh.iter().map(|one| secret("ssh", &one.id, one.optional)));
    let flags = [(capture.network_access, "network"), (capture.incomplete, "incomplete")];
    told.extend(flags.iter().filter(|(is_so, _)| *is_so).map(|(_, name)| (*name).to_owned()));
    told.join(", ")
}

#[test]
fn what_graphs_take() {
    let digest = Digest::of(b"x").to_string();
    let fullurl = (attr::FULL_REMOTE_URL, "https://u:p@git.example/r.git");
    let git = [fullurl, (attr::AUTH_TOKEN_SECRET, "T"), (attr::MOUNT_SSH_SOCK, "agent")];
    let layout = format!("oci-layout://docker.io/library/foo@{digest}");
    let of_layout = format!("image docker.io/library/foo@{digest} linux/amd64 local=true");
    for (identifier, attributes, pin, want) in [
        (
            "docker-image://docker.io/library/busybox:1",
            &[][..],
            digest.as_str(),
            "image docker.io/library/busybox:1 linux/amd64 local=false",
        ),
        (layout.as_str(), &[], &digest, of_layout.as_str()),
        (
            "git://git.example/r.git#main:sub",
            &git,
            COMMIT,
            "git https://xxxxx:xxxxx@git.example/r.git#main 0123, secret T?, ssh agent?",
        ),
        ("git://git.example/r.git", &[], COMMIT, "git https://git.example/r.git 0123"),
        ("https://u:p@example.org/f", &[], &digest, "http https://xxxxx:xxxxx@example.org/f"),
        ("local://context", &[], "", "local context"),
        // Of what was never asked nothing can be told.
        ("https://example.org/f", &[], "", "incomplete"),
        ("docker-image://docker.io/library/busybox:1", &[], "no digest", "incomplete"),
    ] {
        assert_eq!(captured(&built(identifier, attributes, offline()), pin), want, "{identifier}");
    }
}

#[test]
fn what_steps_are_given() {
    let secret = |id: &str, optional| pb::Mount {
        dest: format!("/{id}"),
        input: pb::EMPTY,
        mount_type: pb::MountType::Secret.into(),
        secret_opt: Some(pb::SecretOpt { id: id.to_owned(), optional, ..pb::SecretOpt::default() }),
        ..pb::Mount::default()
    };
    let agent = pb::Mount {
        dest: "/agent".to_owned(),
        input: pb::EMPTY,
        mount_type: pb::MountType::Ssh.into(),
        ssh_opt: Some(pb::SshOpt { optional: true, ..pb::SshOpt::default() }),
        ..pb::Mount::default()
    };
    let variable = pb::SecretEnv { id: "a".to_owned(), name: "A".to_owned(), optional: false };
    for (mounts, secretenv, network, want) in [
        (vec![], vec![], pb::NetMode::Unset, "local c, network"),
        (vec![], vec![], pb::NetMode::Host, "local c, network"),
        (vec![secret("a", true), secret("b", true)], vec![], pb::NetMode::None, "local c, secret a?, secret b?"),
        (vec![secret("a", true)], vec![variable], pb::NetMode::None, "local c, secret a"),
        (vec![agent], vec![], pb::NetMode::None, "local c, ssh default?"),
    ] {
        let mounts = std::iter::once(root_mount()).chain(mounts).collect();
        let exec = pb::ExecOp { mounts, secretenv, network: network.into(), ..pb::ExecOp::default() };
        assert_eq!(captured(&built("local://c", &[], exec), ""), want);
    }
}

#[test]
fn operations_as_json() {
    let file = |action| {
        pb::Kind::File(pb::FileOp {
            actions: vec![pb::FileAction { action: Some(action), ..pb::FileAction::default() }],
        })
    };
    let by_name = pb::User::ByName(pb::NamedUserOpt { name: "me".to_owned(), input: 1 });
    let owner = pb::ChownOpt {
        user: Some(pb::UserOpt { user: Some(by_name) }),
        group: Some(pb::UserOpt { user: Some(pb::User::ById(7)) }),
    };
    let mkfile = pb::FileActionMkFile {
        path: "/f".to_owned(),
        mode: 0o600,
        data: "hi".into(),
        owner: Some(owner),
        timestamp: -1,
    };
    let local = [(attr::LOCAL_SESSION_ID, "s"), (attr::LOCAL_UNIQUE_ID, "u"), (attr::INCLUDE_PATTERNS, "[]")];
    let local = local.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    for (kind, want) in [
        (
            pb::Kind::Source(pb::SourceOp { identifier: "local://c".to_owned(), attrs: local }),
            json!({"source": {"identifier": "local://c", "attrs": {"local.includepattern": "[]"}}}),
        ),
        (
            file(pb::Action::Mkfile(mkfile)),
            json!({"file": {"actions": [{"input": 0, "secondaryInput": 0, "output": 0, "Action": {"mkfile": {
                "path": "/f", "mode": 384, "data": "aGk=", "timestamp": -1,
                "owner": {"user": {"User": {"byName": {"name": "me", "input": 1}}}, "group": {"User": {"byId": 7}}},
            }}}]}}),
        ),
        (
            pb::Kind::Exec(pb::ExecOp {
                meta: Some(pb::Meta { args: vec!["a".to_owned()], ..pb::Meta::default() }),
                mounts: vec![pb::Mount { output: pb::SKIP_OUTPUT, ..root_mount() }],
                network: 2,
                ..pb::ExecOp::default()
            }),
            json!({"exec": {"meta": {"args": ["a"]}, "mounts": [{"dest": "/", "output": -1}], "network": 2}}),
        ),
        (
            pb::Kind::Diff(pb::DiffOp { lower: Some(pb::DiffInput { input: 0 }), upper: None }),
            json!({"diff": {"lower": {}}}),
        ),
        (
            pb::Kind::Merge(pb::MergeOp { inputs: vec![pb::MergeInput { input: 0 }, pb::MergeInput { input: 1 }] }),
            json!({"merge": {"inputs": [{}, {"input": 1}]}}),
        ),
    ] {
        let op = pb::Op { op: Some(kind), constraints: Some(pb::WorkerConstraints::default()), ..pb::Op::default() };
        assert_eq!(operation(&op), json!({"Op": want, "constraints": {}}));
    }
}

#[test]
fn choices_have_no_name_in_messages() {
    let user = |user| Some(pb::UserOpt { user: Some(user) });
    let owner = pb::ChownOpt { user: user(pb::User::ById(7)), group: None };
    let action = pb::Action::Mkdir(pb::FileActionMkDir {
        path: "/d".to_owned(),
        owner: Some(owner),
        ..pb::FileActionMkDir::default()
    });
    let action = pb::FileAction { action: Some(action), input: 1, secondary_input: -1, output: 0 };
    let op = pb::Op {
        inputs: vec![pb::Input { digest: "sha256:0".to_owned(), index: 2 }],
        op: Some(pb::Kind::File(pb::FileOp { actions: vec![action] })),
        ..pb::Op::default()
    };
    let made = json!({"path": "/d", "owner": {"user": {"byId": 7}}});
    let action = json!({"input": 1, "secondaryInput": -1, "output": 0, "mkdir": made});
    let inputs = json!([{"digest": "sha256:0", "index": 2}]);
    assert_eq!(message(&op), json!({"inputs": inputs, "file": {"actions": [action]}}));
}

#[test]
fn steps_stand_after_what_they_need() {
    let definition = built("local://c", &[], offline()).to_pb();
    let found = steps(&definition);
    let told: Vec<_> = found.config.steps.iter().map(|step| (step.id.as_str(), step.inputs.join(" "))).collect();
    let inputs = |text: &str| text.to_owned();
    assert_eq!(told, [("step0", inputs("")), ("step1", inputs("step0:0")), ("step2", inputs("step1:0"))]);
    let first = Digest::of(&definition.def[0]);
    assert_eq!(found.config.digest_mapping[&first.to_string()], "step0");
    assert_eq!(found.output(&first, 1).as_deref(), Some("step0:1"));
    assert_eq!(found.output(&Digest::of(b"other"), 0), None);
    let range = pb::Range {
        start: Some(pb::Position { line: 2, character: 0 }),
        end: Some(pb::Position { line: 3, character: 1 }),
    };
    let places = |locations| pb::Locations { locations };
    let source = pb::Source {
        locations: [
            (first.to_string(), places(vec![pb::Location { source_index: 0, ranges: vec![range] }])),
            (Digest::of(b"other").to_string(), places(Vec::new())),
        ]
        .into(),
        infos: vec![pb::SourceInfo {
            filename: "Dockerfile".to_owned(),
            data: "FROM x".into(),
            definition: Some(definition.clone()),
            language: "Dockerfile".to_owned(),
        }],
    };
    let told = found.source(&source).unwrap();
    let ranges = json!([{"start": {"line": 2}, "end": {"line": 3, "character": 1}}]);
    assert_eq!(told["locations"], json!({"step0": {"locations": [{"ranges": ranges}]}}));
    let info = &told["infos"][0];
    assert_eq!((&info["filename"], &info["data"]), (&json!("Dockerfile"), &json!("RlJPTSB4")));
    assert_eq!(info["llbDefinition"].as_array().unwrap().len(), 3);
    assert_eq!(found.source(&pb::Source::default()), None);
    // What is no definition has no steps.
    let broken = pb::Definition { def: vec!["broken".into()], ..pb::Definition::default() };
    assert!(steps(&broken).config.steps.is_empty() && steps(&pb::Definition::default()).config.steps.is_empty());
}

#[test]
fn producers_are_known_while_they_last_and_agree() {
    let producers = Arc::new(Producers::default());
    let definition = built("local://c", &[], offline()).to_pb();
    let request = |target: &str| {
        let args = BTreeMap::from([("target".to_owned(), target.to_owned())]);
        RequestProvenance::new("dockerfile.v0", &args, &Default::default())
    };
    assert_eq!(producers.find(&definition), None);
    let first = producers.register(&definition, request("a")).unwrap();
    assert_eq!(producers.find(&definition), Some(request("a")));
    let second = producers.register(&definition, request("a")).unwrap();
    assert_eq!(producers.find(&definition), Some(request("a")));
    let third = producers.register(&definition, request("b"));
    assert_eq!(producers.find(&definition), None);
    drop((first, third));
    assert_eq!(producers.find(&definition), Some(request("a")));
    drop(second);
    assert_eq!(producers.find(&definition), None);
    assert!(producers.register(&pb::Definition::default(), request("a")).is_none());
}

#[test]
fn images_of_other_platforms_are_left_out() {
    let platform = |name: &str| Platform::parse(name).unwrap();
    let platforms = ["linux/amd64", "linux/arm64"].map(|name| (name.to_owned(), platform(name)));
    let image = |name: &str, of: &str| ImageSource {
        reference: name.parse().unwrap(),
        platform: Some(platform(of)),
        digest: None,
        local: false,
    };
    // The tool is there for the platform of the build alone, whatever the result is for.
    let all = vec![image("base", "linux/amd64"), image("base", "linux/arm64"), image("tool", "linux/amd64")];
    for (id, want) in [
        ("linux/amd64", vec!["base linux/amd64", "tool linux/amd64"]),
        ("linux/arm64", vec!["base linux/arm64", "tool linux/amd64"]),
        ("other", vec!["base linux/amd64", "base linux/arm64", "tool linux/amd64"]),
    ] {
        let found = of_platform(all.clone(), id, &platforms);
        let shown =
            |image: &ImageSource| format!("{} {}", image.reference.familiar_name(), image.platform.as_ref().unwrap());
        assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), want, "{id}");
    }
}
