//! Which attestations are asked for, and what the frontend does for them: the scan of a bill of materials.

use std::collections::BTreeMap;

use rbuild_oci::Reference;

use super::fields;

/// What scans if nobody says.
const DEFAULT_SCANNER: &str = "docker/buildkit-syft-scanner:stable-1";

/// An image that makes bills of materials.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scanner {
    /// The image.
    pub(crate) image: Reference,
    /// What is said to it.
    pub(crate) parameters: BTreeMap<String, String>,
}

/// Reads `attest:sbom` and refuses kinds that there are not.
pub(crate) fn scanner(given: &BTreeMap<String, String>) -> Result<Option<Scanner>, String> {
    let mut asked: BTreeMap<String, &str> = BTreeMap::new();
    for (name, value) in given {
        let kind = name.strip_prefix("attest:").or_else(|| name.strip_prefix("build-arg:BUILDKIT_ATTEST_"));
        asked.extend(kind.map(|kind| (kind.to_lowercase(), value.as_str())));
    }
    let mut scanner = None;
    for (kind, value) in asked {
        let parsed = fields(value).map_err(|reason| format!("failed to parse {kind}: {reason}"))?;
        match kind.as_str() {
            "sbom" => scanner = Some(sbom(parsed)?),
            "provenance" => {}
            _ => return Err(format!("unknown attestation type {kind:?}")),
        }
    }
    Ok(scanner)
}

fn sbom(fields: Vec<String>) -> Result<Scanner, String> {
    let mut parameters: BTreeMap<String, String> = fields
        .into_iter()
        .map(|field| match field.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (field, String::new()),
        })
        .collect();
    let image = parameters.remove("generator").unwrap_or_else(|| DEFAULT_SCANNER.to_owned());
    let image = Reference::parse(&image).map_err(|error| format!("failed to parse sbom scanner {image}: {error}"))?;
    Ok(Scanner { image, parameters })
}
