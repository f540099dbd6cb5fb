//! Diagnostics as text: X11, F013.

use crate::read;
use rbuild_dockerfile::Severity;
use rbuild_dockerfile::render::{Color, excerpt, render};
use rbuild_dockerfile::source::Lines;

fn first(source: &str, color: Color) -> String {
    render(&read(source).1[0], "Dockerfile", source, color)
}

#[test]
fn x11_nothing_reaches_the_terminal_raw() {
    let shown = first("FROM a\nFOO\u{1b}[31m \u{9b}x \u{202e}y\tz\n", Color::Never);
    assert!(!shown.chars().any(|c| c != '\n' && rbuild_dockerfile::render::is_unsafe(c)), "{shown:?}");
    assert!(shown.contains("unknown instruction: FOO\\x1b[31m"), "{shown}");
    assert!(shown.contains("FOO\\x1b[31m \\x9bx \\u{202e}y    z"), "{shown}");
}

#[test]
fn colour_adds_only_escape_sequences() {
    let source = "FROM a\nCOPPY x y\n";
    let (plain, mut colored) = (first(source, Color::Never), first(source, Color::Always));
    for style in ["1;31", "1;34", "1;33", "1", "0"] {
        colored = colored.replace(&format!("\x1b[{style}m"), "");
    }
    assert_eq!(plain, colored);
}

#[test]
fn carets_stand_under_wide_text() {
    let shown = first("FROM a\nRUN --日本=x --mont y\n", Color::Never);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[3], "2 | RUN --日本=x --mont y");
    assert_eq!(lines[4], "  |     ^^^^^^^^");
}

fn plain(source: &str, meant: &[Lines]) -> String {
    let plain = excerpt("Dockerfile", source, meant, Severity::Warning, Color::Never);
    let colored = excerpt("Dockerfile", source, meant, Severity::Warning, Color::Always);
    assert_eq!(colored.replace("\x1b[1;33m>>>\x1b[0m", ">>>"), plain);
    plain
}

// items: F013
#[test]
fn f013_excerpt_as_buildkit_prints_it() {
    let source = "FROM alpine\n\nRUN a\nRUN b\nRUN c\n";
    let want = "\
Dockerfile:3
--------------------
   1 |     FROM alpine
   2 |     
   3 | >>> RUN a
   4 |     RUN b
   5 |     RUN c
--------------------
";
    assert_eq!(plain(source, &[Lines::single(3)]), want);
    assert_eq!(plain(source, &[Lines::single(9)]), "");
    assert!(plain(source, &[Lines { start: 3, end: 4 }]).contains("   4 | >>> RUN b\n"));
}

// items: F013
#[test]
fn instructions_know_their_lines() {
    let source =
        "FROM a\n\n# c\nRUN <<E cat &&\\\n cat <<F\nx\nE\ny\nF\nCOPY x \\\n\n  # d\n  y\nCOPPY x \\\n y\nENV z=1";
    let (dockerfile, diagnostics) = read(source);
    let lines = |lines: Lines| (lines.start, lines.end);
    let found: Vec<_> = dockerfile.stages[0].instructions.iter().map(|statement| lines(statement.lines)).collect();
    assert_eq!(found, [(4, 9), (10, 13), (16, 16)]);
    assert_eq!(diagnostics.iter().map(|error| lines(error.lines)).collect::<Vec<_>>(), [(14, 15)]);
    let shown = render(&diagnostics[0], "Dockerfile", source, Color::Never);
    assert!(shown.contains("Dockerfile:14") && shown.contains("COPPY x"), "{shown}");
}
