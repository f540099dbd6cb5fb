//! Why a Dockerfile could not be lowered.

use rbuild_dockerfile::diagnostic::Diagnostic;

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
