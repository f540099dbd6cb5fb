//! Builder flags (`--name=value`) against the list of those an instruction takes.

use crate::ast::Flag;
use crate::problem::Problem;
use crate::request::Request;
use crate::source::{Span, Template};
use crate::suggest;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `--x`, `--x=true`, `--x=false`
    Bool,
    /// `--x=value`, once.
    Text,
    /// `--x=value`, repeatable.
    List,
}

/// The flags of an instruction, read.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    values: Vec<(&'static str, String, Span)>,
}

impl Flags {
    /// Reads the flags of an instruction; `known` are those its instruction takes.
    pub(crate) fn read(request: &Request<'_>, known: &[(&'static str, Kind)]) -> Result<Self, Problem> {
        let mut flags = Self::default();
        for flag in &request.node.flags {
            flags.add(flag, known)?;
        }
        Ok(flags)
    }

    fn add(&mut self, flag: &Flag, known: &[(&'static str, Kind)]) -> Result<(), Problem> {
        let problem = |message: String| Problem::new(message).at(flag.range);
        let (name, value) = match flag.text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag.text.as_str(), None),
        };
        let Some(bare) = name.strip_prefix("--") else {
            return Err(problem(format!("arg should start with -- : {}", flag.text)));
        };
        let Some((key, kind)) = known.iter().find(|(key, _)| *key == bare) else {
            let suggestion = suggest::nearest(bare, known.iter().map(|(key, _)| *key), true);
            return Err(problem(format!("unknown flag: {name}")).suggest(suggestion));
        };
        if *kind != Kind::List && self.values.iter().any(|(used, ..)| used == key) {
            return Err(problem(format!("duplicate flag specified: {name}")));
        }
        let value = match (kind, value) {
            (Kind::Bool, None) => "true",
            (Kind::Bool, Some("")) | (Kind::Text | Kind::List, None) => {
                return Err(problem(format!("missing a value on flag: {name}")));
            }
            (Kind::Bool, Some(value)) => match value.to_lowercase().as_str() {
                "true" => "true",
                "false" => "false",
                _ => return Err(problem(format!("expecting boolean value for flag {name}, not: {value}"))),
            },
            (_, Some(value)) => value,
        };
        self.values.push((key, value.to_owned(), flag.range));
        Ok(())
    }

    /// Tells whether `name` was given.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values.iter().any(|(key, ..)| *key == name)
    }

    /// Returns the value of a [`Kind::Bool`] flag, if given.
    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        self.text(name).map(|(value, _)| value == "true")
    }

    /// Returns the value of a [`Kind::Text`] flag, if given.
    pub(crate) fn text(&self, name: &str) -> Option<(&str, Span)> {
        self.values.iter().find(|(key, ..)| *key == name).map(|(_, value, range)| (value.as_str(), *range))
    }

    /// Returns the value of a [`Kind::Text`] flag as a template, if given and not empty.
    pub(crate) fn template(&self, name: &str, request: &Request<'_>) -> Option<Template> {
        let (value, range) = self.text(name)?;
        (!value.is_empty()).then(|| Template::new(value, request.span(range)))
    }

    /// Returns the values of a [`Kind::List`] flag.
    pub(crate) fn list(&self, name: &str, request: &Request<'_>) -> Vec<(Template, Span)> {
        self.values
            .iter()
            .filter(|(key, ..)| *key == name)
            .map(|(_, value, range)| (Template::new(value, request.span(*range)), *range))
            .collect()
    }
}
