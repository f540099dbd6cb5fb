//! Where the context and the Dockerfile come from, and named contexts.

use std::collections::BTreeMap;

use base64::Engine as _;
use rbuild_graph::{Builder, pb};

use crate::host::{IMAGE, Table};
use crate::{ask, ask_with, client, fails, shown};

/// Returns what the host was asked to load.
fn loads(table: &Table) -> Vec<String> {
    table.asked.lock().unwrap().iter().filter(|asked| !asked.contains("load metadata")).cloned().collect()
}

#[test]
fn directories_of_the_client() {
    let table = client("FROM scratch\nCOPY a b /\n").with("local://context", &[(".dockerignore", "*.o\n# x\n!y\n")]);
    let answered = ask(&table, &[]).unwrap();
    assert_eq!(
        loads(&table),
        [
            "[internal] load build definition from Dockerfile: local://dockerfile local.differ=none \
                local.followpaths=[\"Dockerfile\",\"Dockerfile.dockerignore\",\"dockerfile\"] local.session=s1 \
                local.sharedkeyhint=dockerfile",
            "[internal] load .dockerignore: local://context local.differ=none local.followpaths=[\".dockerignore\"] \
                local.session=s1 local.sharedkeyhint=context-.dockerignore",
        ]
    );
    let text = shown(&answered);
    for expect in [
        "[internal] load build context",
        "local.excludepatterns=[\"*.o\",\"!y\"]",
        "local.followpaths=[\"a\",\"b\"]",
        "local.session=s1",
        "local.sharedkeyhint=context",
    ] {
        assert!(text.contains(expect), "{expect}: {text}");
    }
}

#[test]
fn names_of_the_dockerfile() {
    let directory = |files: &[(&str, &str)]| Table::default().with("local://dockerfile", files);
    let lower = directory(&[("sub/dockerfile", "FROM scratch\nCOPY a /\n")]);
    ask(&lower, &["filename=sub/Dockerfile"]).unwrap();
    assert!(loads(&lower)[0].contains("[\"sub/Dockerfile\",\"sub/Dockerfile.dockerignore\",\"sub/dockerfile\"]"));
    let named = directory(&[("my.Dockerfile", "FROM scratch\nCOPY a /\n"), ("my.Dockerfile.dockerignore", "z\n")]);
    let answered = ask(&named, &["filename=my.Dockerfile"]).unwrap();
    assert!(loads(&named)[0].contains("[\"my.Dockerfile\",\"my.Dockerfile.dockerignore\"]"));
    assert!(shown(&answered).contains("local.excludepatterns=[\"z\"]"));
    assert_eq!(loads(&named).len(), 1, "no other ignore file is looked for");
    let other = Table::default().with("local://df2", &[("Dockerfile", "FROM scratch\n")]);
    ask(&other, &["dockerfilekey=df2", "local-sessionid:df2=s2", "local-sessionid:context=s3"]).unwrap();
    assert!(loads(&other)[0].contains("local.session=s2") && loads(&other)[1].contains("local.session=s3"));
}

#[test]
fn ignore_files_that_cannot_be_used() {
    let large = "x\n".repeat(1 << 20);
    let table = client("FROM scratch\n").with("local://context", &[(".dockerignore", &large)]);
    assert!(fails(&table, &[]).contains("failed parsing .dockerignore: it is larger than"));
    let table = client("FROM scratch\n").with("local://context", &[(".dockerignore", "unreadable")]);
    assert!(fails(&table, &[]).contains("failed to read dockerignore patterns: .dockerignore: input/output error"));
    let table = client("FROM scratch\n").with("local://context", &[(".dockerignore", "[a\n")]);
    assert!(fails(&table, &[]).contains("failed to read dockerignore patterns"));
    // Who does not use the context need not have one.
    let table = Table::default().with("local://dockerfile", &[("Dockerfile", "FROM alpine\n")]);
    ask(&table, &[]).unwrap();
}

#[test]
fn repositories() {
    let files = [("Dockerfile", "FROM scratch\nCOPY a /\n"), (".dockerignore", "a\n")];
    let table = Table::default().with("git://x/y.git#v1:sub", &files);
    let answered =
        ask(&table, &["context=https://x/y.git#v1:sub", "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"]).unwrap();
    let [load] = loads(&table).try_into().unwrap();
    assert!(load.starts_with("[internal] load git source https://x/y.git#v1:sub: git://x/y.git#v1:sub "), "{load}");
    assert!(load.contains("git.keepgitdir=true") && !load.contains("git.mtime"), "{load}");
    assert!(shown(&answered).contains("git://x/y.git#v1:sub"));

    let table = Table::default().with("git://x/y.git", &files);
    let attributes = ["build-arg:SOURCE_DATE_EPOCH=context", "contextkey=main", "main=git://x/y.git"];
    let answered = ask(&table, &attributes).unwrap();
    assert_eq!(crate::metadata(&answered, "source.date.epoch"), "1000");
    assert!(loads(&table)[0].contains("git.mtime=commit"));
    assert!(loads(&table)[1].starts_with("[internal] resolve main build context metadata git://x/y.git"));

    let answered = ask(&table, &["context=git://x/y.git", "contextsubdir=part"]).unwrap();
    assert!(shown(&answered).contains("/part"), "{}", shown(&answered));
    let table = table.with("local://other", &[("Dockerfile", "FROM alpine\n")]);
    let answered = ask(&table, &["context=git://x/y.git", "dockerfilekey=other"]).unwrap();
    assert!(shown(&answered).contains("FROM docker.io/library/alpine"));
}

#[test]
fn downloads() {
    let table = Table::default().with("https://x/Dockerfile", &[("context", "FROM scratch\nCOPY context /c\n")]);
    let answered = ask(&table, &["context=https://x/Dockerfile"]).unwrap();
    assert!(loads(&table).iter().all(|load| load.starts_with("[internal] load remote build context: https://x/")));
    assert!(shown(&answered).contains("https://x/Dockerfile"));
    let archive = [("archive/Dockerfile", "FROM scratch\nCOPY a /\n"), ("archive/in/dockerfile", "FROM alpine\n")];
    let table = Table::default().with("http://buildkit-session/1", &archive);
    let answered = ask(&table, &["context=http://buildkit-session/1", "contextsubdir=d"]).unwrap();
    assert!(shown(&answered).contains("/d"));
    let answered = ask(&table, &["context=http://buildkit-session/1", "filename=in/Dockerfile"]).unwrap();
    assert!(shown(&answered).contains("FROM docker.io/library/alpine"));
    assert_eq!(fails(&Table::default(), &["context=http://x/"]), "failed to resolve httpcontext: no http://x/");
}

/// The result of another build: a directory of its client.
fn input(name: &str) -> pb::Definition {
    let source = pb::SourceOp { identifier: format!("local://{name}"), attrs: BTreeMap::new() };
    let op = pb::Op { op: Some(pb::Kind::Source(source)), ..pb::Op::default() };
    let mut builder = Builder::new();
    let output = builder.add(op, Vec::new(), &pb::OpMetadata::default(), &[]).output(0);
    builder.finish(Some(output), Vec::new()).to_pb()
}

#[test]
fn inputs_as_context_and_dockerfile() {
    let table = Table::default().with("local://theirs", &[("Dockerfile", "FROM scratch\nCOPY a /\n")]);
    let inputs = BTreeMap::from([("context".to_owned(), input("mine")), ("dockerfile".to_owned(), input("theirs"))]);
    let answered = ask_with(&table, &["contextsubdir=s"], &inputs).unwrap();
    assert_eq!(loads(&table), ["local://theirs: local://theirs"]);
    let text = shown(&answered);
    assert!(text.contains("local://mine") && text.contains("/s"), "{text}");
    // A directory named for the Dockerfile goes before the input.
    let table = table.with("local://d", &[("Dockerfile", "FROM alpine\n")]);
    let answered = ask_with(&table, &["dockerfilekey=d"], &inputs).unwrap();
    assert!(shown(&answered).contains("FROM docker.io/library/alpine"));
}

#[test]
fn named_contexts() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let layout = format!("oci-layout://store:tag@{digest}");
    for (context, expect) in [
        ("docker-image://busybox:1", &["[context base] busybox:1", "docker.io/library/busybox:1@sha256:"][..]),
        ("docker-image://scratch", &[]),
        ("local:dir", &["[context base] load from client", "local.sharedkeyhint=context:base-key", "[\"*.o\"]", "=s9"]),
        ("https://x/y.git#v2", &["[internal] load git source https://x/y.git#v2", "git://x/y.git#v2"]),
        ("git@x:y.git", &["git.fullurl=git@x:y.git"]),
        ("https://x/y.tar", &["[context base] https://x/y.tar", "http.filename=context"]),
        (&layout, &["[context base] OCI load from client", "oci.store=store", "oci.session=s1"]),
    ] {
        let table = client("FROM scratch\nCOPY --from=base a /\n").with("local://dir", &[(".dockerignore", "*.o\n")]);
        let context = format!("context:base={context}");
        let answered = ask(&table, &[&context, "sharedkey:localdir:base=key", "local-sessionid:dir=s9"]).unwrap();
        let text = shown(&answered);
        expect.iter().for_each(|expect| assert!(text.contains(expect), "{context}: {expect} in {text}"));
        if context.contains("local:dir") {
            let load = "[context base] load .dockerignore: local://dir local.differ=none \
                local.followpaths=[\".dockerignore\"] local.session=s9 local.sharedkeyhint=context:base-.dockerignore";
            assert!(loads(&table).contains(&load.to_owned()), "{:?}", loads(&table));
        }
    }
    for (context, expect) in [
        ("nothing", "invalid context specifier nothing for base"),
        ("ftp://x", "unsupported context source ftp for base"),
        ("input:gone", "invalid input gone for base"),
        ("oci-layout://store:tag", "oci-layout reference \"store:tag\" has no digest"),
        ("local:gone", "no local://gone"),
        ("docker-image://missing", "docker.io/library/missing:latest: not found"),
    ] {
        let error = fails(&client("FROM base\nRUN x\n"), &[&format!("context:base={context}")]);
        assert!(error.contains(expect), "{context}: {error}");
    }
}

#[test]
fn inputs_as_named_contexts() {
    let encoded = base64::engine::general_purpose::STANDARD.encode(IMAGE.replace("ARCH", "arm64"));
    let told = format!("input-metadata:0-a={{\"containerimage.config\":\"{encoded}\",\"refs.platforms\":null}}");
    let inputs = BTreeMap::from([("0-a".to_owned(), input("theirs"))]);
    let table = client("FROM base\nRUN x\nFROM base\nRUN y\n");
    let answered = ask_with(&table, &["context:base::linux/amd64=input:0-a", &told], &inputs).unwrap();
    let text = shown(&answered);
    assert!(text.contains("local://theirs") && text.contains("A=1"), "{text}");
    let base: serde_json::Value =
        serde_json::from_str(crate::metadata(&answered, "containerimage.base.config")).unwrap();
    assert_eq!(base["architecture"], "arm64");
    let answered = ask_with(&table, &["context:base=input:0-a"], &inputs).unwrap();
    assert!(shown(&answered).contains("local://theirs"));
    for wrong in ["{", "{\"containerimage.config\":\"%\"}", "{\"containerimage.config\":\"e30=\",\"x\":1}"] {
        let error = ask_with(&table, &[&format!("input-metadata:0-a={wrong}")], &inputs).unwrap_err();
        assert!(error.to_string().starts_with("failed to parse input metadata {"), "{wrong}: {error}");
    }
}
