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
use crate::suggest::nearest;

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

/// The most warnings that are kept; one more says that there are more.
pub const MAX_WARNINGS: usize = 10_000;

/// How often a near name is looked for: it takes time for each name there is.
const MAX_SUGGESTIONS: usize = 100;

/// Collects the warnings of the rules that are on.
#[derive(Debug, Clone, Default)]
pub struct Linter {
    options: CheckOptions,
    diagnostics: Vec<Diagnostic>,
    suggestions: usize,
}

impl Linter {
    /// Returns a linter under `options`.
    pub fn new(options: CheckOptions) -> Self {
        Self { options, diagnostics: Vec::new(), suggestions: 0 }
    }

    /// Reports `message` of `rule` at `at`, unless the options or a `check=` in the comments there switch it off.
    pub fn report<'a>(&mut self, rule: &'static Rule, at: impl Into<At<'a>>, message: String) {
        let at = at.into();
        if self.diagnostics.len() > MAX_WARNINGS || !self.options.allows(rule, at.comments) {
            return;
        }
        let more = self.diagnostics.len() == MAX_WARNINGS;
        let message =
            if more { format!("more than the limit of {MAX_WARNINGS} warnings are not shown") } else { message };
        self.diagnostics.push(Diagnostic::lint(rule, at.place, message));
    }

    /// Returns the name in `known` nearest to `name`, as long as there are not too many such questions.
    fn nearest<'a>(&mut self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
        self.suggestions += 1;
        (self.suggestions <= MAX_SUGGESTIONS).then(|| nearest(name, known, true)).flatten()
    }

    /// Forgets the warnings that `keep` does not want.
    fn retain(&mut self, keep: impl Fn(&Diagnostic) -> bool) {
        self.diagnostics.retain(keep);
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
