//! The checks that the file alone decides.

use super::{At, Linter, Rule, rules};
use crate::ast::{Ast, Node, PartKind};
use crate::instruction::Instruction;
use crate::keyword::Keyword;
use crate::literal::quote;
use crate::source::{LineIndex, Lines, Place, Span};
use crate::stage::{Dockerfile, Stage};
use std::collections::BTreeSet;

const RESERVED: [&str; 2] = ["context", "scratch"];

impl Linter {
    /// Checks what needs neither scopes nor images: NoEmptyContinuation, StageNameCasing, FromAsCasing,
    /// MaintainerDeprecated, InvalidDefinitionDescription, ReservedStageName, DuplicateStageName and
    /// ConsistentInstructionCasing. These are reported for stages that are not built, too.
    pub fn file(&mut self, ast: &Ast<'_>, dockerfile: &Dockerfile) {
        self.instructions(ast, dockerfile);
        self.stage_names(dockerfile);
        self.casing(dockerfile);
    }

    /// Checks a file with an error in an instruction: what is known before that instruction is read (L005).
    pub fn file_until(&mut self, ast: &Ast<'_>, dockerfile: &Dockerfile, error: Span) {
        self.instructions(ast, dockerfile);
        self.retain(|warning| warning.rule == Some(&rules::NO_EMPTY_CONTINUATION) || warning.span.start < error.start);
    }

    fn instructions(&mut self, ast: &Ast<'_>, dockerfile: &Dockerfile) {
        self.empty_continuations(ast);
        for arg in &dockerfile.meta_args {
            let names: Vec<&str> = arg.arg.arguments.iter().map(|argument| argument.name.text.as_str()).collect();
            self.definition_description(arg, "ARG", &names);
        }
        for stage in &dockerfile.stages {
            self.from(stage);
            for statement in &stage.instructions {
                match &statement.instruction {
                    Instruction::Maintainer(_) => {
                        let message = "Maintainer instruction is deprecated in favor of using label";
                        self.report(&rules::MAINTAINER_DEPRECATED, statement, message.to_owned());
                    }
                    Instruction::Arg(arg) => {
                        let names: Vec<&str> =
                            arg.arguments.iter().map(|argument| argument.name.text.as_str()).collect();
                        self.definition_description(statement, "ARG", &names);
                    }
                    _ => {}
                }
            }
        }
    }

    fn report_plainly(&mut self, rule: &'static Rule, place: Place, message: String) {
        self.report(rule, At { place, comments: &[] }, message);
    }

    /// Reports an instruction with empty continuation lines at the line on which it ends.
    fn empty_continuations(&mut self, ast: &Ast<'_>) {
        let holes = |node: &&Node<'_>| node.parts.iter().any(|part| part.kind == PartKind::Blank);
        let mut nodes = ast.nodes().filter(holes).peekable();
        if nodes.peek().is_none() {
            return;
        }
        let index = LineIndex::new(ast.source);
        for node in nodes {
            let body = |kind| matches!(kind, PartKind::HeredocBody | PartKind::HeredocEnd);
            if let Some(last) = node.parts.iter().rev().find(|part| !body(part.kind)) {
                let place = Place { span: last.span, lines: Lines::single(index.line(last.span.start)) };
                self.report_plainly(&rules::NO_EMPTY_CONTINUATION, place, "Empty continuation line".to_owned());
            }
        }
    }

    fn from(&mut self, stage: &Stage) {
        let Some(name) = &stage.name_as_written else { return };
        if name.text != name.text.to_lowercase() {
            let message = format!("Stage name '{name}' should be lowercase");
            self.report(&rules::STAGE_NAME_CASING, stage, message);
        }
        if let Some(as_keyword) = stage.as_keyword.as_deref().filter(|word| !matches_case(&stage.keyword, word)) {
            let message = format!("'{as_keyword}' and '{}' keywords' casing do not match", stage.keyword);
            self.report(&rules::FROM_AS_CASING, stage, message);
        }
        if let Some(name) = stage.name.as_deref() {
            self.definition_description(stage, "FROM", &[name]);
        }
    }

    /// InvalidDefinitionDescription: the comment right above does not begin with a name that is defined.
    fn definition_description<'a>(&mut self, at: impl Into<At<'a>>, instruction: &str, names: &[&str]) {
        let at = at.into();
        let (Some(last), Some(first)) = (at.comments.last(), names.first()) else { return };
        if last.split(' ').next().is_some_and(|word| names.contains(&word)) {
            return;
        }
        let example = if names.len() > 1 { "<arg_key>" } else { first };
        let message = format!("Comment for {instruction} should follow the format: `# {example} <description>`");
        self.report(&rules::INVALID_DEFINITION_DESCRIPTION, at, message);
    }

    fn stage_names(&mut self, dockerfile: &Dockerfile) {
        let mut seen = BTreeSet::new();
        for stage in &dockerfile.stages {
            let Some(name) = stage.name.as_deref() else { continue };
            if RESERVED.contains(&name) {
                let message = format!("Stage name should not use the same name as reserved stage {}", quote(name));
                self.report_plainly(&rules::RESERVED_STAGE_NAME, stage.place(), message);
            }
            if !seen.insert(name) {
                let message = format!("Duplicate stage name {}, stage names should be unique", quote(name));
                self.report_plainly(&rules::DUPLICATE_STAGE_NAME, stage.place(), message);
            }
        }
    }

    /// Reports each instruction word that is not in the case of most of them; words in mixed case do not vote.
    fn casing(&mut self, dockerfile: &Dockerfile) {
        let words = || {
            dockerfile.stages.iter().flat_map(|stage| {
                let own = std::iter::once((stage.keyword.as_str(), stage.place()));
                own.chain(stage.instructions.iter().map(|statement| (statement.keyword.as_str(), statement.place())))
            })
        };
        let is_lower = |word: &str| word == word.to_lowercase();
        let is_upper = |word: &str| word == word.to_uppercase();
        let lower = words().filter(|(word, _)| is_lower(word)).count();
        let upper = words().filter(|(word, _)| !is_lower(word) && is_upper(word)).count();
        let (fits, wanted): (&dyn Fn(&str) -> bool, _) =
            if lower > upper { (&is_lower, "lowercase") } else { (&is_upper, "uppercase") };
        let strays: Vec<_> = words().filter(|(word, _)| !fits(word)).collect();
        for (word, place) in strays {
            let message = format!("Command '{word}' should match the case of the command majority ({wanted})");
            self.report_plainly(&rules::CONSISTENT_INSTRUCTION_CASING, place, message);
        }
    }
}

/// Tells whether `word` is in the case of `keyword`; one in mixed case is the concern of another rule.
fn matches_case(keyword: &str, word: &str) -> bool {
    debug_assert!(Keyword::parse(keyword) == Some(Keyword::From));
    if keyword == keyword.to_lowercase() {
        word == word.to_lowercase()
    } else if keyword == keyword.to_uppercase() {
        word == word.to_uppercase()
    } else {
        true
    }
}
