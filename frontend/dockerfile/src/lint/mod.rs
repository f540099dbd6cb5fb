//! The lint rules: a table of names, summaries and help pages, the checks, and what `# check=` turns on and off.
//!
//! A [`Linter`] collects warnings under one configuration. What the file alone decides is checked by
//! [`Linter::file`]; what needs scopes, a platform, an image or an ignore file is a
//! method that whoever knows those calls.

mod checks;
mod file;
mod options;
mod rules;

pub use checks::{At, OnceTracker};
pub use options::{CheckOptions, OptionError};
pub use rules::*;

use crate::diagnostic::Diagnostic;

/// A lint rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Its name, as `# check=skip=` takes it.
    pub name: &'static str,
    /// What it asks for.
    pub description: &'static str,
    /// Its help page.
    pub url: Option<&'static str>,
    /// Whether it is off unless asked for.
    pub experimental: bool,
}

/// Collects the warnings of the rules that are on.
#[derive(Debug, Clone, Default)]
pub struct Linter {
    options: CheckOptions,
    diagnostics: Vec<Diagnostic>,
}

impl Linter {
    /// Returns a linter under `options`.
    pub fn new(options: CheckOptions) -> Self {
        Self { options, diagnostics: Vec::new() }
    }

    /// Reports `message` of `rule` at `at`, unless the options or a `check=` in the comments there switch it off.
    pub fn report<'a>(&mut self, rule: &'static Rule, at: impl Into<At<'a>>, message: String) {
        let at = at.into();
        if self.options.allows(rule, at.comments) {
            self.diagnostics.push(Diagnostic::lint(rule, at.place, message));
        }
    }

    /// Returns the warnings so far, in the order found.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Returns the warnings.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// Returns the error that `error=true` makes of the warnings found, if any.
    pub fn failure(&self) -> Option<String> {
        if !self.options.error || self.diagnostics.is_empty() {
            return None;
        }
        let names: std::collections::BTreeSet<&str> =
            self.diagnostics.iter().filter_map(|diagnostic| diagnostic.rule).map(|rule| rule.name).collect();
        Some(format!("lint violation found for rules: {}", names.into_iter().collect::<Vec<_>>().join(", ")))
    }
}
