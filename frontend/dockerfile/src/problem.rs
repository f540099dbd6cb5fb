//! What is wrong with one instruction, before it is known where that stands in the file.

use crate::ast::Node;
use crate::diagnostic::{Diagnostic, Phase};
use crate::source::{Place, Span};

/// The first thing wrong with an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    phase: Phase,
    message: String,
    suggestion: Option<String>,
    hint: Option<String>,
    /// The part of the joined text it speaks of; the whole instruction if none.
    range: Option<Span>,
}

impl Problem {
    /// Returns a problem with the arguments of an instruction.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { phase: Phase::Instruction, message: message.into(), suggestion: None, hint: None, range: None }
    }

    /// Returns a problem that BuildKit finds while it still cuts the file.
    pub(crate) fn early(message: impl Into<String>) -> Self {
        Self { phase: Phase::Parse, ..Self::new(message) }
    }

    /// Returns a problem that BuildKit tells without saying which line it is on.
    pub(crate) fn bare(message: impl Into<String>) -> Self {
        Self { phase: Phase::Build, ..Self::new(message) }
    }

    pub(crate) fn at(self, range: Span) -> Self {
        Self { range: Some(range), ..self }
    }

    pub(crate) fn suggest(self, suggestion: Option<String>) -> Self {
        Self { suggestion, ..self }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Returns the diagnostic for the instruction `node`.
    pub(crate) fn diagnose(self, node: &Node<'_>) -> Diagnostic {
        let span = self
            .range
            .filter(|range| !range.is_empty())
            .map_or_else(|| node.first_line(), |range| node.source_span(range));
        let place = Place { span, lines: node.lines };
        let mut diagnostic = Diagnostic::error(self.phase, place, self.message).with_suggestion(self.suggestion);
        diagnostic.hint = self.hint;
        diagnostic
    }
}
