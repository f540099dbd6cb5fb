//! Hostile clients: every field of every message missing, absurd or random. Each gets an answer, and the daemon goes on.

use prost::Message;
use rbuild_buildkit_api::control::{
    BuildHistoryRequest, CacheOptions, CacheOptionsEntry, DiskUsageRequest, Exporter, InfoRequest, PruneRequest,
    SolveRequest, StatusRequest, UpdateBuildHistoryRequest,
};
use rbuild_buildkit_api::gateway::{
    self, EvaluateRequest, PingRequest, ReadDirRequest, ReadFileRequest, Ref, ResolveImageConfigRequest, ResultResult,
    ReturnRequest, StatFileRequest,
};
use rbuild_graph::pb;
use tonic::{Code, Status};

use crate::broken_graphs::broken;
use crate::build_client::{Client, attributes, build_name, dockerfile, driven, session};
use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::raw_calls::{METHODS, Method, messages};

/// The most that a daemon may take which did nothing but refuse.
const MEMORY: u64 = 256 << 20;

fn is_well(client: &Client) {
    client.run(client.control().info(InfoRequest {})).expect("the daemon is well");
}

#[test]
fn broken_graphs_are_refused() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    for (name, graph) in broken() {
        let request = SolveRequest { definition: Some(graph), ..driven() };
        let built = client.solve(request);
        let status = built.result.expect_err(name);
        assert!(!status.message().is_empty() && status.code() != Code::Internal, "{name}: {status:?}");
    }
    // A million vertices are refused before they are looked at.
    let op = pb::Op::default().to_bytes();
    let many = pb::Definition { def: vec![op.into(); 1_000_000], ..pb::Definition::default() };
    assert!(client.solve(SolveRequest { definition: Some(many), ..driven() }).result.is_err());
    is_well(&client);
    assert!(daemon.memory() < MEMORY, "{} bytes", daemon.memory());
    daemon.stop();
}

#[test]
fn absurd_requests_for_builds_are_refused() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let context = lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]);
    let served = client.attach(session(&context));
    let base = || SolveRequest { session: served.id().to_owned(), ..dockerfile(&[]) };
    for name in ["", &"x".repeat(5000)] {
        client.refused(SolveRequest { r#ref: name.to_owned(), ..base() });
    }
    let cache = |kind: &str, list: &[(&str, &str)]| {
        let entry = CacheOptionsEntry { r#type: kind.to_owned(), attrs: attributes(list) };
        Some(CacheOptions { exports: vec![entry], ..CacheOptions::default() })
    };
    let exporter = |kind: &str| vec![Exporter { r#type: kind.to_owned(), ..Exporter::default() }];
    let absurd = [
        SolveRequest { frontend: "sideways.v0".to_owned(), ..base() },
        SolveRequest { frontend: "gateway.v0".to_owned(), ..base() },
        SolveRequest {
            definition: Some(pb::Definition { def: vec![b"x"[..].into()], ..pb::Definition::default() }),
            ..base()
        },
        SolveRequest { session: "\0".to_owned(), ..base() },
        SolveRequest { session: String::new(), ..base() },
        SolveRequest { cache: cache("", &[]), ..base() },
        SolveRequest { cache: cache("registry", &[]), ..base() },
        SolveRequest { cache: cache("registry", &[("ref", "A B")]), ..base() },
        SolveRequest { cache: cache("local", &[("dest", "/etc")]), ..base() },
        SolveRequest {
            cache: Some(CacheOptions { exports: vec![CacheOptionsEntry::default(); 101], ..Default::default() }),
            ..base()
        },
        SolveRequest { exporters: exporter(""), ..base() },
        SolveRequest { exporters: exporter("../../etc"), ..base() },
        SolveRequest { exporters: exporter("local"), ..base() },
    ];
    for request in absurd {
        let shown = format!("{request:?}");
        assert!(client.solve(request).result.is_err(), "{shown}");
    }
    for (name, value) in [
        ("filename", "../../../etc/passwd"),
        ("filename", "/absent"),
        ("target", "\0"),
        ("platform", ",,,"),
        ("contextkey", "absent"),
        ("dockerfilekey", "absent"),
        ("context:x", ""),
        ("cache-imports", "[[["),
        ("requestid", "\u{1b}[2J"),
        ("shm-size", "-1"),
        ("ulimit", "x=1"),
        ("add-hosts", "x"),
        ("multi-platform", "perhaps"),
        ("no-cache", "\u{ffff}"),
        ("force-network-mode", "sideways"),
        ("image-resolve-mode", "sideways"),
        ("build-arg:SOURCE_DATE_EPOCH", "99999999999999999999"),
    ] {
        let built = client.solve(SolveRequest { session: served.id().to_owned(), ..dockerfile(&[(name, value)]) });
        // Some of it makes no difference; no answer names a defect of ours.
        assert!(
            built.result.as_ref().map_or_else(Status::code, |_| Code::Ok) != Code::Internal,
            "{name}={value}: {built:?}"
        );
    }
    let huge = SolveRequest { frontend_attrs: attributes(&[("build-arg:A", &"x".repeat(15 << 20))]), ..base() };
    let _ = client.solve(huge);
    is_well(&client);
    assert!(daemon.memory() < MEMORY, "{} bytes", daemon.memory());
    drop(served);
    daemon.stop();
}

#[test]
fn absurd_questions_are_answered() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let mut control = client.control();
    for request in [
        PruneRequest { keep_duration: -1, ..PruneRequest::default() },
        PruneRequest { reserved_space: i64::MIN, ..PruneRequest::default() },
        PruneRequest { filter: vec!["==,==".to_owned()], ..PruneRequest::default() },
    ] {
        client.run(control.prune(request)).map(|_| ()).expect_err("an absurd prune");
    }
    for request in [
        DiskUsageRequest { age_limit: i64::MIN, ..DiskUsageRequest::default() },
        DiskUsageRequest { filter: vec!["id~=(((".to_owned()], ..DiskUsageRequest::default() },
    ] {
        client.run(control.disk_usage(request)).map(|_| ()).expect_err("an absurd question");
    }
    let request = BuildHistoryRequest { limit: -1, early_exit: true, ..BuildHistoryRequest::default() };
    client.run(control.listen_build_history(request)).map(|_| ()).expect_err("a negative limit");
    for delete in [true, false] {
        let request = UpdateBuildHistoryRequest { r#ref: "../..".to_owned(), delete, ..Default::default() };
        client.run(control.update_build_history(request)).expect_err("no such build");
    }
    // Calls wait for builds that are about to begin, side by side.
    let (nameless, unknown) = (client.bridge(""), client.bridge("absent"));
    let [mut nameless, mut unknown, mut without] = [nameless, unknown, client.bridge("x")];
    let status = StatusRequest { r#ref: "absent".to_owned() };
    let answers = client.run(async {
        tokio::join!(
            async { nameless.ping(PingRequest {}).await.map(|_| ()) },
            async { unknown.ping(PingRequest {}).await.map(|_| ()) },
            async { without.evaluate(EvaluateRequest::default()).await.map(|_| ()) },
            async { control.status(status).await.map(|_| ()) },
        )
    });
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        answer.expect_err("there is no such build");
    }
    is_well(&client);
    daemon.stop();
}

#[test]
fn absurd_frontends_are_answered() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let request = driven();
    let name = request.r#ref.clone();
    let built = client.drive(request, |mut bridge| async move {
        let mut refused = Vec::new();
        for id in ["absent", "../..", "\0", &"x".repeat(1 << 20)] {
            let r#ref = id.to_owned();
            refused.push(bridge.evaluate(EvaluateRequest { r#ref: r#ref.clone() }).await.map(|_| ()));
            let file =
                ReadFileRequest { r#ref: r#ref.clone(), file_path: "/x".to_owned(), ..ReadFileRequest::default() };
            refused.push(bridge.read_file(file).await.map(|_| ()));
            let directory = ReadDirRequest { r#ref: r#ref.clone(), ..ReadDirRequest::default() };
            refused.push(bridge.read_dir(directory).await.map(|_| ()));
            let stat = StatFileRequest { r#ref: r#ref.clone(), mount_index: -5, ..StatFileRequest::default() };
            refused.push(bridge.stat_file(stat).await.map(|_| ()));
            let image = ResolveImageConfigRequest { r#ref, resolver_type: i32::MIN, ..Default::default() };
            refused.push(bridge.resolve_image_config(image).await.map(|_| ()));
            let named = Ref { id: id.to_owned(), def: None };
            let result = gateway::Result { result: Some(ResultResult::Ref(named)), ..gateway::Result::default() };
            refused.push(bridge.r#return(ReturnRequest { result: Some(result), error: None }).await.map(|_| ()));
        }
        refused.push(bridge.r#return(ReturnRequest::default()).await.map(|_| ()));
        refused.push(bridge.resolve_source_meta(gateway::ResolveSourceMetaRequest::default()).await.map(|_| ()));
        for (number, answer) in refused.into_iter().enumerate() {
            let status = answer.expect_err(&format!("the answer to the question {number}"));
            assert_ne!(status.code(), Code::Internal, "{status:?}");
        }
        Ok(ReturnRequest { result: Some(gateway::Result::default()), error: None })
    });
    built.ok();
    // The build is over: its name leads nowhere any more, and may be used again.
    client.run(async { client.bridge(&name).ping(PingRequest {}).await }).expect_err("the build is over");
    is_well(&client);
    daemon.stop();
}

#[test]
fn two_builds_cannot_have_one_name() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let request = driven();
    let again = request.clone();
    let built = client.drive(request, |mut bridge| {
        let mut control = client.control();
        async move {
            bridge.ping(PingRequest {}).await?;
            let status = control.solve(again).await.expect_err("the name is taken");
            assert!(!status.message().is_empty());
            // The first build is as it was.
            bridge.ping(PingRequest {}).await?;
            Ok(ReturnRequest { result: Some(gateway::Result::default()), error: None })
        }
    });
    built.ok();
    daemon.stop();
}

#[test]
fn random_messages_to_all_methods_are_answered() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let context = lab.context("FROM scratch\nCOPY a /\n", &[("a", "A")]);
    let served = client.attach(session(&context));
    let ended = dockerfile(&[]);
    let known = ended.r#ref.clone();
    client.solve(SolveRequest { session: served.id().to_owned(), ..ended }).ok();
    // A build that goes on, for calls of frontends to belong to.
    let open = driven();
    let build = open.r#ref.clone();
    let mut control = client.control();
    let building = client.start(async move { control.solve(open).await });
    client.run(client.bridge(&build).ping(PingRequest {})).expect("the build goes on");
    let random = messages(30);
    for method in METHODS {
        let calls = random.iter().map(|message| {
            let last = last_word(method, served.id(), &known);
            method.call(client.channel.clone(), &build, [&message[..], &last].concat())
        });
        for answer in client.run(futures::future::join_all(calls)) {
            let said = answer.map_or_else(|status| status.message().to_owned(), |_| String::new());
            assert!(!said.contains("the daemon failed") && !said.contains("panicked"), "{method:?}: {said}");
        }
        is_well(&client);
    }
    let over = ReturnRequest { result: Some(gateway::Result::default()), error: None };
    client.run(client.bridge(&build).r#return(over)).expect("the build ends");
    client.run(building).expect("no panic").expect("nothing was asked for");
    assert!(daemon.memory() < MEMORY, "{} bytes", daemon.memory());
    drop(served);
    daemon.stop();
}

/// What is said last in a message counts: so that a random one neither waits for anybody nor asks for the network.
fn last_word(method: &Method, session: &str, known: &str) -> Vec<u8> {
    match method.name {
        "Solve" if method.is_control() => SolveRequest {
            r#ref: build_name(),
            session: session.to_owned(),
            frontend: "dockerfile.v0".to_owned(),
            ..SolveRequest::default()
        }
        .encode_to_vec(),
        "Status" if method.is_control() => StatusRequest { r#ref: known.to_owned() }.encode_to_vec(),
        "ListenBuildHistory" => BuildHistoryRequest { early_exit: true, ..Default::default() }.encode_to_vec(),
        _ => Vec::new(),
    }
}
