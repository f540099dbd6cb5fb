//! Limits and time: X42-X44, F003.

use crate::{read, valid};
use rbuild_dockerfile::{Instruction, MAX_FILE, MAX_INSTRUCTIONS, MAX_LINE, decode};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

fn messages(source: &str) -> Vec<String> {
    read(source).1.iter().map(ToString::to_string).collect()
}

/// Runs `work` up to three times and asks that one of them takes less than `limit`, which is loose: tests are built
/// without all optimisation and run beside others.
fn within(limit: Duration, mut work: impl FnMut()) {
    let fast = (0..3).any(|_| {
        let start = Instant::now();
        work();
        start.elapsed() < limit
    });
    assert!(fast, "takes over {limit:?}");
}

// items: F003
#[test]
fn f003_longest_line() {
    let line = |length: usize| format!("FROM a\nRUN {}", "x".repeat(length - 4));
    let message = format!("dockerfile line greater than max allowed size of {MAX_LINE}");
    assert_eq!(messages(&line(MAX_LINE)), [""; 0]);
    assert_eq!(messages(&format!("{}\n", line(MAX_LINE))), [""; 0]);
    assert_eq!(messages(&line(MAX_LINE + 1)), std::slice::from_ref(&message));
    assert_eq!(messages(&format!("{}\r\n", line(MAX_LINE))), std::slice::from_ref(&message));
    let body = format!("FROM a\nRUN <<EOF\n{}\nEOF\n", "x".repeat(MAX_LINE + 1));
    assert_eq!(messages(&body), std::slice::from_ref(&message));
    assert_eq!(read(&body).1[0].lines.start, 3);
    let continued = format!("FROM a\nRUN x \\\n {}\n", "x".repeat(MAX_LINE));
    assert_eq!(messages(&continued), [message]);
}

#[test]
fn x42_file_size() {
    let message = format!("dockerfile of {} bytes is greater than max allowed size of {MAX_FILE}", MAX_FILE + 1);
    assert_eq!(messages(&"\n".repeat(MAX_FILE + 1)), [message]);
}

// items: F001
#[test]
fn x43_odd_bytes() {
    assert_eq!(messages("FROM a\nRUN \0x\n"), ["dockerfile contains a NUL byte; it must be UTF-8 text"]);
    assert_eq!(read("FROM a\nRUN \0x\n").1[0].lines.start, 2);
    let utf16: Vec<u8> = "\u{feff}FROM a".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(decode(&utf16).unwrap_err().message, "dockerfile is UTF-16 text; it must be UTF-8 text");
    let error = decode(b"FROM a\n\nRUN caf\xe9\n").unwrap_err();
    assert_eq!((error.lines.start, error.span.start), (3, 15));
    assert_eq!(decode(b"# caf\xe9\nFROM a\n").unwrap(), "# caf\u{fffd}\nFROM a\n");
    assert_eq!(decode(b"FROM a\n").unwrap(), "FROM a\n");
    let dockerfile = valid("\u{feff}FROM a\r\nRUN b \\\r\n  c\r\n");
    assert_eq!(dockerfile.stages[0].instructions[0].original, "RUN b   c");
}

// items: F033
#[test]
fn x44_heredocs() {
    let (_, diagnostics) = read("FROM a\nRUN <<ONE <<TWO\nx\nONE\ny\nRUN z\n");
    assert_eq!(diagnostics.len(), 1);
    assert_eq!(diagnostics[0].to_string(), "unterminated heredoc");
    assert_eq!(diagnostics[0].lines.to_string(), "2");
    assert_eq!(diagnostics[0].hint.as_deref(), Some("heredoc opened here needs a line that holds only `TWO`"));
    for name in ["../x", "a/b", ".", "..", "/etc/passwd"] {
        let want = format!(
            "dockerfile parse error on line 2: heredoc name \"{name}\" names a file and must be a single path component"
        );
        assert_eq!(messages(&format!("FROM a\nCOPY <<{name} /x\n{name}\n")), std::slice::from_ref(&want));
        assert_eq!(messages(&format!("FROM a\nRUN <<{name}\n#!/bin/sh\n{name}\n")), [want]);
        assert_eq!(messages(&format!("FROM a\nRUN <<{name}\nls\n{name}\n")), [""; 0]);
    }
}

#[test]
fn x42_a_million_continuation_lines() {
    let source = format!("FROM a\nRUN x {}y\n", "\\\n".repeat(1_000_000));
    within(Duration::from_secs(2), || assert_eq!(valid(&source).stages[0].instructions[0].original, "RUN x y"));
    let holes = format!("FROM a\nRUN x \\\n{}y z\n", "# c\n\n".repeat(500_000));
    within(Duration::from_secs(2), || assert_eq!(valid(&holes).stages[0].instructions[0].original, "RUN x y z"));
}

#[test]
fn x42_long_and_deep() {
    let depth = 200_000;
    let rows = [
        format!("FROM a\nRUN {}", format!("{}\\\n", "[".repeat(60_000)).repeat(16)),
        format!("FROM a\n{}RUN x", "ONBUILD \\\n".repeat(depth)),
        format!("FROM a\nENV x={}", "${a:-\\\n".repeat(depth)),
        format!("FROM a\nENV {}", "a=b \\\n".repeat(depth)),
        format!("FROM a\nRUN {}", "--mount=type=tmpfs,target=/x \\\n".repeat(depth / 4)),
        format!("FROM a\nRUN cat {}", "<<a \\\n".repeat(depth)),
        "FROM a\n".repeat(depth),
    ];
    for source in rows {
        within(Duration::from_secs(5), || {
            read(&source);
        });
    }
}

/// 1,000 lines and 60 stages take far under 5 ms, 1 MiB under 100 ms, built with optimisation; here the limits are
/// ten times that.
#[test]
fn time_of_large_files() {
    let mut source = String::from("# syntax=docker/dockerfile:1\nARG BASE=alpine\n");
    for stage in 0..60 {
        writeln!(source, "FROM --platform=$BUILDPLATFORM ${{BASE}}:3 AS stage{stage}").unwrap();
        source.push_str("ENV A=1 B=\"two words\" C=$A\nRUN --mount=type=cache,target=/x apk add \\\n  a \\\n  b\n");
        source.push_str("COPY --chown=1:1 --from=x a b /c/\nCOPY <<EOF /etc/conf\nkey = $A\nEOF\nWORKDIR /x\n");
        source.push_str("LABEL x=y\nEXPOSE 80 443/udp\nCMD [\"a\", \"b\"]\n# comment\n\n");
    }
    assert!(source.lines().count() > 900);
    within(Duration::from_millis(50), || assert_eq!(valid(&source).stages.len(), 60));
    let large =
        source.repeat((1 << 20) / source.len() + 1).replace("# syntax=docker/dockerfile:1\nARG BASE=alpine\n", "");
    within(Duration::from_secs(1), || assert!(valid(&large).stages.len() > 1000));
}

/// X45 for this crate: a trigger is read alone and takes the place of the FROM that brought it.
#[test]
fn triggers_are_read_alone() {
    use rbuild_dockerfile::{Lines, Place, Span, parse_instruction};
    let place = Place { span: Span::new(7, 9), lines: Lines::single(4) };
    let statement = parse_instruction("COPY <<EOF --x /dst\nbody $A\nEOF", place).unwrap();
    let Instruction::Copy(copy) = &statement.instruction else { panic!("{statement:?}") };
    assert_eq!(copy.sources.files[0].content, "body $A\n");
    assert_eq!((copy.sources.destination.span, statement.lines), (place.span, place.lines));
    let error = |text: &str| parse_instruction(text, place).unwrap_err()[0].clone();
    assert_eq!(error("RUN a\nRUN b").message, "onbuild trigger should be a single expression");
    assert_eq!(error("FROM a").message, "FROM isn't allowed as an ONBUILD trigger");
    assert_eq!(error("XYZZY a").to_string(), "dockerfile parse error on line 4: unknown instruction: XYZZY");
    assert_eq!(error("").message, "the Dockerfile cannot be empty");
    assert_eq!(error("RUN <<E\n").lines, place.lines);
}

/// X42: a million short lines took gigabytes on their way to a graph.
#[test]
fn instructions_are_counted() {
    let file = |count: usize| format!("FROM a\n{}", "RUN x\n".repeat(count - 1));
    assert_eq!(messages(&file(MAX_INSTRUCTIONS)), [""; 0]);
    let message = format!("dockerfile has more than the limit of {MAX_INSTRUCTIONS} instructions");
    assert_eq!(messages(&file(MAX_INSTRUCTIONS + 5)), [message]);
}
