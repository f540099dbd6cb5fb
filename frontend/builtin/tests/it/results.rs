//! What is returned: graphs by platform, metadata, attestations, answers to questions.

use rbuild_builtin::Refs;

use crate::{ask, client, graphs, metadata, shown};

#[test]
fn one_platform() {
    let answered = ask(&client("FROM alpine\nRUN x\nENV B=2\n"), &[]).unwrap();
    assert!(matches!(answered.refs, Refs::Single(_)));
    let expect = r#"{"Platforms":[{"ID":"linux/amd64","Platform":{"architecture":"amd64","os":"linux"}}]}"#;
    assert_eq!(metadata(&answered, "refs.platforms"), expect);
    let config: serde_json::Value = serde_json::from_str(metadata(&answered, "containerimage.config")).unwrap();
    assert_eq!(config["config"]["Env"], serde_json::json!(["PATH=/bin", "A=1", "B=2"]));
    let base: serde_json::Value = serde_json::from_str(metadata(&answered, "containerimage.base.config")).unwrap();
    assert_eq!(
        (&base["history"][0]["created_by"], base["config"]["Env"].as_array().unwrap().len()),
        (&"base".into(), 2)
    );
    assert_eq!(answered.metadata.len(), 3);
}

#[test]
fn several_platforms() {
    let table = client("FROM alpine\nARG TARGETARCH\nRUN x\n");
    let attributes = ["platform=linux/amd64,linux/arm64/v8,linux/arm64", "build-arg:SOURCE_DATE_EPOCH=7"];
    let answered = ask(&table, &attributes).unwrap();
    let ids: Vec<String> = graphs(&answered).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["linux/amd64", "linux/arm64"]);
    let keys: Vec<&str> = answered.metadata.keys().map(String::as_str).collect();
    let expect = [
        "containerimage.base.config/linux/amd64",
        "containerimage.base.config/linux/arm64",
        "containerimage.config/linux/amd64",
        "containerimage.config/linux/arm64",
        "refs.platforms",
        "source.date.epoch/linux/amd64",
        "source.date.epoch/linux/arm64",
    ];
    assert_eq!(keys, expect);
    assert_eq!(metadata(&answered, "source.date.epoch/linux/arm64"), "7");
    assert!(shown(&answered).contains("[linux/arm64 2/2] RUN x"), "{}", shown(&answered));
    // Each question is asked once.
    let asked = table.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|question| question.contains("load metadata")).count(), 2, "{asked:?}");
}

#[test]
fn one_platform_as_one_of_several() {
    for attribute in ["multi-platform=true", "build-arg:BUILDKIT_MULTI_PLATFORM=1"] {
        let answered = ask(&client("FROM scratch\nCOPY a /\n"), &[attribute, "platform=linux/arm/v7"]).unwrap();
        assert_eq!(graphs(&answered)[0].0, "linux/arm/v7");
        assert!(answered.metadata.contains_key("containerimage.config/linux/arm/v7"));
    }
    let answered = ask(&client("FROM scratch\n"), &["platform=windows(10.0.1)/amd64", "multi-platform=1"]).unwrap();
    assert!(
        matches!(&answered.refs, Refs::Platforms(all) if all[0].0 == "windows(10.0.1)/amd64" && all[0].1.is_empty())
    );
}

#[test]
fn questions() {
    let dockerfile = "# syntax=docker/dockerfile:1\nFROM alpine AS base\nmaintainer x\nFROM base AS last\n";
    let table = client(dockerfile);
    for (name, expect, keys) in [
        ("frontend.targets", "\"name\": \"last\"", 3),
        ("frontend.outline", "\"name\": \"last\"", 3),
        ("frontend.lint", "\"ruleName\": \"MaintainerDeprecated\"", 4),
        ("frontend.subrequests.describe", "\"frontend.subrequests.describe\"", 3),
        ("frontend.subrequests.describe", "\"frontend.outline\"", 3),
    ] {
        let answered = ask(&table, &[&format!("requestid={name}")]).unwrap();
        assert!(metadata(&answered, "result.json").contains(expect), "{name}: {}", metadata(&answered, "result.json"));
        assert_eq!((answered.metadata.len(), metadata(&answered, "version")), (keys, "1.0.0"), "{name}");
        assert_eq!(answered.refs, Refs::None);
    }
    let lint = ask(&table, &["requestid=frontend.lint"]).unwrap();
    assert_eq!(metadata(&lint, "result.statuscode"), "1");
    let broken = ask(&client("FROM alpine\nFNORD x\n"), &["requestid=frontend.lint"]).unwrap();
    assert!(metadata(&broken, "result.json").contains("unknown instruction: FNORD"));
}

#[test]
fn graphs_as_json() {
    let dockerfile = "FROM alpine\nRUN --mount=type=cache,target=/c,sharing=locked --network=none x\n\
        COPY --chown=0:u --chmod=755 a /\nCOPY <<x /y\nz<\nx\n";
    let answered = ask(&client(dockerfile), &["requestid=frontend.convertllb", "memory=5"]).unwrap();
    assert_eq!((metadata(&answered, "version"), answered.metadata.len()), ("0.1.0", 2));
    let json: serde_json::Value = serde_json::from_str(metadata(&answered, "result.json")).unwrap();
    let ops = json["def"].as_object().unwrap();
    let all: Vec<&serde_json::Value> = ops.values().collect();
    let find = |kind: &str| all.iter().find(|op| op.get(kind).is_some()).unwrap();
    let exec = &find("exec")["exec"];
    assert_eq!((&exec["network"], &exec["meta"]["cwd"]), (&"NONE".into(), &"/".into()));
    assert_eq!(exec["mounts"][1]["cacheOpt"]["sharing"], "LOCKED");
    assert_eq!((&exec["mounts"][1]["mountType"], &exec["mounts"][1]["output"]), (&"CACHE".into(), &"-1".into()));
    let copies: Vec<_> = all.iter().filter_map(|op| op.get("file")?["actions"][0].get("copy")).collect();
    assert!(copies.iter().any(|copy| copy["owner"]["user"]["byID"] == 0 && copy["mode"] == 0o755), "{copies:?}");
    assert!(copies.iter().any(|copy| copy["owner"]["group"]["byName"]["name"] == "u"), "{copies:?}");
    assert!(all.iter().any(|op| op["file"]["actions"][0]["mkfile"]["data"] == "ejwK"));
    assert_eq!(find("source")["platform"], serde_json::json!({"Architecture": "amd64", "OS": "linux"}));
    let known: Vec<_> = json["metadata"].as_object().unwrap().values().collect();
    assert!(known.iter().any(|known| known["linux_resources"]["memory"] == 5), "{known:?}");
    assert_eq!(json["source"]["infos"][0]["definition"]["def"].as_array().unwrap().len(), 2);
    assert!(
        json["source"]["locations"]
            .as_object()
            .unwrap()
            .values()
            .any(|at| at["locations"][0]["ranges"][0]["start"]["line"] == 2)
    );
}

#[test]
fn warnings_are_told_once_with_their_place() {
    let table = client("FROM alpine\nMAINTAINER \\\n  x\n");
    ask(&table, &["platform=linux/amd64,linux/arm64"]).unwrap();
    let warnings = table.warnings.lock().unwrap();
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.short.starts_with("MaintainerDeprecated: ") && warning.short.ends_with(" (line 2)"));
    assert_eq!((warning.level, warning.detail.len(), warning.url.is_empty()), (1, 1, false));
    let lines: Vec<i32> = warning.ranges.iter().map(|range| range.start.unwrap().line).collect();
    assert_eq!((lines, warning.source.filename.as_str()), (vec![2, 3], "Dockerfile"));
    let origin = rbuild_graph::Definition::from_pb(warning.source.definition.clone().unwrap()).unwrap();
    let origin = rbuild_graph::Graph::load(&origin).unwrap();
    assert_eq!(origin.root().unwrap().vertex, warning.vertex);
    assert_eq!(origin.vertices()[0].name, "[internal] load build definition from Dockerfile");
}

#[test]
fn bills_of_materials() {
    let dockerfile = "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nARG BUILDKIT_SBOM_SCAN_STAGE=true\n\
        FROM alpine AS one\nRUN x\nFROM scratch\nCOPY --from=one / /\n";
    let answered =
        ask(&client(dockerfile), &["attest:sbom=generator=scanner,A=b", "attest:provenance=mode=max"]).unwrap();
    let attestation = &answered.attestations["linux/amd64"][0];
    assert_eq!(attestation.predicate_type, "https://spdx.dev/Document");
    assert_eq!((&*attestation.metadata["reason"], &*attestation.metadata["sbom-core"]), (&b"sbom"[..], &b"sbom"[..]));
    let text = rbuild_graph::Graph::load(&attestation.definition).unwrap().to_text();
    for expect in [
        "[linux/amd64] generating sbom using docker.io/library/scanner:latest@sha256:",
        "exec [\"/scan\"]",
        "BUILDKIT_SCAN_DESTINATION=/run/out/",
        "BUILDKIT_SCAN_SOURCE=/run/src/core/sbom",
        "BUILDKIT_SCAN_SOURCE_EXTRAS=/run/src/extras",
        "BUILDKIT_SCAN_A=b",
        "/run/src/core/sbom",
        "/run/src/extras/sbom-context",
        "/run/src/extras/sbom-one",
    ] {
        assert!(text.contains(expect), "{expect}: {text}");
    }
    assert!(ask(&client("FROM scratch\n"), &["attest:provenance="]).unwrap().attestations.is_empty());
}
