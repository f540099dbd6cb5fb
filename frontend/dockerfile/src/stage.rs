//! The whole Dockerfile as typed stages.

use crate::directive::Directive;
use crate::instruction::{Arg, Statement};
use crate::lint::CheckOptions;
use crate::source::{Lines, Place, Span, Template};

/// A Dockerfile, read but not expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The parser directives at the top.
    pub directives: Vec<Directive>,
    /// The escape token: `\` or `` ` ``.
    pub escape: char,
    /// What `# check=` at the top asks for.
    pub check: CheckOptions,
    /// The `ARG` instructions before the first `FROM`.
    pub meta_args: Vec<MetaArg>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
}

/// An `ARG` before the first `FROM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaArg {
    /// The arguments.
    pub arg: Arg,
    /// The instruction word as written.
    pub keyword: String,
    /// Its bytes.
    pub span: Span,
    /// Its lines.
    pub lines: Lines,
    /// The comment lines directly above it.
    pub comments: Vec<String>,
}

impl MetaArg {
    /// Returns where the instruction stands.
    pub fn place(&self) -> Place {
        Place { span: self.span, lines: self.lines }
    }
}

/// A stage: a `FROM` and what follows up to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name after `AS` in lower case.
    pub name: Option<String>,
    /// The name as written.
    pub name_as_written: Option<Template>,
    /// The base image or stage, expanded later with the global arguments.
    pub base: Template,
    /// `--platform`, expanded later with the global arguments.
    pub platform: Option<Template>,
    /// The word between base and name as written (`AS`, `as`).
    pub as_keyword: Option<String>,
    /// The instructions.
    pub instructions: Vec<Statement>,
    /// What the comment `# name …` above `FROM` says.
    pub description: Option<String>,
    /// The comment lines directly above `FROM`.
    pub comments: Vec<String>,
    /// The instruction word as written (`FROM`, `from`).
    pub keyword: String,
    /// The `FROM` instruction as one line.
    pub original: String,
    /// The bytes of the `FROM` instruction.
    pub span: Span,
    /// The lines of the `FROM` instruction.
    pub lines: Lines,
}

impl Stage {
    /// Returns where the `FROM` instruction stands.
    pub fn place(&self) -> Place {
        Place { span: self.span, lines: self.lines }
    }
}

impl Dockerfile {
    /// Returns the index of the last stage called `name`, whatever its case.
    pub fn stage_named(&self, name: &str) -> Option<usize> {
        self.stages.iter().rposition(|stage| stage.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name)))
    }
}
