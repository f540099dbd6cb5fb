//! Why a Dockerfile could not be lowered.

use rbuild_dockerfile::{Diagnostic, ExpandError, Phase, Place};

/// Why a Dockerfile could not be lowered: at least one error, and the warnings found before.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", self.first())]
pub struct LowerError {
    /// Errors and warnings in the order found.
    pub diagnostics: Vec<Diagnostic>,
}

impl LowerError {
    /// Returns the text of the first error.
    pub fn first(&self) -> String {
        let error = self.diagnostics.iter().find(|diagnostic| diagnostic.is_error());
        error.map(Diagnostic::text).unwrap_or_default()
    }
}

/// What a pass returns.
pub(crate) type Fallible<T> = Result<T, Box<Diagnostic>>;

/// Returns an error at `place`.
pub(crate) fn fail(place: Place, message: impl Into<String>) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(Phase::Build, place, message))
}

/// Returns the error of a word that could not be expanded.
pub(crate) fn unexpanded(place: Place, error: &ExpandError) -> Box<Diagnostic> {
    fail(place, error.to_string())
}
