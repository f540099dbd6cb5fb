//! Whether a rule is about a source, and what its template makes of the identifier.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use super::{Condition, Constraint, MatchType, PolicyError, Selector, wildcard};

/// The most memory that one expression may take.
const MOST_MEMORY: usize = 1 << 20;

/// A selector ready to be asked.
#[derive(Debug)]
pub(super) struct Prepared {
    identifier: String,
    pattern: Pattern,
    constraints: Vec<(String, Test)>,
}

#[derive(Debug)]
enum Pattern {
    Exact,
    Wildcard,
    Regex(Regex),
}

#[derive(Debug)]
enum Test {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Prepared {
    pub(super) fn new(selector: &Selector) -> Result<Self, PolicyError> {
        let pattern = match selector.match_type {
            MatchType::Exact => Pattern::Exact,
            MatchType::Wildcard if selector.identifier.contains("**") => {
                return Err(PolicyError::Wildcard(selector.identifier.clone()));
            }
            MatchType::Wildcard => Pattern::Wildcard,
            MatchType::Regex => Pattern::Regex(expression(&selector.identifier)?),
        };
        let constraints = selector.constraints.iter().map(test).collect::<Result<_, _>>()?;
        Ok(Self { identifier: selector.identifier.clone(), pattern, constraints })
    }

    /// Returns how many tests a question takes.
    pub(super) fn steps(&self) -> u64 {
        1 + self.constraints.len() as u64
    }

    pub(super) fn matches(&self, identifier: &str, attrs: &BTreeMap<String, String>) -> bool {
        let holds = |(key, test): &(String, Test)| {
            let value = attrs.get(key).map(String::as_str).unwrap_or_default();
            match test {
                Test::Equal(wanted) => value == wanted,
                Test::NotEqual(unwanted) => value != unwanted,
                Test::Matches(expression) => expression.is_match(value),
            }
        };
        self.constraints.iter().all(holds)
            && (self.identifier == identifier
                || match &self.pattern {
                    Pattern::Exact => false,
                    Pattern::Wildcard => wildcard::captures(&self.identifier, identifier).is_some(),
                    Pattern::Regex(expression) => expression.is_match(identifier),
                })
    }

    /// Returns the identifier that `template` makes of `identifier`; an empty one is the selector's own.
    pub(super) fn format(&self, identifier: &str, template: &str) -> String {
        let template = if template.is_empty() { &self.identifier } else { template };
        match &self.pattern {
            Pattern::Exact => template.to_owned(),
            Pattern::Wildcard => match wildcard::captures(&self.identifier, identifier) {
                Some(groups) => wildcard::expand(template, &groups),
                None => identifier.to_owned(),
            },
            Pattern::Regex(expression) => expression.replace_all(identifier, template).into_owned(),
        }
    }
}

fn test(constraint: &Constraint) -> Result<(String, Test), PolicyError> {
    let value = constraint.value.clone();
    let test = match constraint.condition {
        Condition::Equal => Test::Equal(value),
        Condition::NotEqual => Test::NotEqual(value),
        Condition::Matches => Test::Matches(expression(&value)?),
    };
    Ok((constraint.key.clone(), test))
}

fn expression(text: &str) -> Result<Regex, PolicyError> {
    let built = RegexBuilder::new(text).size_limit(MOST_MEMORY).dfa_size_limit(MOST_MEMORY).nest_limit(100).build();
    built.map_err(|error| {
        let reason = match error {
            regex::Error::CompiledTooBig(limit) => format!("it takes more than {limit} bytes of memory"),
            // The parser draws the place over several lines; the last says what is wrong.
            other => other.to_string().lines().next_back().unwrap_or_default().trim().to_owned(),
        };
        PolicyError::Regex { expression: text.to_owned(), reason }
    })
}
