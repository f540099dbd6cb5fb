//! Which attestations a client asks for, and of what form.

use std::collections::BTreeMap;

use crate::ExportError;
use crate::attestation::{Attestation, Content, Kind};

/// How much provenance tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Neither build arguments nor secrets nor steps.
    Min,
    /// Everything.
    Max,
}

/// The version of the predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `https://slsa.dev/provenance/v0.2`.
    V02,
    /// `https://slsa.dev/provenance/v1`.
    V1,
}

/// What `attest:provenance=…` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenanceOptions {
    /// How much is told.
    pub mode: Mode,
    /// The version of the predicate.
    pub version: Version,
    /// Who builds, as an address.
    pub builder_id: String,
    /// The file's name.
    pub filename: String,
    /// Whether the client promises that the build can be repeated.
    pub reproducible: bool,
    /// Whether only images carry it.
    pub inline_only: bool,
    /// Whether a build that took something unknown in has to fail.
    pub complete_materials: bool,
}

/// The attestations that a client asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttestOptions {
    /// Provenance.
    pub provenance: Option<ProvenanceOptions>,
    /// What the maker of an SBOM is told; its image is `generator`.
    pub sbom: Option<BTreeMap<String, String>>,
}

impl AttestOptions {
    /// Reads `attest:…` and `build-arg:BUILDKIT_ATTEST_…` of what a frontend is told.
    ///
    /// # Errors
    /// If there is no such attestation, or it cannot be made so.
    pub fn parse(told: &BTreeMap<String, String>) -> Result<Self, ExportError> {
        let mut options = Self::default();
        for (key, value) in told {
            let prefixes = ["attest:", "build-arg:BUILDKIT_ATTEST_"];
            let Some(name) = prefixes.iter().find_map(|prefix| key.strip_prefix(prefix)) else { continue };
            let fields = fields(value).ok_or_else(|| refused(&format!("failed to parse {name}: `{value}`")))?;
            match name.to_ascii_lowercase().as_str() {
                "provenance" => options.provenance = Some(ProvenanceOptions::read(&fields)?),
                "sbom" => options.sbom = Some(fields),
                other => return Err(refused(&format!("unknown attestation type {other:?}"))),
            }
        }
        Ok(options)
    }
}

impl ProvenanceOptions {
    /// Returns what a build's history keeps: everything, in the newest version.
    pub fn of_history(builder_id: String) -> Self {
        Self {
            mode: Mode::Max,
            version: Version::V1,
            builder_id,
            filename: "provenance.json".to_owned(),
            reproducible: false,
            inline_only: false,
            complete_materials: false,
        }
    }

    /// Returns the type of the predicate.
    pub fn predicate_type(&self) -> &'static str {
        match self.version {
            Version::V1 => "https://slsa.dev/provenance/v1",
            Version::V02 => "https://slsa.dev/provenance/v0.2",
        }
    }

    /// Returns the attestation that has this content.
    pub(super) fn attestation(&self, content: Content) -> Attestation {
        Attestation {
            kind: Kind::InToto,
            metadata: BTreeMap::from([
                ("reason".to_owned(), b"provenance".to_vec()),
                ("inline-only".to_owned(), self.inline_only.to_string().into_bytes()),
            ]),
            content,
            path: self.filename.clone(),
            predicate_type: self.predicate_type().to_owned(),
            subjects: Vec::new(),
        }
    }

    fn read(fields: &BTreeMap<String, String>) -> Result<Self, ExportError> {
        let get = |name: &str| fields.get(name).map(String::as_str);
        let flag = |name: &str| match get(name) {
            None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
            Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
            Some(other) => Err(refused(&format!("failed to parse {name} flag {other:?}"))),
        };
        if flag("capture-usage").unwrap_or(false) {
            return Err(refused("provenance with capture-usage=true is not supported"));
        }
        Ok(Self {
            mode: match get("mode") {
                None | Some("max" | "full") => Mode::Max,
                Some("min") => Mode::Min,
                Some(other) => return Err(refused(&format!("invalid mode {other:?}"))),
            },
            version: match get("version") {
                None | Some("v1") => Version::V1,
                Some("v0.2") => Version::V02,
                Some("") => return Err(refused("provenance SLSA version cannot be empty")),
                Some(other) => return Err(refused(&format!("invalid provenance SLSA version: {other}"))),
            },
            builder_id: get("builder-id").unwrap_or_default().to_owned(),
            filename: get("filename").unwrap_or("provenance.json").to_owned(),
            reproducible: flag("reproducible")?,
            // What is no flag counts as none here.
            inline_only: flag("inline-only").unwrap_or(false),
            complete_materials: flag("complete-materials")?,
        })
    }
}

/// Reads `key=value` pairs separated by commas; a pair with a comma in it stands in quotes, a quote is doubled.
fn fields(text: &str) -> Option<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (field, next) = match rest.strip_prefix('"') {
            None => match rest.split_once(',') {
                Some((field, next)) => (field.to_owned(), next),
                None => (rest.to_owned(), ""),
            },
            Some(quoted) => {
                let closing = |position: &usize| {
                    let quotes = quoted[..*position].bytes().rev().take_while(|b| *b == b'"').count();
                    quotes % 2 == 0 && !quoted[position + 1..].starts_with('"')
                };
                let end = quoted.match_indices('"').map(|(position, _)| position).find(closing)?;
                let next = &quoted[end + 1..];
                let next = if next.is_empty() { next } else { next.strip_prefix(',')? };
                (quoted[..end].replace("\"\"", "\""), next)
            }
        };
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        pairs.insert(key.to_owned(), value.to_owned());
        rest = next;
    }
    Some(pairs)
}

fn refused(reason: &str) -> ExportError {
    ExportError::Output(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        for (text, want) in [
            ("", Some(vec![])),
            ("mode=min,inline-only=true", Some(vec![("inline-only", "true"), ("mode", "min")])),
            ("flag", Some(vec![("flag", "")])),
            (r#""a=1,2",b="#, Some(vec![("a", "1,2"), ("b", "")])),
            (r#""a=say ""x""""#, Some(vec![("a", r#"say "x""#)])),
            (r#""a=1"#, None),
            (r#""a=1"b"#, None),
        ] {
            let found = fields(text);
            let found =
                found.as_ref().map(|found| found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>());
            assert_eq!(found, want, "{text}");
        }
    }

    #[test]
    fn asked_for() {
        let parse =
            |key: &str, value: &str| AttestOptions::parse(&BTreeMap::from([(key.to_owned(), value.to_owned())]));
        let default = parse("attest:provenance", "").unwrap().provenance.unwrap();
        assert_eq!(
            (default.mode, default.version, default.filename.as_str()),
            (Mode::Max, Version::V1, "provenance.json")
        );
        let buildx = parse("attest:provenance", "mode=min,inline-only=true,version=v0.2").unwrap().provenance.unwrap();
        assert_eq!((buildx.mode, buildx.version, buildx.inline_only), (Mode::Min, Version::V02, true));
        assert!(parse("build-arg:BUILDKIT_ATTEST_SBOM", "generator=x").unwrap().sbom.is_some());
        assert_eq!(parse("build-arg:other", "x").unwrap(), AttestOptions::default());
        for (value, said) in [
            ("mode=some", "invalid mode"),
            ("version=v2", "invalid provenance SLSA version: v2"),
            ("reproducible=perhaps", "reproducible"),
            ("capture-usage=true", "not supported"),
            ("\"", "failed to parse"),
        ] {
            let error = parse("attest:provenance", value).unwrap_err().to_string();
            assert!(error.contains(said), "{value}: {error}");
        }
        assert!(parse("attest:nope", "").unwrap_err().to_string().contains("unknown attestation type \"nope\""));
    }
}
