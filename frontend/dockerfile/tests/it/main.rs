//! The tests of the Dockerfile language, as data through a few doors.
//!
//! Ids such as `F007` are those of the acceptance list of the language.

mod errors;
mod expansion;
mod golden;
mod limits;
mod lints;
mod mounts;
mod properties;
mod render;
mod second_opinion;
mod traps;

use rbuild_dockerfile::{Diagnostic, Dockerfile, Instruction, interpret, parse};

/// Reads `source` as far as it goes.
fn read(source: &str) -> (Dockerfile, Vec<Diagnostic>) {
    let (ast, mut diagnostics) = parse(source);
    let (dockerfile, more) = interpret(&ast);
    diagnostics.extend(more);
    (dockerfile, diagnostics)
}

/// Reads `source`, which must be right.
fn valid(source: &str) -> Dockerfile {
    let (dockerfile, diagnostics) = read(source);
    let messages: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    assert!(messages.is_empty(), "{source:?}: {messages:?}");
    dockerfile
}

/// Reads `line` as the only instruction of a stage.
fn instruction(line: &str) -> Instruction {
    let mut dockerfile = valid(&format!("FROM scratch\n{line}"));
    let mut instructions = dockerfile.stages.remove(0).instructions;
    assert_eq!(instructions.len(), 1, "{line:?}");
    instructions.remove(0).instruction
}
