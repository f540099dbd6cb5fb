//! The attributes of a cache (`type=registry,ref=…`), read one by one.

use std::collections::BTreeMap;

use rbuild_tree::compress::Compression;

use crate::spec::{CacheSpec, SpecError};
use crate::speller::nearest;

/// The attributes of one cache, each to be taken once; those known are remembered for hints.
pub(crate) struct Attributes<'a> {
    what: &'static str,
    kind: &'a str,
    left: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(what: &'static str, spec: &'a CacheSpec) -> Self {
        Self { what, kind: &spec.kind, left: spec.attributes.clone(), known: Vec::new() }
    }

    pub(crate) fn take(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.left.remove(name)
    }

    /// Takes what must be there.
    pub(crate) fn required(&mut self, name: &'static str, example: &str) -> Result<String, SpecError> {
        let (what, kind) = (self.what, self.kind);
        let missing =
            || SpecError(format!("{what} type={kind} needs `{name}`, such as `type={kind},{name}={example}`"));
        self.take(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, SpecError> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("" | "true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(Some(true)),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => Err(self.invalid(name, other, "expected true or false")),
        }
    }

    pub(crate) fn invalid(&self, name: &str, value: &str, reason: &str) -> SpecError {
        SpecError(format!("{} type={}: `{name}={}`: {reason}", self.what, self.kind, value.escape_debug()))
    }

    pub(crate) fn compression(&mut self) -> Result<Compression, SpecError> {
        let (name, level) = (self.take("compression"), self.take("compression-level"));
        let parsed = Compression::parse(name.as_deref(), level.as_deref());
        parsed.map_err(|wrong| self.invalid(wrong.attribute, &wrong.value, wrong.reason))
    }

    /// Attributes that nobody took are refused, not ignored.
    pub(crate) fn finish(self) -> Result<(), SpecError> {
        let Some((name, value)) = self.left.iter().next() else { return Ok(()) };
        let mut known = self.known.clone();
        known.sort_unstable();
        let reason = match nearest(name, &known) {
            Some(word) => format!("unknown attribute: did you mean `{word}`?"),
            None => format!("unknown attribute: one of {}", known.join(", ")),
        };
        Err(self.invalid(&name.escape_debug().to_string(), value, &reason))
    }
}
