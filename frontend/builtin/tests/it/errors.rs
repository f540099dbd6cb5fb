//! What is refused, in the words that clients and tests look for.

use rbuild_builtin::{Asker, BuiltinError};

use crate::host::Table;
use crate::{ask, ask_with, client, fails};

#[test]
fn dockerfiles_that_are_not_there() {
    let empty = Table::default().with("local://dockerfile", &[("other", "")]);
    let expect = "failed to read dockerfile: open Dockerfile: no such file or directory";
    assert_eq!(fails(&empty, &[]), expect);
    assert_eq!(fails(&empty, &["filename=sub/x"]), expect.replace("Dockerfile:", "sub/x:"));
    assert_eq!(fails(&Table::default(), &[]), "failed to resolve dockerfile: no local://dockerfile");
    let unreadable = Table::default().with("local://dockerfile", &[("Dockerfile", "unreadable")]);
    assert_eq!(fails(&unreadable, &[]), "failed to read dockerfile: Dockerfile: input/output error");
    let large = "#".repeat(rbuild_dockerfile::MAX_FILE + 1);
    assert!(fails(&client(&large), &[]).contains("is larger than"));
    assert_eq!(fails(&client(""), &[]), "the Dockerfile cannot be empty");
    assert_eq!(fails(&client(""), &["requestid=frontend.outline"]), "the Dockerfile cannot be empty");
    assert_eq!(fails(&client("# nothing\n"), &[]), "file with no instructions");
}

#[test]
fn dockerfiles_that_cannot_be_built() {
    let table = client("FROM alpine\nMAINTAINER x\nRUN a\nFNORD b\n");
    let Err(BuiltinError::Dockerfile { message, place, diagnostics }) = ask(&table, &[]) else { panic!() };
    assert!(message.contains("dockerfile parse error on line 4: unknown instruction: FNORD"), "{message}");
    let lines: Vec<i32> = place.ranges[0].iter().map(|range| range.start.unwrap().line).collect();
    assert_eq!((lines, place.info.filename.as_str(), place.ranges.len()), (vec![4], "Dockerfile", 1));
    assert!(place.info.definition.is_some() && place.info.data.starts_with(b"FROM alpine"));
    assert_eq!((diagnostics.len(), table.warnings.lock().unwrap().len()), (2, 1), "the warning is told");
    ask(&table, &["platform=linux/amd64,linux/arm64"]).unwrap_err();
    assert_eq!(table.warnings.lock().unwrap().len(), 2, "and once for all platforms");

    for (dockerfile, attributes, expect) in [
        ("FROM missing\n", &[][..], "missing: docker.io/library/missing:latest: not found"),
        ("FROM a AS build\n", &["target=bulid"], "target stage \"bulid\" could not be found (did you mean build?)"),
        ("ARG A\n", &[], "dockerfile contains no stages to build"),
        ("\u{feff}FROM a\nCOPY --from=0 a b\n", &[], "circular dependency"),
    ] {
        let error = ask(&client(dockerfile), attributes).unwrap_err();
        assert!(matches!(error, BuiltinError::Dockerfile { .. }), "{dockerfile}");
        assert!(error.to_string().contains(expect), "{dockerfile}: {error}");
    }
    let utf16 = Table::default().with("local://dockerfile", &[]);
    let mut utf16 = utf16;
    utf16.sources.get_mut("local://dockerfile").unwrap().insert("Dockerfile".to_owned(), vec![0xff, 0xfe, b'F', 0]);
    assert!(fails(&utf16, &[]).contains("UTF-16"));
}

#[test]
fn attributes_that_cannot_be_used() {
    for (attribute, expect) in [
        ("platform=linux/amd64/v1/x", "failed to parse target platform linux/amd64/v1/x"),
        ("platform=,", "failed to parse target platform "),
        ("image-resolve-mode=x", "invalid image-resolve-mode: x"),
        ("add-hosts=a", "failed to parse additional hosts: invalid key-value pair a"),
        ("add-hosts=a=1.2.3", "failed to parse additional hosts: failed to parse IP 1.2.3"),
        ("add-hosts=\"a", "failed to parse additional hosts: parse error on line 1"),
        ("shm-size=1k", "failed to parse shm size"),
        ("shm-size=-1", "failed to parse shm size"),
        ("ulimit=nofile", "failed to parse ulimit: invalid ulimit argument: nofile"),
        ("ulimit=x=1", "failed to parse ulimit: invalid ulimit type: x"),
        ("ulimit=nofile=1:2:3", "too many limit value arguments - 1:2:3"),
        ("ulimit=nofile=2:1", "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
        ("ulimit=nofile=-1:1", "ulimit soft limit must be less than or equal to hard limit: -1 > 1"),
        ("memory=0", "failed to parse resource limits: invalid memory value: 0: must be > 0"),
        ("memswap=-2", "invalid memswap value: -2: must be -1 (unlimited) or > 0"),
        ("cpushares=-1", "invalid cpushares value: -1"),
        ("cpuquota=x", "invalid cpuquota value: x"),
        ("cpusetcpus=3-1", "invalid cpusetcpus value: 3-1"),
        ("cpusetcpus=+1", "invalid cpusetcpus value: +1"),
        ("cpusetmems=0,", "invalid cpusetmems value: 0,"),
        ("cpusetmems=8193", "exceeds the maximum"),
        ("force-network-mode=bridge", "invalid netmode bridge"),
        ("multi-platform=x", "invalid boolean value for multi-platform: x"),
        ("attest:x=", "unknown attestation type \"x\""),
        ("attest:sbom=generator=UP CASE", "failed to parse sbom scanner UP CASE"),
        ("build-arg:BUILDKIT_ATTEST_SBOM=\"", "failed to parse sbom: parse error"),
        ("override-copy-image=x", "support for \"override-copy-image\" was removed"),
        ("build-arg:BUILDKIT_DISABLE_FILEOP=true", "support for \"BUILDKIT_DISABLE_FILEOP\" build-arg was removed"),
        ("build-arg:BUILDKIT_DOCKERFILE_CHECK=nope", "failed to parse BUILDKIT_DOCKERFILE_CHECK"),
        ("context=https://x/y.git?ref=a&ref=b", "query \"ref\" has multiple values"),
    ] {
        let error = fails(&client("FROM scratch\n"), &[attribute]);
        assert!(error.contains(expect), "{attribute}: {error}");
    }
    let several = ["platform=linux/amd64,linux/arm64", "multi-platform=false"];
    assert_eq!(
        fails(&client("FROM scratch\n"), &several),
        "conflicting config: returning multiple target platforms is not allowed"
    );
    let many = format!("platform={}", ["linux/amd64"; 65].join(","));
    assert!(fails(&client("FROM scratch\n"), &[&many]).contains("more than 64"));
}

#[test]
fn what_the_frontend_does_not_know() {
    let table = client("FROM scratch\n");
    let caps = |caps: &str| ask(&table, &[&format!("frontend.caps={caps}")]);
    assert!(caps("moby.buildkit.frontend.inputs,moby.buildkit.frontend.contexts+forward").is_ok());
    for unknown in ["moby.buildkit.frontend.x", "moby.buildkit.frontend.x+forward"] {
        let Err(BuiltinError::Capability(name)) = caps(unknown) else { panic!("{unknown}") };
        assert_eq!(name, "moby.buildkit.frontend.x");
    }
    let error = caps("moby.buildkit.frontend.notexistcap").unwrap_err();
    assert_eq!(error.to_string(), "unsupported frontend capability moby.buildkit.frontend.notexistcap");
    let Err(BuiltinError::Subrequest(name)) = ask(&table, &["requestid=frontend.x"]) else { panic!() };
    assert_eq!(name, "frontend.x");
    let nothing = [("context".to_owned(), rbuild_graph::pb::Definition::default())].into();
    let error = ask_with(&table, &[], &nothing).unwrap_err();
    assert!(error.to_string().contains("invalid nil input definition to definition op"), "{error}");
}

#[test]
fn frontends_that_are_images() {
    let ours = client("# syntax=docker/dockerfile:1.7-labs\nFROM scratch\n");
    ask(&ours, &[]).unwrap();
    ask(&ours, &["build-arg:BUILDKIT_SYNTAX=docker/dockerfile-upstream:master"]).unwrap();
    let other = client("#!/x\n# syntax = example.com/other a b\nFROM scratch\n");
    ask(&other, &["cmdline=example.com/other", "source=docker/dockerfile"]).unwrap();
    ask(&other, &["build-arg:BUILDKIT_SYNTAX=docker/dockerfile"]).unwrap();

    let caps = "frontend.caps=moby.buildkit.frontend.x+forward";
    let Err(BuiltinError::NeedsGateway(forward)) = ask(&other, &["target=t", caps]) else { panic!() };
    assert_eq!(forward.source, "example.com/other");
    assert_eq!(forward.attributes["cmdline"], "example.com/other a b");
    assert_eq!(
        (forward.attributes["target"].as_str(), forward.attributes["source"].as_str()),
        ("t", "example.com/other")
    );
    let Asker::Directive(place) = forward.asker else { panic!() };
    assert_eq!(place.ranges[0][0].start.unwrap().line, 2);

    let asked = ["build-arg:BUILDKIT_SYNTAX= example.com/x:1 y"];
    let Err(BuiltinError::NeedsGateway(forward)) = ask(&ours, &asked) else { panic!() };
    assert_eq!(
        (forward.source.as_str(), forward.attributes["cmdline"].as_str()),
        ("example.com/x:1", " example.com/x:1 y")
    );
    assert_eq!(
        forward.asker,
        Asker::Attribute("failed with build-arg:BUILDKIT_SYNTAX =  example.com/x:1 y".to_owned())
    );
}
