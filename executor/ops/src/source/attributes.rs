//! The attributes of a source op, taken one by one so that none is overlooked.

use std::collections::BTreeMap;

use rbuild_graph::pb;

use crate::OpsError;

/// The attributes of a source that were not looked at yet.
pub(crate) struct Attributes {
    identifier: String,
    left: BTreeMap<String, String>,
}

impl Attributes {
    /// Reads those of `op`.
    pub(crate) fn new(op: &pb::SourceOp) -> Self {
        let left = op.attrs.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Self { identifier: op.identifier.clone(), left }
    }

    /// Returns an error about this source.
    pub(crate) fn invalid(&self, reason: impl std::fmt::Display) -> OpsError {
        OpsError::Source { identifier: self.identifier.clone(), reason: reason.to_string() }
    }

    /// Takes an attribute; an empty one counts as none.
    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        self.left.remove(key).filter(|value| !value.is_empty())
    }

    /// Takes an attribute after whose prefix comes `name`, in whatever case.
    pub(crate) fn take_any_case(&mut self, prefix: &str, name: &str) -> Option<String> {
        let is = |key: &&String| key.strip_prefix(prefix).is_some_and(|rest| rest.eq_ignore_ascii_case(name));
        let key = self.left.keys().find(is)?.clone();
        self.take(&key)
    }

    /// Takes an attribute that is `true` or something else.
    pub(crate) fn flag(&mut self, key: &str) -> bool {
        self.take(key).as_deref() == Some("true")
    }

    /// Takes a list of texts in JSON; none is an empty one.
    pub(crate) fn list(&mut self, key: &str) -> Result<Vec<String>, OpsError> {
        let Some(text) = self.take(key) else { return Ok(Vec::new()) };
        let list: Option<_> = serde_json::from_str(&text)
            .map_err(|error| self.invalid(format!("attribute `{key}` is not a list of texts: {error}")))?;
        Ok(list.unwrap_or_default())
    }

    /// Takes a truth value as Go reads them.
    pub(crate) fn truth(&mut self, key: &str) -> Result<bool, OpsError> {
        let Some(text) = self.take(key) else { return Ok(false) };
        match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(self.invalid(format!("attribute `{key}`: `{}` is neither true nor false", text.escape_debug()))),
        }
    }

    /// Takes a number: decimal, or octal or hexadecimal with a prefix.
    pub(crate) fn number(&mut self, key: &str) -> Result<Option<u32>, OpsError> {
        let Some(text) = self.take(key) else { return Ok(None) };
        let octal = |digits: &str| u32::from_str_radix(digits, 8);
        let parsed = match text.as_bytes() {
            [b'0', b'x', ..] => u32::from_str_radix(&text[2..], 16),
            [b'0', b'o', ..] => octal(&text[2..]),
            [b'0', _, ..] => octal(&text[1..]),
            _ => text.parse(),
        };
        parsed.map(Some).map_err(|_| self.invalid(format!("attribute `{key}`: `{text}` is not a number")))
    }

    /// Checks that nothing is left of what begins with `prefix`: an attribute that is not understood may well be
    /// one that the build relies upon.
    pub(crate) fn end(self, prefix: &str) -> Result<(), OpsError> {
        match self.left.keys().find(|key| key.starts_with(prefix)) {
            Some(key) => Err(self.invalid(format!("attribute `{key}` is not supported"))),
            None => Ok(()),
        }
    }
}
