//! `SOURCE_DATE_EPOCH`: what it may say, and what it does to the image.

#[allow(dead_code, reason = "shared by several tests")]
mod common;

use std::collections::BTreeMap;

use common::{build, request};
use rbuild_lower::{MainContext, Request};

/// What a build with `SOURCE_DATE_EPOCH=value` has as its time, or its error.
fn epoch(dockerfile: &str, value: Option<&str>, change: impl FnOnce(&mut Request)) -> Result<Option<i64>, String> {
    let mut request = request();
    if let Some(value) = value {
        request.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), value.to_owned());
    }
    change(&mut request);
    build(dockerfile, &request).map(|lowered| lowered.epoch).map_err(|error| format!("{error:?}"))
}

#[track_caller]
fn check(dockerfile: &str, value: Option<&str>, expected: Option<i64>) {
    assert_eq!(epoch(dockerfile, value, |_| {}), Ok(expected), "{dockerfile} {value:?}");
}

#[track_caller]
fn fails(dockerfile: &str, value: &str, message: &str) {
    let error = epoch(dockerfile, Some(value), |_| {}).unwrap_err();
    assert!(error.contains(message), "{dockerfile} {value}: {error}");
}

// items: O010
#[test]
fn numbers() {
    for (value, expected) in [("0", 0), ("1600000000", 1_600_000_000), ("-1", -1), ("+7", 7)] {
        check("FROM scratch\n", Some(value), Some(expected));
    }
    check("FROM scratch\n", None, None);
    check("ARG SOURCE_DATE_EPOCH=5\nFROM scratch\n", None, Some(5));
    check("ARG SOURCE_DATE_EPOCH=5\nFROM scratch\n", Some("6"), Some(6));
    check("ARG SOURCE_DATE_EPOCH=5\nFROM scratch\n", Some(""), None);
    check("ARG SOURCE_DATE_EPOCH\nFROM scratch\n", None, None);
    check("ARG BASE=8\nARG SOURCE_DATE_EPOCH=${BASE}0\nFROM scratch\n", None, Some(80));
    check("FROM scratch\nARG SOURCE_DATE_EPOCH=5\n", None, None);
    for value in ["x", "1.5", "0x10", "1 ", "99999999999999999999", "253402300800", "-62135596801"] {
        fails("FROM scratch\n", value, &format!("invalid SOURCE_DATE_EPOCH: {value}"));
    }
}

/// The table's host says 1000 for everything at `example.com`.
// items: O010
#[test]
fn contexts_that_have_a_time() {
    let address = |path: &str| format!("https://example.com/{path}");
    let with = |context: MainContext| epoch("FROM scratch\n", Some("context"), |request| request.context = context);
    assert_eq!(with(MainContext::Archive(address("a.tar"))), Ok(Some(1000)));
    assert_eq!(with(MainContext::File(address("Dockerfile"))), Ok(Some(1000)));
    assert_eq!(with(MainContext::Git(address("r.git"))), Ok(Some(1000)));
    assert_eq!(with(MainContext::Empty), Ok(None));
    check("FROM scratch\n", Some("context"), None);
    let unpacked = |value| epoch("FROM scratch\n", value, |request| request.context_time = Some(3));
    assert_eq!((unpacked(Some("context")), unpacked(Some("4")), unpacked(None)), (Ok(Some(3)), Ok(Some(4)), Ok(None)));

    let named = |place: &str| {
        let contexts = BTreeMap::from([("src".to_owned(), place.to_owned())]);
        epoch("FROM scratch\n", Some("src"), |request| request.contexts = contexts)
    };
    assert_eq!(named("https://example.com/x.tar"), Ok(Some(1000)));
    assert_eq!(named("https://example.com/x.git#main"), Ok(Some(1000)));
    assert_eq!(named("docker-image://alpine"), Ok(None));
    assert_eq!(named("local:src"), Ok(None));
}

// items: O010
#[test]
fn stages_that_fetch_one_thing() {
    let stage = |lines: &str| format!("FROM scratch AS Src\n{lines}\nFROM scratch\n");
    for lines in [
        "ADD https://example.com/x /",
        "ADD https://example.com/x.git#v1 /",
        "ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://example.com/x /",
        "ARG host=example.com\nADD https://$host/x /",
    ] {
        check(&stage(lines), Some("src"), Some(1000));
        check(&stage(lines), Some("SRC"), Some(1000));
    }
    check(&stage("ADD https://elsewhere.test/x /"), Some("src"), None);
    for (lines, message) in [
        ("ADD file /", "must be a single HTTP(S) or Git ADD"),
        ("ADD https://example.com/x https://example.com/y /", "exactly one remote ADD source"),
        ("ADD <<EOF /f\nEOF", "exactly one remote ADD source"),
        ("ADD https://example.com/x /\nADD https://example.com/y /", "exactly one remote ADD"),
        ("ARG a", "exactly one remote ADD"),
        ("ENV a=1", "unsupported ENV instruction"),
        ("COPY x /", "unsupported COPY instruction"),
    ] {
        fails(&stage(lines), "src", message);
    }
    fails("FROM alpine AS src\nADD https://example.com/x /\n", "src", "must use FROM scratch");
    fails("FROM scratch AS src\n", "other", "invalid SOURCE_DATE_EPOCH: other");
}

/// A name that was looked up is a number for whoever reads the argument.
// items: O010
#[test]
fn steps_see_the_number() {
    let mut request = request();
    request.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), "context".to_owned());
    request.context = MainContext::File("https://example.com/Dockerfile".to_owned());
    let lowered = build("FROM scratch\nARG SOURCE_DATE_EPOCH\nWORKDIR /w\n", &request).expect("it is lowered");
    let history: Vec<_> = lowered.config.history.iter().map(|entry| entry.created_by.as_str()).collect();
    assert_eq!(history, ["ARG SOURCE_DATE_EPOCH=1000", "WORKDIR /w"]);
}
