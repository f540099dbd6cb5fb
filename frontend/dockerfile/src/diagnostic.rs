//! What the parser, the instructions and the lints have to say, as values; [`render`](crate::render) makes text
//! of them.

use crate::lint::Rule;
use crate::source::{Lines, Place, Span};
use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// The Dockerfile cannot be built.
    Error,
}

/// Which step found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Cutting the text into instructions.
    Parse,
    /// Reading the arguments of an instruction.
    Instruction,
    /// A lint rule.
    Lint,
    /// Whoever uses the instructions (expansion, stages, mounts).
    Build,
}

/// A remark on a place of the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Which step found it.
    pub phase: Phase,
    /// The lint rule, if it comes from one.
    pub rule: Option<&'static Rule>,
    /// One sentence, without the suggestion.
    pub message: String,
    /// The nearest valid thing, shown as `(did you mean …?)`.
    pub suggestion: Option<String>,
    /// What to do about it, if that needs a sentence of its own.
    pub hint: Option<String>,
    /// The bytes it speaks of.
    pub span: Span,
    /// The lines it speaks of.
    pub lines: Lines,
    /// Further lines that belong to it (the other instructions of a cycle).
    pub related: Vec<Lines>,
}

impl Diagnostic {
    /// Returns an error at `place`.
    pub fn error(phase: Phase, place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, phase, place, message)
    }

    /// Returns a warning of `rule` at `place`.
    pub fn lint(rule: &'static Rule, place: Place, message: impl Into<String>) -> Self {
        Self { rule: Some(rule), ..Self::new(Severity::Warning, Phase::Lint, place, message) }
    }

    fn new(severity: Severity, phase: Phase, place: Place, message: impl Into<String>) -> Self {
        Self {
            severity,
            phase,
            rule: None,
            message: message.into(),
            suggestion: None,
            hint: None,
            span: place.span,
            lines: place.lines,
            related: Vec::new(),
        }
    }

    /// Adds the nearest valid thing.
    #[must_use]
    pub fn with_suggestion(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds further lines that belong to it.
    #[must_use]
    pub fn with_related(mut self, related: Vec<Lines>) -> Self {
        self.related = related;
        self
    }

    /// Tells whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Returns the help page of its rule.
    pub fn url(&self) -> Option<&'static str> {
        self.rule.and_then(|rule| rule.url)
    }

    /// Returns message and suggestion in one sentence.
    pub fn text(&self) -> String {
        match &self.suggestion {
            Some(suggestion) => format!("{} (did you mean {suggestion}?)", self.message),
            None => self.message.clone(),
        }
    }
}

/// The wording that BuildKit's clients show: errors in an instruction name their line, lint warnings their rule.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rule, self.phase) {
            (Some(rule), _) => write!(f, "{}: {} (line {})", rule.name, self.text(), self.lines.start),
            (None, Phase::Instruction) => {
                write!(f, "dockerfile parse error on line {}: {}", self.lines.start, self.text())
            }
            (None, _) => f.write_str(&self.text()),
        }
    }
}

/// Returns the error that BuildKit would stop at: the first one of cutting the text into instructions, else the
/// first one in the file.
pub fn first_error(diagnostics: &[Diagnostic]) -> Option<&Diagnostic> {
    diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error())
        .min_by_key(|diagnostic| (diagnostic.phase != Phase::Parse, diagnostic.span.start))
}
