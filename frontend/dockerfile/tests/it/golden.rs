//! Golden folders: `testdata/ok/<case>/{Dockerfile,ast.txt,instructions.txt}` and
//! `testdata/err/<case>/{Dockerfile,diagnostics.txt}`; `UPDATE_GOLDEN=1` writes them anew.

use rbuild_dockerfile::ast::{Ast, Item, PartKind};
use rbuild_dockerfile::render::{Color, render};
use rbuild_dockerfile::{Dockerfile, Linter, interpret, parse};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[test]
fn ok_cases() {
    for case in cases("ok") {
        let source = std::fs::read_to_string(case.join("Dockerfile")).unwrap();
        let (ast, mut diagnostics) = parse(&source);
        let (dockerfile, more) = interpret(&ast);
        diagnostics.extend(more);
        assert!(diagnostics.is_empty(), "{}: {diagnostics:?}", case.display());
        check(&case.join("ast.txt"), &ast_text(&ast));
        check(&case.join("instructions.txt"), &instructions_text(&dockerfile));
    }
}

#[test]
fn err_cases() {
    for case in cases("err") {
        let source = std::fs::read_to_string(case.join("Dockerfile")).unwrap();
        let (ast, mut diagnostics) = parse(&source);
        let (dockerfile, more) = interpret(&ast);
        diagnostics.extend(more);
        let mut linter = Linter::new(dockerfile.check.clone());
        linter.file(&ast, &dockerfile);
        diagnostics.extend(linter.into_diagnostics());
        assert!(!diagnostics.is_empty(), "{}", case.display());
        let mut text = String::new();
        for diagnostic in &diagnostics {
            let shown = render(diagnostic, "Dockerfile", &source, Color::Never);
            writeln!(text, "{}\n\n{shown}", rbuild_dockerfile::render::escaped(&diagnostic.to_string())).unwrap();
        }
        check(&case.join("diagnostics.txt"), &text);
    }
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(kind);
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

#[allow(clippy::disallowed_methods)]
fn check(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(golden, text, "{}; UPDATE_GOLDEN=1 rewrites it", path.display());
}

fn ast_text(ast: &Ast<'_>) -> String {
    let mut out = String::new();
    for item in &ast.items {
        match item {
            Item::ByteOrderMark(span) => writeln!(out, "{span:?} byte order mark"),
            Item::Directive(directive) => {
                writeln!(out, "{:?} directive {:?} {:?}", directive.span, directive.name, directive.value)
            }
            Item::Comment(span) => writeln!(out, "{span:?} comment {:?}", span.slice(ast.source)),
            Item::Blank(span) => writeln!(out, "{span:?} blank"),
            Item::Refused(span) => writeln!(out, "{span:?} refused"),
            Item::Instruction(node) => {
                writeln!(out, "{:?} {} {:?}", node.span, node.keyword(), node.arguments()).unwrap();
                for comment in &node.comments {
                    writeln!(out, "    above {comment:?}").unwrap();
                }
                for flag in &node.flags {
                    writeln!(out, "    {:?} flag {:?}", node.source_span(flag.range), flag.text).unwrap();
                }
                for part in node.parts.iter().filter(|_| node.parts.len() > 1) {
                    let name = match part.kind {
                        PartKind::Text { .. } => "text",
                        PartKind::Comment => "comment",
                        PartKind::Blank => "blank",
                        PartKind::HeredocBody => "heredoc body",
                        PartKind::HeredocEnd => "heredoc end",
                    };
                    writeln!(out, "    {:?} {name} {:?}", part.span, part.span.slice(ast.source)).unwrap();
                }
                Ok(())
            }
        }
        .unwrap();
    }
    out
}

fn instructions_text(dockerfile: &Dockerfile) -> String {
    let mut out = String::new();
    for arg in &dockerfile.meta_args {
        writeln!(out, "{} {:?}", arg.lines, arg.arg).unwrap();
    }
    for stage in &dockerfile.stages {
        let (name, platform) = (&stage.name, &stage.platform);
        writeln!(out, "{} FROM {:?} {name:?} platform {platform:?} {:?}", stage.lines, stage.base, stage.description)
            .unwrap();
        for statement in &stage.instructions {
            writeln!(out, "{} {:?}", statement.lines, statement.instruction).unwrap();
        }
    }
    out
}
