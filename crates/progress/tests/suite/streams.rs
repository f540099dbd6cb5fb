//! Plain, rawjson and quiet, and the end of a build that failed, through the whole display.

use std::sync::Arc;

use rbuild_events::{Event, Outcome, Source};
use rbuild_progress::{Display, Failure, LogLimits, Mode, Size, Terminal, Warnings};

use crate::terminal::FakeTerminal;
use crate::{Shared, completed, id, log, started, status, vertex, warning};

fn show(mode: Mode, terminal: Terminal, events: &[Event], failure: Option<Failure>) -> Shared {
    let shared = Shared::default();
    let (reporter, display) = Display::spawn(mode, Box::new(shared.clone()), terminal);
    for event in events {
        reporter.report(event.clone());
    }
    display.finish(failure).unwrap();
    reporter.report(vertex("after the end"));
    shared
}

fn check_plain(events: &[Event], want: &str) {
    assert_eq!(show(Mode::Plain, Terminal::none(), events, None).text(), want);
}

fn failing() -> (Vec<Event>, Failure) {
    let name = "[2/3] RUN make";
    let events = vec![
        vertex(name),
        started(name, 0.0),
        log(name, 0.25, "cc main.c\nmain.c:1: oops\nno new line"),
        completed(name, 1.0, Outcome::Failed("exit code: 2".into())),
    ];
    let text: Arc<str> = "FROM debian\nWORKDIR /src\nRUN make\nRUN make install\nCMD x\n".into();
    let source = Some(Source { filename: "Dockerfile".into(), text, lines: (3, 3) });
    (events, Failure { message: "process did not complete: exit code: 2".into(), source })
}

const REPORT: &str = "------
 > [2/3] RUN make:
0.250 cc main.c
0.250 main.c:1: oops
0.250 no new line
------
Dockerfile:3
--------------------
   1 |     FROM debian
   2 |     WORKDIR /src
   3 | >>> RUN make
   4 |     RUN make install
   5 |     CMD x
--------------------
ERROR: process did not complete: exit code: 2
";

#[test]
fn plain_reads_as_buildkit() {
    check_plain(
        &[
            vertex("[internal] load build definition from Dockerfile"),
            vertex("[1/2] RUN a"),
            started("[internal] load build definition from Dockerfile", 0.0),
            status("[internal] load build definition from Dockerfile", "transferring dockerfile:", 32, 0, Some(0.1)),
            completed("[internal] load build definition from Dockerfile", 0.1, Outcome::Done),
            started("[1/2] RUN a", 0.1),
            log("[1/2] RUN a", 0.223, "hel"),
            log("[1/2] RUN a", 12.445, "lo\nbye"),
            completed("[1/2] RUN a", 13.0, Outcome::Done),
            vertex("[2/2] COPY x"),
            completed("[2/2] COPY x", 13.0, Outcome::Cached),
        ],
        "#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 32B 0.1s done
#1 DONE 0.1s

#2 [1/2] RUN a
#2 12.35 hello
#2 12.35 bye
#2 DONE 12.9s

#3 [2/2] COPY x
#3 CACHED
",
    );
}

#[test]
fn a_step_that_rests_gives_way_and_its_rest_is_not_its_time() {
    let paused = |name: &str, from: f64, to: f64| Event::Paused {
        vertex: id(name),
        started: crate::at(from),
        at: crate::at(to),
    };
    check_plain(
        &[
            vertex("COPY a"),
            vertex("RUN b"),
            started("COPY a", 0.0),
            paused("COPY a", 0.0, 0.1),
            started("RUN b", 0.1),
            log("RUN b", 1.1, "hello\n"),
            completed("RUN b", 20.1, Outcome::Done),
            started("COPY a", 20.1),
            completed("COPY a", 20.3, Outcome::Done),
        ],
        "#2 RUN b\n#2 1.000 hello\n#2 DONE 20.0s\n\n#1 COPY a\n#1 DONE 0.2s\n",
    );
}

#[test]
fn plain_cannot_be_forged() {
    let name = "RUN x\n#1 DONE 0.0s";
    let text =
        show(Mode::Plain, Terminal::none(), &[vertex(name), started(name, 0.0), log(name, 0.0, "#9 DONE\n")], None);
    assert_eq!(text.text(), "#1 RUN x\\n#1 DONE 0.0s\n#1 0.000 #9 DONE\n");
    let on_terminal = Terminal::new(|| Size { width: 80, height: 24 });
    let events = [vertex("a"), started("a", 0.0), log("a", 0.0, "x\r#2 DONE\u{1b}[2J\n")];
    let text = show(Mode::Plain, on_terminal, &events, None).text();
    assert!(text.contains("x\\r#2 DONE\\u{1b}[2J"), "{text}");
}

#[test]
fn a_failure_is_explained_last() {
    let (events, failure) = failing();
    let plain = show(Mode::Plain, Terminal::none(), &events, Some(failure.clone())).text();
    assert!(plain.contains("#1 ERROR: exit code: 2\n") && plain.ends_with(REPORT), "{plain}");
    assert_eq!(show(Mode::Quiet, Terminal::none(), &events, Some(failure.clone())).text(), REPORT);
    assert_eq!(show(Mode::Quiet, Terminal::none(), &events, None).text(), "");
    let terminal = Terminal::new(|| Size { width: 60, height: 24 });
    let bytes = show(Mode::Tty, terminal, &events, Some(failure)).text();
    let mut fake = FakeTerminal::new(60);
    fake.feed(bytes.replace('\n', "\r\n").replace("\r\r", "\r").as_bytes());
    let shown = fake.shown().join("\n");
    assert!(shown.starts_with("[+] Building") && shown.contains("(1/1) ERROR"), "{shown}");
    assert!(shown.ends_with(REPORT.trim_end()), "{shown}");
    assert!(fake.cursor_shown);
}

#[test]
fn warnings_are_listed() {
    let plain = show(Mode::Plain, Terminal::none(), &[warning("one"), warning("two"), warning("one")], None).text();
    assert_eq!(plain, "\n 2 warnings found (use --debug to expand):\n - one\n - two\n");
}

// items: L001
#[test]
fn warnings_are_expanded_and_coloured() {
    let text: std::sync::Arc<str> = "FROM a\nENV \u{1b}x y\nRUN c\n".into();
    let source = rbuild_events::Source { filename: "Dockerfile".to_owned(), text, lines: (2, 2) };
    let Event::Warning(found) = warning("Rule: no (line 2)") else { unreachable!("a warning") };
    let found = [Event::Warning(rbuild_events::Warning { source: Some(source), ..found })];
    let expanded = Terminal { warnings: Warnings::Expanded, ..Terminal::none() };
    let plain = show(Mode::Plain, expanded.clone(), &found, None).text();
    let want = "
 1 warning found:
 - Rule: no (line 2)
more
More info: https://help
Dockerfile:2
--------------------
   1 |     FROM a
   2 | >>> ENV \\u{1b}x y
   3 |     RUN c
--------------------

";
    assert_eq!(plain, want);
    let colored = show(Mode::Plain, Terminal { color: true, ..expanded }, &found, None).text();
    let painted = |text: &str| format!("\u{1b}[1;33m{text}\u{1b}[0m");
    assert_eq!(colored, want.replace("1 warning found:", &painted("1 warning found:")).replace(">>>", &painted(">>>")));
}

#[test]
fn rawjson_is_solve_status() {
    let (mut events, _) = failing();
    events.push(status("[2/3] RUN make", "sha256:x", 1, 2, None));
    events.push(warning("careful"));
    let text = show(Mode::RawJson, Terminal::none(), &events, None).text();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let digest = id("[2/3] RUN make").to_string();
    let vertex = serde_json::json!({
        "digest": digest, "name": "[2/3] RUN make",
        "started": "2023-11-14T22:13:20Z", "completed": "2023-11-14T22:13:21Z", "error": "exit code: 2",
    });
    assert_eq!(lines[3]["vertexes"][0], vertex);
    let log = serde_json::json!({
        "vertex": digest, "stream": 1, "timestamp": "2023-11-14T22:13:20.25Z",
        "data": "Y2MgbWFpbi5jCm1haW4uYzoxOiBvb3BzCm5vIG5ldyBsaW5l",
    });
    assert_eq!(lines[2]["logs"][0], log);
    assert_eq!((&lines[4]["statuses"][0]["current"], &lines[4]["statuses"][0]["total"]), (&1.into(), &2.into()));
    assert_eq!(lines[5]["warnings"][0]["short"], "Y2FyZWZ1bA==");
    assert_eq!(lines[5]["warnings"][0]["detail"][0], "bW9yZQ==");
}

#[test]
fn floods_are_clipped_but_the_tail_is_kept() {
    let name = "RUN flood";
    let mut events = vec![vertex(name), started(name, 0.0)];
    events.extend((0..200).map(|_| log(name, 0.5, &"spam\n".repeat(10_000))));
    events.push(log(name, 0.6, "the reason\n"));
    events.push(completed(name, 1.0, Outcome::Failed("no".into())));
    let failure = Failure { message: "no".into(), source: None };
    let limits = LogLimits { size: Some(1 << 20), rate: None };
    let text = show(Mode::Plain, Terminal { limits, ..Terminal::none() }, &events, Some(failure)).text();
    assert!(text.len() < 4 << 20, "{}", text.len());
    assert!(text.contains("[output clipped, log limit 1MiB reached]\n"));
    assert!(text.contains("0.600 the reason\n------\n"));
}

#[test]
fn modes_are_chosen_by_the_terminal() {
    let auto = |terminal, term| Mode::auto(terminal, term);
    assert_eq!(auto(true, Some("xterm")), Mode::Tty);
    for (terminal, term) in [(true, Some("dumb")), (true, None), (true, Some("")), (false, Some("xterm"))] {
        assert_eq!(auto(terminal, term), Mode::Plain);
    }
}
