//! What holds for every text.

use crate::read;
use proptest::prelude::*;
use rbuild_dockerfile::render::{Color, render};
use rbuild_dockerfile::source::Span;
use rbuild_dockerfile::{CheckOptions, Lexer, Linter, interpret, parse};
use std::collections::BTreeMap;

/// Text made of the pieces that mean something, so that random texts come near real ones.
fn dockerfile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("FROM a AS b\n"),
        Just("RUN "),
        Just("run --mount=type=cache,target=/x "),
        Just("COPY "),
        Just("ONBUILD "),
        Just("ENV A=b "),
        Just("HEALTHCHECK --interval=1s CMD "),
        Just("# escape=`\n"),
        Just("# check=skip=all\n"),
        Just("#\n"),
        Just("<<EOF"),
        Just("<<-'E F'"),
        Just("\nEOF\n"),
        Just("\n"),
        Just("\r\n"),
        Just("\\\n"),
        Just("`\n"),
        Just("\\"),
        Just("[\"a\", \"b\\u00e9\"]"),
        Just("--"),
        Just("\""),
        Just("'"),
        Just("${a:-"),
        Just("}"),
        Just("\t "),
        Just("\u{a0}é\u{85}"),
        Just("\u{feff}"),
        Just("x=y"),
    ];
    prop_oneof![prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat()), any::<String>(),]
}

fn covers(spans: impl Iterator<Item = Span>, whole: Span) -> bool {
    let mut at = whole.start;
    for span in spans {
        if span.start != at {
            return false;
        }
        at = span.end;
    }
    at == whole.end
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Reading never panics, spans cover every byte, and everything can be shown.
    #[test]
    fn every_byte_has_its_span(source in dockerfile_text()) {
        let (ast, _) = parse(&source);
        prop_assert!(covers(ast.items.iter().map(|item| item.span()), Span::new(0, source.len())));
        for node in ast.nodes() {
            prop_assert!(covers(node.parts.iter().map(|part| part.span), node.span));
        }
        let (dockerfile, diagnostics) = read(&source);
        for diagnostic in diagnostics {
            let shown = render(&diagnostic, "Dockerfile", &source, Color::Never);
            let raw = shown.contains(['\x1b', '\u{9b}', '\r']);
            prop_assert!(!raw);
        }
        let mut linter = Linter::new(CheckOptions { experimental_all: true, ..CheckOptions::default() });
        linter.file(&ast, &dockerfile);
    }

    /// What the words of instructions say stands in the source where their spans say.
    #[test]
    fn templates_stand_where_they_say(lines in prop::collection::vec("[a-z$ {}/.\\\\\"-]{0,12}", 1..6)) {
        let source = format!("FROM scratch\nWORKDIR {}", lines.join("\\\n"));
        let (ast, _) = parse(&source);
        let (dockerfile, _) = interpret(&ast);
        for statement in dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
            if let rbuild_dockerfile::Instruction::Workdir(workdir) = &statement.instruction {
                let said = workdir.path.span.slice(&source).replace("\\\n", "");
                prop_assert_eq!(&said, &workdir.path.text);
            }
        }
    }

    /// Expansion never panics, and a word without anything special is itself.
    #[test]
    fn expansion_is_total(word in any::<String>(), special in "[$}{:/%#*?'\"\\\\a<-]{0,24}") {
        let environment = BTreeMap::from([("a".to_owned(), "a*/a".to_owned())]);
        for lexer in [Lexer::new('\\'), Lexer::new('`'), Lexer::heredoc(), Lexer::progress('\\')] {
            for word in [&word, &special] {
                let _ = lexer.word(word, &environment);
                let _ = lexer.words(word, &environment);
            }
        }
        if !word.contains(['$', '\'', '"', '\\']) {
            prop_assert_eq!(Lexer::new('\\').word(&word, &environment).unwrap().value, word);
        }
    }
}

/// A flag is cut at the byte 0x85 wherever it stands; its range ended inside a character, and messages showed no text.
#[test]
fn flags_end_on_whole_characters() {
    let flags =
        ["--from=\u{c5}x", "--fr\u{85}om=x", "--\u{1f145}", "-- \u{145}", "--form=\u{145}\u{145}x --chown=\u{e005}"];
    for flag in flags {
        let source = format!("FROM a\nCOPY {flag} b c\n");
        let (ast, _) = parse(&source);
        let node = ast.nodes().last().unwrap();
        let ranges = node.flags.iter().map(|flag| flag.range).chain([node.arguments]);
        for range in ranges {
            assert!(node.text.get(range.start..range.end).is_some(), "{range:?} of {source:?}");
        }
        for diagnostic in read(&source).1 {
            assert!(!diagnostic.span.slice(&source).is_empty(), "{diagnostic:?}");
        }
    }
}
