//! Policies about sources: which may be used, and which are used in the place of others.
//!
//! A policy is a list of [`Rule`]s. They are asked in order: a rule that converts ends the round, and all policies are
//! asked again about what it made; of rules that allow or deny, the last that matches counts, for each policy by
//! itself. Policies come from clients: rules, lengths, expressions and the work of asking are bounded.

mod engine;
mod selector;
#[cfg(test)]
mod tests;
mod wildcard;

use std::collections::BTreeMap;

use crate::GraphError;

pub use engine::Engine;

/// Rules about sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// What is done with sources that are selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What is done.
    pub action: Action,
    /// Which sources.
    pub selector: Selector,
}

/// What is done with a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It may be used.
    Allow,
    /// It may not be used.
    Deny,
    /// Something else is used in its place.
    Convert(Update),
}

/// What a source becomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Its identifier, in which `${1}` stands for what a star or a group matched; empty for that of the selector.
    pub identifier: String,
    /// Attributes to set.
    pub attrs: BTreeMap<String, String>,
}

/// Which sources a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The identifier, or what it has to match. An equal identifier always does.
    pub identifier: String,
    /// How it is compared.
    pub match_type: MatchType,
    /// What must hold of attributes besides.
    pub constraints: Vec<Constraint>,
}

/// How an identifier is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MatchType {
    /// A star stands for any text.
    #[default]
    Wildcard,
    /// As it is.
    Exact,
    /// A regular expression, found anywhere unless anchored.
    Regex,
}

/// What must hold of an attribute, which is empty if it is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// Its key.
    pub key: String,
    /// What it is compared with.
    pub value: String,
    /// How.
    pub condition: Condition,
}

/// How an attribute is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    /// Equal.
    #[default]
    Equal,
    /// Not equal.
    NotEqual,
    /// Matched by a regular expression.
    Matches,
}

/// Why a source may not be used, or a policy not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The source is denied.
    #[error("error evaluating the source policy: source {0:?} denied by policy: source denied by policy")]
    Denied(String),
    /// A rule lacks something, or has something that is not known.
    #[error("source policy: {0}")]
    Rule(String),
    /// Rules turn a source into others without end.
    #[error("too many mutations on a single source: too many operations")]
    Loop,
    /// Asking the policies takes too long.
    #[error("asking the source policies takes more than {0} steps: too many operations")]
    Steps(u64),
    /// There are too many rules.
    #[error("source policies have more than {0} rules")]
    Rules(usize),
    /// There are too many regular expressions.
    #[error("source policies have more than {0} regular expressions")]
    Expressions(usize),
    /// A text is too long.
    #[error("source policy: {what} takes more than {limit} bytes")]
    Length {
        /// Which text.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A regular expression is malformed or too complex.
    #[error("error matching source policy: invalid regex {expression:?}: {reason}")]
    Regex {
        /// The expression.
        expression: String,
        /// What is wrong.
        reason: String,
    },
    /// Two stars beside each other mean nothing.
    #[error("error matching source policy: failed to translate wildcard {0:?} to regexp: invalid wildcard: \"**\"")]
    Wildcard(String),
    /// What comes out is no graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
