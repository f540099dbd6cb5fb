//! Telling manifests and indexes apart, from one place only.
//!
//! A document's kind comes from the media type it was announced with; its own `mediaType` must agree, and
//! a document that could be read as both kinds is refused (CVE-2021-41190, security lesson X27).

use serde_json::Value;

use crate::json::{self, JsonError};
use crate::{ImageConfig, Index, Manifest, media_type};

/// Why a manifest or index is not read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The document is not strict JSON of the expected shape.
    #[error("reading document of type `{media_type}`")]
    Json {
        /// The type it was announced with.
        media_type: String,
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// The document holds both `layers` (or `config`) and `manifests`.
    #[error("document of type `{0}` has fields of both a manifest and an index")]
    Ambiguous(String),
    /// The document says another type than the one it was announced with.
    #[error("document announced as `{announced}` says that it is `{own}`")]
    Mismatch {
        /// The type it was announced with.
        announced: String,
        /// The type it tells.
        own: String,
    },
    /// The type is neither a manifest nor an index.
    #[error("media type `{0}` is neither an image manifest nor an image index")]
    Unsupported(String),
    /// The schema version is not 2.
    #[error("manifest schema version {0} is not supported: only version 2 is")]
    Schema(u64),
}

/// A manifest or an index.
#[expect(clippy::large_enum_variant, reason = "documents are read one at a time")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An image manifest.
    Manifest(Manifest),
    /// An image index.
    Index(Index),
}

impl Document {
    /// Reads a document announced as `announced`; an empty type means that nobody told, as in an OCI
    /// layout made by careless tools, and the document's own type decides.
    ///
    /// # Errors
    /// If the document is ambiguous, malformed, or of another kind.
    pub fn parse(announced: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        let announced = announced.split(';').next().unwrap_or_default().trim();
        let failed = |source| DocumentError::Json { media_type: announced.to_owned(), source };
        let value: Value = json::from_slice(bytes).map_err(failed)?;
        let kind = kind(announced, &value)?;
        let parsed = if media_type::is_index(&kind) {
            serde_json::from_value(value).map(Self::Index)
        } else {
            serde_json::from_value(value).map(Self::Manifest)
        };
        parsed.map_err(|source| failed(JsonError::Invalid(source)))
    }
}

fn kind(announced: &str, value: &Value) -> Result<String, DocumentError> {
    let has = |name: &str| value.as_object().is_some_and(|o| o.keys().any(|key| key.eq_ignore_ascii_case(name)));
    if has("manifests") && (has("layers") || has("config")) {
        return Err(DocumentError::Ambiguous(announced.to_owned()));
    }
    let own = value.get("mediaType").and_then(Value::as_str).filter(|own| !own.is_empty());
    if let Some(version) = value.get("schemaVersion").and_then(Value::as_u64).filter(|version| *version != 2) {
        return Err(DocumentError::Schema(version));
    }
    match own {
        Some(own) if !announced.is_empty() && own != announced => {
            return Err(DocumentError::Mismatch { announced: announced.to_owned(), own: own.to_owned() });
        }
        _ => {}
    }
    let implied = if has("manifests") { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
    let kind = if announced.is_empty() { own.unwrap_or(implied) } else { announced };
    if media_type::is_index(kind) || media_type::is_manifest(kind) {
        Ok(kind.to_owned())
    } else {
        Err(DocumentError::Unsupported(kind.to_owned()))
    }
}

impl Manifest {
    /// Returns the bytes that BuildKit writes for this manifest.
    pub fn to_json(&self) -> Vec<u8> {
        json::to_vec_indented(self)
    }
}

impl Index {
    /// Returns the bytes that BuildKit writes for this index.
    pub fn to_json(&self) -> Vec<u8> {
        json::to_vec_indented(self)
    }
}

impl ImageConfig {
    /// Reads a configuration, strictly.
    ///
    /// # Errors
    /// If `bytes` are not strict JSON or not a configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::from_slice(bytes)
    }

    /// Returns the bytes that BuildKit writes for this configuration: the outer keys sorted, the inner
    /// ones in the order of their types, `history` always there.
    pub fn to_json(&self) -> Vec<u8> {
        let Ok(Value::Object(fields)) = serde_json::to_value(self) else {
            unreachable!("a configuration is an object with string keys");
        };
        let mut sorted: std::collections::BTreeMap<String, Value> = fields.into_iter().collect();
        sorted.entry("history".to_owned()).or_insert(Value::Null);
        json::to_vec(&sorted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::{DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn tells_kinds_apart_from_one_place() {
        let descriptor = format!(r#"{{"mediaType":"{OCI_CONFIG}","digest":"{D}","size":0}}"#);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[]}}"#);
        let typed = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{descriptor},"layers":[]}}"#);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let both = format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[],"manifests":[]}}"#);
        let folded = format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[],"Manifests":[]}}"#);
        let old = r#"{"schemaVersion":1,"manifests":[]}"#;
        let parse = |announced: &str, text: &str| Document::parse(announced, text.as_bytes());
        assert!(matches!(parse(OCI_MANIFEST, &manifest), Ok(Document::Manifest(_))));
        assert!(matches!(parse(OCI_MANIFEST, &typed), Ok(Document::Manifest(_))));
        assert!(matches!(parse(&format!("{OCI_MANIFEST}; charset=utf-8"), &typed), Ok(Document::Manifest(_))));
        assert!(matches!(parse("", index), Ok(Document::Index(_))));
        assert!(matches!(parse("", &manifest), Ok(Document::Manifest(_))));
        assert!(matches!(parse(OCI_INDEX, index), Ok(Document::Index(_))));
        assert!(matches!(parse(OCI_INDEX, &both), Err(DocumentError::Ambiguous(_))));
        assert!(matches!(parse(OCI_MANIFEST, &folded), Err(DocumentError::Ambiguous(_))));
        assert!(matches!(parse(DOCKER_MANIFEST, &typed), Err(DocumentError::Mismatch { .. })));
        assert!(matches!(parse(OCI_INDEX, &manifest), Err(DocumentError::Json { .. })));
        assert!(matches!(parse("text/plain", index), Err(DocumentError::Unsupported(_))));
        assert!(matches!(parse(OCI_INDEX, old), Err(DocumentError::Schema(1))));
    }

    // items: H005
    #[test]
    fn writes_configurations_as_buildkit_does() {
        let text = r#"{"variant":"v7","zeta":1,"os":"linux","os.version":"1","os.features":["b"],
            "config":{"Cmd":["a","<b>"],"Env":["A=1"],"Entrypoint":[],"Labels":{"b":"&","a":""},"Volumes":null},
            "architecture":"arm","rootfs":{"type":"layers","diff_ids":null},"created":"2020-01-01T00:00:00Z"}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        let want = concat!(
            r#"{"architecture":"arm","config":{"Env":["A=1"],"Cmd":["a","\u003cb\u003e"],"#,
            r#""Labels":{"a":"","b":"\u0026"}},"created":"2020-01-01T00:00:00Z","history":null,"os":"linux","#,
            r#""os.features":["b"],"os.version":"1","rootfs":{"type":"layers","diff_ids":[]},"variant":"v7","zeta":1}"#
        );
        assert_eq!(String::from_utf8(config.to_json()).unwrap(), want);
    }
}
