//! Hostile Dockerfiles: X42, X45, X46. Each is refused with the limit in the message and its place, or lowered; what
//! takes time in the square of its size would not end here.

#[allow(dead_code, reason = "shared by several tests")]
mod common;

use common::{host, request};
use rbuild_dockerfile::lint::MAX_WARNINGS;
use rbuild_dockerfile::{first_error, interpret, parse};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Returns the first error of a Dockerfile, or how many warnings it has.
fn outcome(source: &str) -> Result<usize, String> {
    let (ast, mut diagnostics) = parse(source);
    let (dockerfile, more) = interpret(&ast);
    diagnostics.extend(more);
    let place = |diagnostic: &rbuild_dockerfile::Diagnostic| {
        assert!(source.get(diagnostic.span.start..diagnostic.span.end).is_some(), "{diagnostic:?}");
        format!("{}: {}", diagnostic.lines, diagnostic.text())
    };
    if let Some(error) = first_error(&diagnostics) {
        return Err(place(error));
    }
    let (request, host) = (request(), host());
    let lowering = pin!(rbuild_lower::lower(&dockerfile, source, &request, &host));
    match lowering.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(lowered)) => Ok(lowered.warnings.len()),
        Poll::Ready(Err(error)) => Err(place(error.diagnostics.last().expect("an error"))),
        Poll::Pending => panic!("the table's host never waits"),
    }
}

fn check(rows: &[(&str, String, Result<usize, &str>)]) {
    for (name, source, want) in rows {
        match (outcome(source), want) {
            (Ok(warnings), Ok(want)) => assert_eq!(warnings, *want, "{name}"),
            (Err(error), Err(want)) => assert!(error.contains(want), "{name}: {error}"),
            (got, _) => panic!("{name}: {got:?}"),
        }
    }
}

fn repeat(count: usize, make: impl Fn(usize) -> String) -> String {
    (0..count).map(make).collect()
}

/// X42: many of everything.
#[test]
fn x42_many_of_everything() {
    let lines = |line: &'static str, count: usize| format!("FROM alpine\n{}", line.repeat(count));
    let names = |count| repeat(count, |n| format!(" v{n}=x \\\n"));
    check(&[
        ("lines", lines("RUN x\n", 49_999), Ok(0)),
        (
            "more lines",
            lines("RUN x\n", 50_000),
            Err("50001: dockerfile has more than the limit of 50000 instructions"),
        ),
        ("arguments", format!("ARG {} z=x\nFROM alpine\n", names(9_000)), Ok(0)),
        (
            "more arguments",
            format!("ARG {} z=x\nFROM alpine\n", names(100_000)),
            Err("1-100001: more than the limit of 10000 variables before the first FROM"),
        ),
        (
            "more variables",
            format!("FROM alpine\nENV {} z=x\n", names(100_000)),
            Err("2-100002: the stage has more than the limit of 10000 variables"),
        ),
        ("variables set again", format!("FROM alpine\n{}", format!("ENV {} z=x\n", names(4_000)).repeat(20)), Ok(0)),
        (
            "arguments of steps",
            format!("FROM alpine\nARG {} z=x\n{}", names(4_000), "RUN x\n".repeat(5_000)),
            Err("the Dockerfile becomes larger than the limit of 67108864 bytes"),
        ),
        (
            "mounts",
            format!("FROM alpine\nRUN {} x\n", "--mount=type=secret,id=x \\\n".repeat(50_000)),
            Err("RUN has more than the limit of 1000 mounts"),
        ),
        (
            "secrets",
            format!(
                "FROM alpine\n{}",
                repeat(40, |line| {
                    format!("RUN {} x\n", repeat(1000, |n| format!("--mount=type=secret,id=s{line}-{n} \\\n")))
                })
            ),
            Ok(0),
        ),
        (
            "heredocs",
            format!(
                "FROM alpine\nCOPY {} /d/\n{}",
                repeat(20_000, |n| format!("<<a{n} \\\n")),
                repeat(20_000, |n| format!("x\na{n}\n"))
            ),
            Ok(0),
        ),
        ("sources", format!("FROM alpine\nCOPY {} /d/\n", repeat(100_000, |n| format!("a{n} \\\n"))), Ok(0)),
        (
            "exclusions",
            format!("FROM alpine\nCOPY {} . /d/\n", repeat(99_000, |n| format!("--exclude=a{n} \\\n"))),
            Ok(0),
        ),
        (
            "undefined variables",
            format!("FROM alpine\nENV A=1\nUSER {}\n", repeat(99_000, |n| format!("$A{n}\\\n"))),
            Ok(MAX_WARNINGS + 1),
        ),
    ]);
}

/// X45: stages as a chain, as a fan, and in a circle.
#[test]
fn x45_many_stages() {
    let fan = |base: &str, count| {
        let stages = repeat(count, |n| format!("FROM {base} AS s{n}\nUSER x\n"));
        format!("{stages}FROM alpine\n{}", repeat(count, |n| format!("COPY --from=s{n} a b\n")))
    };
    let chain = repeat(49_990, |n| {
        format!("FROM {} AS s{n}\n", n.checked_sub(1).map_or("alpine".to_owned(), |n| format!("s{n}")))
    });
    check(&[
        ("unreachable", format!("{}FROM scratch\n", "FROM missing\n".repeat(49_990)), Ok(0)),
        ("chain", chain, Ok(0)),
        ("fan", fan("alpine", 10_000), Ok(0)),
        (
            "fan of unknown images",
            fan("missing", 10_000),
            Err("1: missing: docker.io/library/missing:latest: not found"),
        ),
        (
            "unknown images",
            format!("FROM alpine\n{}", repeat(40_000, |n| format!("COPY --from=missing{n} a b\n"))),
            Err("2: missing0: docker.io/library/missing0:latest: not found"),
        ),
        (
            "circle",
            format!(
                "{}FROM alpine AS s9999\nCOPY --from=s0 a b\n",
                repeat(9_999, |n| format!("FROM alpine AS s{n}\nCOPY --from=s{} a b\n", n + 1))
            ),
            Err("circular dependency detected on stage: s0"),
        ),
    ]);
}

/// X46: values that grow, and work whose result is thrown away.
#[test]
fn x46_expansion_is_bounded() {
    let large = format!("FROM alpine\nENV M={}\nENV M={}\n", "x".repeat(60_000), "$M".repeat(17));
    let laughs = repeat(20, |n| format!("ENV M={}\n", "$M".repeat(10 + n)));
    check(&[
        (
            "laughs",
            format!("{large}{laughs}"),
            Err("4: failed to process \"$M$M$M$M$M$M$M$M$M$M\": value grows beyond 1048576 bytes at variable \"M\""),
        ),
        (
            "large values",
            format!("{large}{}", repeat(100, |n| format!("ENV N{n}=$M\n"))),
            Err("the Dockerfile becomes larger than the limit of 67108864 bytes"),
        ),
        (
            "thrown away",
            format!("{large}USER {}\n", "${U:+$M}\\\n".repeat(100_000)),
            Err("expansion takes more than 67108864 steps at variable \"M\""),
        ),
        (
            "trimmed away",
            format!("{large}USER {}\n", "${M##*}\\\n".repeat(100_000)),
            Err("matching takes more than 67108864 steps"),
        ),
        (
            "trimmed away on many lines",
            format!("{large}{}", "LABEL a=${M##*}\n".repeat(40_000)),
            Err("expansion takes more than 536870912 steps at variable \"M\""),
        ),
        (
            "trimmed away by many stages",
            format!("ARG M={}\nARG M={}\n{}", "x".repeat(60_000), "$M".repeat(17), "FROM a${M##*}\n".repeat(40_000)),
            Err("expansion takes more than 536870912 steps at variable \"M\""),
        ),
    ]);
}
