//! Any bytes as a Dockerfile: decode, parse, interpret, lint, show.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild_dockerfile::ast::{Ast, Node};
use rbuild_dockerfile::render::{Color, excerpt, is_unsafe, render};
use rbuild_dockerfile::{
    CheckOptions, Diagnostic, DirectiveName, LineIndex, Lines, Linter, Place, Span, decode, detect_syntax,
    find_directive, interpret, parse, parse_instruction,
};

/// Showing a diagnostic reads the whole source; so many are shown of each input.
const SHOWN: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    match decode(bytes) {
        Ok(source) => read(&source),
        Err(diagnostic) => {
            assert!(diagnostic.span.end <= bytes.len());
            shown(&diagnostic, &String::from_utf8_lossy(bytes));
        }
    }
});

fn read(source: &str) {
    let (ast, mut diagnostics) = parse(source);
    assert_eq!((&ast, &diagnostics), (&parse(source).0, &parse(source).1), "reading is deterministic");
    lossless(&ast);
    let (dockerfile, more) = interpret(&ast);
    assert_eq!((&dockerfile, &more), (&interpret(&ast).0, &interpret(&ast).1), "reading is deterministic");
    diagnostics.extend(more);
    let index = LineIndex::new(source);
    for stage in &dockerfile.stages {
        stands(source, &index, stage.place());
        stage.instructions.iter().for_each(|statement| stands(source, &index, statement.place()));
    }
    let mut linter = Linter::new(CheckOptions { experimental_all: true, ..dockerfile.check.clone() });
    linter.file(&ast, &dockerfile);
    diagnostics.extend(linter.into_diagnostics());
    for diagnostic in &diagnostics {
        within(source, diagnostic.span);
        assert!(1 <= diagnostic.lines.start && diagnostic.lines.start <= diagnostic.lines.end, "{diagnostic:?}");
        assert!(diagnostic.lines.end <= index.count(), "{diagnostic:?}");
    }
    diagnostics.iter().take(SHOWN).for_each(|diagnostic| shown(diagnostic, source));
    trigger(source);
    detect_syntax(source);
    for name in [DirectiveName::Syntax, DirectiveName::Escape, DirectiveName::Check] {
        find_directive(name, source);
    }
}

/// The tree gives the source back, and everything in it stands on whole characters.
fn lossless(ast: &Ast<'_>) {
    let text: String = ast.items.iter().map(|item| checked(ast.source, item.span())).collect();
    assert_eq!(text, ast.source, "the items are the source");
    for node in ast.nodes() {
        let text: String = node.parts.iter().map(|part| checked(ast.source, part.span)).collect();
        assert_eq!(text, checked(ast.source, node.span), "the parts are the instruction");
        within(&node.text, node.keyword);
        within(&node.text, node.arguments);
        node.flags.iter().for_each(|flag| within(&node.text, flag.range));
        node.heredocs.iter().for_each(|heredoc| within(ast.source, heredoc.body));
        mapped(ast.source, node);
    }
}

/// Ranges of the joined text have their bytes in the source.
fn mapped(source: &str, node: &Node<'_>) {
    let ranges = node.flags.iter().map(|flag| flag.range).chain([node.keyword, node.arguments]);
    for range in ranges {
        let span = node.source_span(range);
        within(source, span);
    }
}

fn within(source: &str, span: Span) {
    checked(source, span);
}

fn checked(source: &str, span: Span) -> &str {
    source.get(span.start..span.end).unwrap_or_else(|| panic!("{span:?} lies within {} bytes", source.len()))
}

fn stands(source: &str, index: &LineIndex, place: Place) {
    within(source, place.span);
    let Lines { start, end } = index.lines(place.span);
    assert!(place.lines.start == start && place.lines.end <= end, "{place:?} is {start}-{end}");
}

/// What is shown cannot steer a terminal.
fn shown(diagnostic: &Diagnostic, source: &str) {
    let plain = render(diagnostic, "Dockerfile", source, Color::Never);
    assert!(!plain.chars().any(|c| c != '\n' && is_unsafe(c)), "{plain:?}");
    render(diagnostic, "Dockerfile", source, Color::Always);
    let lines = excerpt("Dockerfile", source, &[diagnostic.lines], diagnostic.severity, Color::Never);
    assert!(!lines.chars().any(|c| c != '\n' && is_unsafe(c)), "{lines:?}");
}

/// The same text as a trigger of an image: everything is at the place given.
fn trigger(source: &str) {
    let place = Place { span: Span::new(3, 5), lines: Lines::single(2) };
    match parse_instruction(source, place) {
        Ok(statement) => assert_eq!(statement.place(), place),
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty());
            assert!(
                diagnostics.iter().all(|diagnostic| (diagnostic.span, diagnostic.lines) == (place.span, place.lines))
            );
        }
    }
}
