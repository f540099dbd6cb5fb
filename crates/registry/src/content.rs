//! What a manifest's bytes say they are, and whether everyone agrees.

use rbuild_oci::json::{self, JsonError};
use rbuild_oci::media_type::{self, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Largest manifest or index that is read.
pub const MOST_MANIFEST_BYTES: u64 = 8 << 20;

/// The types asked for, most wanted first.
pub const ACCEPT: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    layers: Option<IgnoredAny>,
    #[serde(default)]
    manifests: Option<IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
}

/// Returns the media type of a manifest or index, on which its own text, the `Content-Type` it came
/// with and the descriptor that led to it must agree; an error says who does not.
pub fn manifest_type(body: &[u8], content_type: Option<&str>, expected: Option<&str>) -> Result<String, String> {
    json::check(body).map_err(|error| match error {
        JsonError::Invalid(reason) => format!("the manifest is not valid JSON: {reason}"),
        JsonError::TooLarge(_) => error.to_string(),
    })?;
    // serde reads a list as a struct, Go does not.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err("the manifest is not a JSON object".to_owned());
    }
    let shape: Shape = serde_json::from_slice(body).map_err(|error| format!("the manifest is not valid: {error}"))?;
    if shape.schema_version != Some(2) || shape.fs_layers.is_some() {
        return Err("only manifests of schema version 2 are supported".to_owned());
    }
    let is_index = match (shape.manifests.is_some(), shape.layers.is_some() || shape.config.is_some()) {
        (true, true) => return Err("the manifest claims to be an index and an image at once".to_owned()),
        (false, false) => return Err("the manifest has neither layers nor manifests".to_owned()),
        (is_index, _) => is_index,
    };
    let served = content_type.map(essence).filter(|served| is_known(served));
    let claims = [
        ("its own text", shape.media_type.as_deref()),
        ("the server", served.as_deref()),
        ("its descriptor", expected),
    ];
    let mut found: Option<(&str, &str)> = None;
    for (who, claim) in claims {
        let Some(claim) = claim else { continue };
        if let Some((first, agreed)) = found.filter(|(_, agreed)| *agreed != claim) {
            return Err(format!("the manifest is {agreed:?} to {first} and {claim:?} to {who}"));
        }
        found = found.or(Some((who, claim)));
    }
    let default = if is_index { OCI_INDEX } else { OCI_MANIFEST };
    let kind = found.map_or(default, |(_, claim)| claim);
    let fits = if is_index { media_type::is_index(kind) } else { media_type::is_manifest(kind) };
    if fits { Ok(kind.to_owned()) } else { Err(format!("a document of type {kind:?} cannot have this form")) }
}

/// Returns a `Content-Type` without its parameters.
pub fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a type names a manifest or index; generic types such as `application/json` do not.
pub fn is_known(media_type: &str) -> bool {
    media_type::is_index(media_type) || media_type::is_manifest(media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, served: Option<&str>, expected: Option<&str>, want: Result<&str, &str>) {
        match (manifest_type(body.as_bytes(), served, expected), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want, "{body}"),
            (Err(got), Err(part)) => assert!(got.contains(part), "{got} lacks {part}"),
            (got, want) => panic!("{body}: {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn all_must_agree() {
        let image = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let typed = format!(r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","config":{{}},"layers":[]}}"#);
        check(image, None, None, Ok(OCI_MANIFEST));
        check(index, Some("application/json; charset=utf-8"), None, Ok(OCI_INDEX));
        check(image, Some(DOCKER_MANIFEST), None, Ok(DOCKER_MANIFEST));
        check(&typed, None, Some(DOCKER_MANIFEST), Ok(DOCKER_MANIFEST));
        check(&typed, Some("text/plain"), None, Ok(DOCKER_MANIFEST));
        check(&typed, Some(OCI_MANIFEST), None, Err("the server"));
        check(&typed, None, Some(OCI_INDEX), Err("its descriptor"));
        check(image, Some(OCI_INDEX), None, Err("cannot have this form"));
        check(index, None, Some(OCI_MANIFEST), Err("cannot have this form"));
        check(image, None, Some("text/html"), Err("cannot have this form"));
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        check(r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#, None, None, Err("at once"));
        check(r#"{"schemaVersion":2}"#, None, None, Err("neither"));
        check(r#"{"schemaVersion":1,"fsLayers":[]}"#, None, None, Err("schema version 2"));
        check(r#"{"schemaVersion":2,"layers":[],"layers":[]}"#, None, None, Err("twice"));
        check(r#"{"schemaVersion":2,"layers":[],"Layers":[]}"#, None, None, Err("twice"));
        check(r#"{"schemaVersion":2,"config":{"digest":"a","Digest":"b"},"layers":[]}"#, None, None, Err("twice"));
        check(
            r#"{"schemaVersion":2,"config":{},"layers":[],"annotations":{"a":"1","A":"2"}}"#,
            None,
            None,
            Ok(OCI_MANIFEST),
        );
        check("[2]", None, None, Err("not a JSON object"));
        check("", None, None, Err("not valid"));
        check(&"[".repeat(100_000), None, None, Err("not valid"));
        check("{\"schemaVersion\":2,\"layers\":[],\"x\":\"\u{0}\"}", None, None, Err("not valid"));
    }
}
