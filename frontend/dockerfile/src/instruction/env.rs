//! `ENV key=value...` and the legacy `ENV key value with spaces`

use crate::source::{Span, Template};

/// A key and its value, both expanded later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Template,
    /// The value.
    pub value: Template,
    /// Whether it was written without `=` (`ENV key value`).
    pub legacy: bool,
    /// The bytes of key and value.
    pub span: Span,
}

/// Sets environment variables for the rest of the stage and in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// The variables, in the order written; all are expanded with the state before the instruction.
    pub variables: Vec<KeyValue>,
}
