//! `ENV key=value...` and the legacy `ENV key value with spaces`

use crate::arguments::{Arguments, Pair};
use crate::problem::Problem;
use crate::request::Request;
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

impl Env {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        Ok(Self { variables: KeyValue::read_all(request)? })
    }
}

impl KeyValue {
    /// Reads the pairs of `ENV` or `LABEL`.
    pub(crate) fn read_all(request: &Request<'_>) -> Result<Vec<Self>, Problem> {
        request.flags(&[])?;
        let pairs = match &request.arguments {
            Arguments::Pairs(pairs) if !pairs.is_empty() => pairs,
            _ => return Err(request.at_least_one()),
        };
        let read = |pair: &Pair| {
            if pair.key.text.is_empty() {
                return Err(Problem::new(format!("{} names can not be blank", request.keyword)).at(pair.range));
            }
            Ok(Self {
                key: request.template(&pair.key),
                value: request.template(&pair.value),
                legacy: pair.legacy,
                span: request.span(pair.range),
            })
        };
        pairs.iter().map(read).collect()
    }
}
