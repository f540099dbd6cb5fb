//! The attributes of an output (`type=oci,compression=zstd`), read one by one.

use std::collections::BTreeMap;

use rbuild_tree::compress::Compression;

use crate::ExportError;
use crate::output::OutputSpec;

/// The seconds of the years 1 to 9999, which images can tell.
pub const EPOCHS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The attributes of one output, each to be taken once.
pub(crate) struct Attributes<'a> {
    spec: &'a OutputSpec,
    left: BTreeMap<String, String>,
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(spec: &'a OutputSpec) -> Self {
        Self { spec, left: spec.attributes.clone() }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.left.remove(name)
    }

    /// Takes a flag; like those of BuildKit it may stand without a value, and has Go's forms of booleans.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, ExportError> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("" | "1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(Some(false)),
            Some(other) => Err(self.invalid(name, other, "expected true or false")),
        }
    }

    pub(crate) fn invalid(&self, name: &str, value: &str, reason: &str) -> ExportError {
        ExportError::Attribute {
            kind: self.spec.kind.clone(),
            name: name.to_owned(),
            value: value.to_owned(),
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn compression(&mut self) -> Result<Compression, ExportError> {
        let (name, level) = (self.take("compression"), self.take("compression-level"));
        let parsed = Compression::parse(name.as_deref(), level.as_deref());
        parsed.map_err(|wrong| self.invalid(wrong.attribute, &wrong.value, wrong.reason))
    }

    pub(crate) fn epoch(&mut self) -> Result<Option<Option<i64>>, ExportError> {
        match self.take("source-date-epoch").as_deref() {
            None => Ok(None),
            Some(text) => match parse_epoch(text) {
                Some(epoch) => Ok(Some(epoch)),
                None => {
                    Err(self.invalid("source-date-epoch", text, "expected seconds since 1970, in the years 1 to 9999"))
                }
            },
        }
    }

    /// Returns what nobody took.
    pub(crate) fn rest(self) -> BTreeMap<String, String> {
        self.left
    }

    /// Attributes that nobody knows are refused, not ignored.
    pub(crate) fn finish(self) -> Result<(), ExportError> {
        match self.left.iter().next() {
            None => Ok(()),
            Some((name, value)) => Err(self.invalid(name, value, "this attribute is not supported")),
        }
    }
}

/// Reads seconds since 1970; an empty text means that there is no epoch.
pub(crate) fn parse_epoch(text: &str) -> Option<Option<i64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.parse().ok().filter(|seconds| EPOCHS.contains(seconds)).map(Some)
}
