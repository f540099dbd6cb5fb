//! The attributes of an output (`type=oci,compression=zstd`), read one by one.

use std::collections::BTreeMap;

use rbuild_tree::compress::Compression;

use crate::error::BuildError;
use crate::request::OutputSpec;

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

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, BuildError> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("" | "true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(self.invalid(name, other, "expected true or false")),
        }
    }

    pub(crate) fn invalid(&self, name: &str, value: &str, reason: &str) -> BuildError {
        BuildError::Input(format!("output type={}: `{name}={value}`: {reason}", self.spec.kind))
    }

    pub(crate) fn compression(&mut self) -> Result<Compression, BuildError> {
        let level = self.take("compression-level");
        let number = |default: u32, most: u32, attributes: &Self| match level.as_deref() {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(level) if level <= most => Ok(level),
                _ => Err(attributes.invalid("compression-level", text, &format!("expected a number from 0 to {most}"))),
            },
        };
        match self.take("compression").as_deref() {
            None | Some("gzip") => Ok(Compression::Gzip(number(6, 9, self)?)),
            Some("zstd") => Ok(Compression::Zstd(number(3, 22, self)?.max(1))),
            Some("uncompressed") => Ok(Compression::None),
            Some("estargz") => {
                Err(self.invalid("compression", "estargz", "is not supported yet: gzip, zstd or uncompressed"))
            }
            Some(other) => Err(self.invalid("compression", other, "unknown: gzip, zstd or uncompressed")),
        }
    }

    pub(crate) fn epoch(&mut self) -> Result<Option<Option<i64>>, BuildError> {
        match self.take("source-date-epoch").as_deref() {
            None => Ok(None),
            Some("") => Ok(Some(None)),
            Some(text) => match text.parse() {
                Ok(seconds) if rbuild_lower::EPOCHS.contains(&seconds) => Ok(Some(Some(seconds))),
                _ => {
                    Err(self.invalid("source-date-epoch", text, "expected seconds since 1970, in the years 1 to 9999"))
                }
            },
        }
    }

    /// Attributes that belong to what is not there yet are refused, not ignored.
    pub(crate) fn finish(self) -> Result<(), BuildError> {
        match self.left.iter().next() {
            None => Ok(()),
            Some((name, value)) => Err(self.invalid(name, value, "this attribute is not supported")),
        }
    }
}
