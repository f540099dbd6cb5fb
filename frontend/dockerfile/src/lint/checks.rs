//! The checks that need to know more than the file: each is called by whoever knows it.

use super::{Linter, rules};
use crate::instruction::Statement;
use crate::source::Place;
use crate::suggest::nearest;

/// Remembers the last instruction of a kind that counts only once in a stage (`CMD`, `ENTRYPOINT`, `HEALTHCHECK`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnceTracker {
    last: Option<Place>,
}

impl OnceTracker {
    /// Tells whether there was one.
    pub fn is_set(&self) -> bool {
        self.last.is_some()
    }
}

/// Whether a `FROM --platform` is a constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstantPlatform<'a> {
    /// The platform as expanded.
    pub platform: &'a str,
    /// Its operating system, normalised.
    pub os: &'a str,
    /// Its architecture, normalised.
    pub architecture: &'a str,
}

impl Linter {
    /// UndefinedVar: `name` was used and not set. `known` are the names that are set; call it only for names that
    /// are no build argument of the stage (`ARG name` without a value is declared, not undefined).
    pub fn undefined_var<'a>(&mut self, at: &Statement, name: &str, known: impl IntoIterator<Item = &'a str>) {
        let mut message = format!("Usage of undefined variable '${name}'");
        if let Some(near) = nearest(name, known, true) {
            message.push_str(&format!(" (did you mean ${near}?)"));
        }
        self.report(&rules::UNDEFINED_VAR, at.place(), &at.comments, message);
    }

    /// UndefinedArgInFrom: a `FROM` (name or platform) used `name`, which no global argument declares. `known` are
    /// the declared and predefined ones.
    pub fn undefined_arg_in_from<'a>(
        &mut self,
        at: Place,
        comments: &[String],
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) {
        let mut message = format!("FROM argument '{name}' is not declared");
        if let Some(near) = nearest(name, known, true) {
            message.push_str(&format!(" (did you mean {near}?)"));
        }
        self.report(&rules::UNDEFINED_ARG_IN_FROM, at, comments, message);
    }
}
