//! Builds that a frontend in the client drives, as all of buildctl's and buildx's are.

use std::collections::BTreeMap;

use rbuild_buildkit_api::caps::ApiCap;
use rbuild_buildkit_api::control;
use rbuild_buildkit_api::gateway::{
    EvaluateRequest, FileRange, InputsRequest, PingRequest, ReadDirRequest, ReadFileRequest, Ref,
    ResolveImageConfigRequest, ResolveSourceImageRequest, ResolveSourceMetaRequest, Result as GatewayResult,
    ResultResult, ReturnRequest, SolveRequest, StatFileRequest, WarnRequest,
};
use rbuild_graph::pb;
use tonic::{Code, Status};

use crate::build_client::{Bridge, attributes, dockerfile, driven, into_file, session, with_output};
use crate::built::details;
use crate::daemon::Daemon;
use crate::graphs::{definition, exec, image, mkfile};
use crate::lab::{Lab, path, run};
use crate::registry::Registry;

/// Asks for the results of a Dockerfile.
fn asked(more: &[(&str, &str)]) -> SolveRequest {
    let mut frontend_opt = attributes(&[("image-resolve-mode", "local")]);
    frontend_opt.extend(attributes(more));
    SolveRequest {
        frontend: "dockerfile.v0".to_owned(),
        frontend_opt,
        allow_result_return: true,
        allow_result_array_ref: true,
        ..SolveRequest::default()
    }
}

/// Asks for the result of a graph.
fn asked_graph(graph: pb::Definition) -> SolveRequest {
    let base = SolveRequest { allow_result_return: true, allow_result_array_ref: true, ..SolveRequest::default() };
    SolveRequest { definition: Some(graph), ..base }
}

async fn solved(bridge: &mut Bridge, request: SolveRequest) -> Result<GatewayResult, Status> {
    Ok(bridge.solve(request).await?.into_inner().result.expect("a result"))
}

/// Returns the name of the only result.
fn only(result: &GatewayResult) -> String {
    match &result.result {
        Some(ResultResult::Ref(Ref { id, def: Some(definition) })) if !definition.def.is_empty() => id.clone(),
        other => panic!("not one result with its definition: {other:?}"),
    }
}

fn returned(result: GatewayResult) -> Result<ReturnRequest, Status> {
    Ok(ReturnRequest { result: Some(result), error: None })
}

/// What a frontend returns that built nothing.
fn nothing() -> Result<ReturnRequest, Status> {
    returned(GatewayResult::default())
}

#[test]
fn a_frontend_in_the_client_is_answered() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let context = lab.context("FROM busybox\nRUN mkdir /d && echo hello > /d/f && ln -s f /d/link\n", &[]);
    let archive = lab.at("files.tar");
    let served = client.attach(into_file(session(&context), 0, &archive));
    let mut request = with_output(driven(), "tar", &[]);
    request.session = served.id().to_owned();
    let built = client.drive(request, |mut bridge| async move {
        let pong = bridge.ping(PingRequest {}).await?.into_inner();
        let has = |caps: &[ApiCap], id: &str| caps.iter().any(|cap| cap.id == id && cap.enabled);
        assert!(has(&pong.frontend_api_caps, "readdir") && has(&pong.llb_caps, "source.local"), "{pong:?}");
        assert_eq!(pong.workers.len(), 1);
        let image = ResolveImageConfigRequest {
            r#ref: "busybox".to_owned(),
            resolve_mode: "local".to_owned(),
            ..ResolveImageConfigRequest::default()
        };
        let image = bridge.resolve_image_config(image).await?.into_inner();
        assert!(image.digest.starts_with("sha256:") && image.config.starts_with(b"{"), "{image:?}");
        let result = solved(&mut bridge, asked(&[])).await?;
        assert!(result.metadata.contains_key("containerimage.config"), "{result:?}");
        let id = only(&result);
        bridge.evaluate(EvaluateRequest { r#ref: id.clone() }).await?;
        read(&mut bridge, &id).await?;
        let warning = WarnRequest { short: "mind the step".into(), level: 1, ..WarnRequest::default() };
        bridge.warn(warning).await?;
        returned(result)
    });
    let built = built.ok();
    assert!(built.progress.warnings.contains(&"mind the step".to_owned()), "{built:#?}");
    let listed = run(lab.command("tar").args(["-tf", &path(&archive)]), b"").ok();
    assert!(listed.stdout.contains("d/f"), "{listed:?}");
    drop(served);
    daemon.stop();
}

/// Reads what the Dockerfile above has made.
async fn read(bridge: &mut Bridge, id: &str) -> Result<(), Status> {
    let file = |path: &str, range| ReadFileRequest {
        r#ref: id.to_owned(),
        file_path: path.to_owned(),
        range,
        ..ReadFileRequest::default()
    };
    assert_eq!(bridge.read_file(file("/d/f", None)).await?.into_inner().data, "hello\n");
    let middle = Some(FileRange { offset: 1, length: 3 });
    assert_eq!(bridge.read_file(file("d/link", middle)).await?.into_inner().data, "ell");
    let absent = bridge.read_file(file("/absent", None)).await.expect_err("it is not there");
    assert!(absent.message().contains("open /absent: no such file or directory"), "{absent:?}");
    let negative = Some(FileRange { offset: -1, length: -1 });
    bridge.read_file(file("/d/f", negative)).await.expect_err("a range is not negative");
    let directory = |path: &str, pattern: &str| ReadDirRequest {
        r#ref: id.to_owned(),
        dir_path: path.to_owned(),
        include_pattern: pattern.to_owned(),
        ..ReadDirRequest::default()
    };
    for (path, pattern, names) in [("/d", "", &["f", "link"][..]), ("d", "l*", &["link"])] {
        let entries = bridge.read_dir(directory(path, pattern)).await?.into_inner().entries;
        assert_eq!(entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), names);
    }
    let stat = StatFileRequest { r#ref: id.to_owned(), path: "/d/f".to_owned(), ..StatFileRequest::default() };
    let stat = bridge.stat_file(stat).await?.into_inner().stat.expect("its stat");
    assert_eq!((stat.path.as_str(), stat.size, stat.mode), ("f", 6, 0o644));
    Ok(())
}

#[test]
fn an_empty_build_tells_whether_there_is_a_daemon() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let request = control::SolveRequest { internal: true, ..driven() };
    let built = client.drive(request, |mut bridge| async move {
        bridge.ping(PingRequest {}).await?;
        nothing()
    });
    assert!(built.ok().result.unwrap().is_empty());
    daemon.stop();
}

#[test]
fn graphs_of_the_client_are_built() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let out = lab.at("out");
    let graph = definition(vec![(mkfile("/f", b"text", pb::EMPTY), vec![]), (mkfile("/g", b"more", 0), vec![0])]);
    // By the request itself, by the frontend, and as an input of it.
    let served = client.attach(rbuild_session::client::ClientSession::new("").with_directory(0, &out));
    let request = || {
        let request = with_output(driven(), "local", &[]);
        control::SolveRequest { session: served.id().to_owned(), ..request }
    };
    let plain = control::SolveRequest { definition: Some(graph.clone()), ..request() };
    client.solve(plain).ok();
    assert_eq!(std::fs::read_to_string(out.join("g")).unwrap(), "more");
    std::fs::remove_dir_all(&out).unwrap();
    let given = graph.clone();
    let by_frontend =
        client.drive(request(), |mut bridge| async move { returned(solved(&mut bridge, asked_graph(given)).await?) });
    by_frontend.ok();
    assert_eq!(std::fs::read_to_string(out.join("f")).unwrap(), "text");
    std::fs::remove_dir_all(&out).unwrap();
    let frontend_inputs = BTreeMap::from([("in".to_owned(), graph)]);
    let request = control::SolveRequest { frontend_inputs, ..request() };
    let by_input = client.drive(request, |mut bridge| async move {
        let mut inputs = bridge.inputs(InputsRequest {}).await?.into_inner().definitions;
        let graph = inputs.remove("in").expect("the input that was given");
        returned(solved(&mut bridge, asked_graph(graph)).await?)
    });
    by_input.ok();
    assert_eq!(std::fs::read_to_string(out.join("f")).unwrap(), "text");
    drop(served);
    daemon.stop();
}

#[test]
fn nothing_runs_before_somebody_asks() {
    let lab = Lab::new();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let failing = pb::Kind::Exec(exec(&["sh", "-c", "echo tried; exit 3"]));
    let graph = || definition(vec![(image("busybox"), vec![]), (failing.clone(), vec![0])]);
    // Solving is not running; a result that is not returned is never run.
    let graph_of_nobody = graph();
    let untouched = client.drive(driven(), |mut bridge| async move {
        solved(&mut bridge, asked_graph(graph_of_nobody)).await?;
        nothing()
    });
    assert!(!untouched.ok().progress.logs.contains("tried"));
    let graph_to_evaluate = graph();
    let seen = client.drive(driven(), |mut bridge| async move {
        let id = only(&solved(&mut bridge, asked_graph(graph_to_evaluate)).await?);
        let failed = bridge.evaluate(EvaluateRequest { r#ref: id }).await.expect_err("the step fails");
        assert_eq!(details(&failed, "gatewayapi.ExitMessage")[0]["Code"], 3, "{failed:?}");
        Err(failed)
    });
    let status = seen.prints("tried").fails("exit code: 3");
    assert_eq!(details(&status, "gatewayapi.ExitMessage")[0]["Code"], 3, "what the frontend returned has its details");
    let graph_to_return = graph();
    let late = client.drive(driven(), |mut bridge| async move {
        returned(solved(&mut bridge, asked_graph(graph_to_return)).await?)
    });
    late.fails("exit code: 3");
    daemon.stop();
}

#[test]
fn questions_about_a_dockerfile_are_answered() {
    let lab = Lab::empty();
    let daemon = Daemon::start(&lab);
    let client = daemon.client();
    let context = lab.context("from scratch\nCOPY a /\n", &[]);
    let served = client.attach(session(&context));
    let request = || control::SolveRequest { session: served.id().to_owned(), ..driven() };
    let built = client.drive(request(), |mut bridge| async move {
        let lint = solved(&mut bridge, asked(&[("requestid", "frontend.lint")])).await?;
        let text = String::from_utf8_lossy(&lint.metadata["result.json"]).into_owned();
        assert!(text.contains("ConsistentInstructionCasing"), "{text}");
        let unknown = solved(&mut bridge, asked(&[("requestid", "frontend.unheardof")])).await.expect_err("unknown");
        assert_eq!(unknown.code(), Code::Unimplemented, "{unknown:?}");
        assert_eq!(details(&unknown, "errdefs.Subrequest")[0]["name"], "frontend.unheardof");
        nothing()
    });
    built.ok();
    drop(served);
    daemon.stop();
}

#[test]
fn attestations_of_images_are_told() {
    let (lab, other) = (Lab::empty(), Lab::empty());
    let Some(registry) = Registry::start(&lab, "registry", false) else { return };
    let name = format!("{}/app", registry.address);
    let context = lab.context("FROM scratch\nCOPY a /\n", &[("a", "A\n")]);
    let daemon = Daemon::start(&lab);
    let attested = dockerfile(&[("attest:provenance", "mode=max,version=v1")]);
    let request = with_output(attested, "image", &[("name", &name), ("push", "true")]);
    daemon.client().build(session(&context), request).ok();
    daemon.stop();
    // Another daemon has nothing of it in its store.
    let daemon = Daemon::start(&other);
    let ask = |image| ResolveSourceMetaRequest {
        source: Some(pb::SourceOp { identifier: format!("docker-image://{name}"), attrs: BTreeMap::new() }),
        image: Some(image),
        ..ResolveSourceMetaRequest::default()
    };
    let predicate = "https://slsa.dev/provenance/v1";
    let resolve_attestations = vec![predicate.to_owned()];
    let wanted = ask(ResolveSourceImageRequest {
        no_config: true,
        resolve_attestations,
        ..ResolveSourceImageRequest::default()
    });
    let plain = ask(ResolveSourceImageRequest::default());
    let built = daemon.client().drive(driven(), |mut bridge| async move {
        let pong = bridge.ping(PingRequest {}).await?.into_inner();
        let name = "source.metaresolver.image.attestations";
        assert!(pong.frontend_api_caps.iter().any(|cap| cap.id == name && cap.enabled), "{pong:?}");
        let image = bridge.resolve_source_meta(wanted).await?.into_inner().image.expect("an image");
        assert!(image.config.is_empty(), "{image:?}");
        let chain = image.attestation_chain.expect("its attestations");
        assert_eq!((&chain.root, chain.signature_manifests.len(), chain.blobs.len()), (&image.digest, 0, 3));
        for (digest, blob) in &chain.blobs {
            assert_eq!(*digest, rbuild_oci::Digest::of(&blob.data).to_string());
        }
        let manifest = &chain.blobs[&chain.attestation_manifest].data;
        let manifest: serde_json::Value = serde_json::from_slice(manifest).expect("a manifest");
        let layer = manifest["layers"][0]["digest"].as_str().expect("a layer");
        let statement: serde_json::Value = serde_json::from_slice(&chain.blobs[layer].data).expect("a statement");
        assert_eq!(statement["predicateType"], predicate);
        let subject = statement["subject"][0]["digest"]["sha256"].as_str().expect("what it is about");
        assert_eq!(chain.image_manifest, format!("sha256:{subject}"));
        let image = bridge.resolve_source_meta(plain).await?.into_inner().image.expect("an image");
        assert!(image.config.starts_with(b"{") && image.attestation_chain.is_none(), "{image:?}");
        nothing()
    });
    built.ok();
    daemon.stop();
}
