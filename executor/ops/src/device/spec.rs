//! A CDI description: what a file says of its devices.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    pub(super) cdi_version: String,
    /// `vendor/class`.
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, Scalar>,
    pub(super) devices: Vec<Described>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// One device.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Described {
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, Scalar>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// What is to be done to a container that gets it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Edits {
    #[serde(default)]
    pub(super) env: Vec<String>,
    #[serde(default)]
    pub(super) device_nodes: Vec<DeviceNode>,
    #[serde(default)]
    pub(super) mounts: Vec<Mount>,
    #[serde(default, rename = "additionalGIDs", alias = "additionalGids")]
    pub(super) additional_gids: Vec<u32>,
    // Refused when the device is used; other devices of the file can be.
    #[serde(default)]
    pub(super) hooks: Vec<serde_json::Value>,
    #[serde(default)]
    pub(super) net_devices: Vec<serde_json::Value>,
    #[serde(default)]
    pub(super) intel_rdt: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    pub(super) path: PathBuf,
    #[serde(default)]
    pub(super) host_path: Option<PathBuf>,
    /// `b`, `c`, `u` or `p`; the host's node decides, and must agree.
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) major: Option<u32>,
    #[serde(default)]
    pub(super) minor: Option<u32>,
    #[serde(default)]
    pub(super) file_mode: Option<u32>,
    #[serde(default)]
    pub(super) permissions: Option<String>,
    #[serde(default)]
    pub(super) uid: Option<u32>,
    #[serde(default)]
    pub(super) gid: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: PathBuf,
    pub(super) container_path: PathBuf,
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) options: Vec<String>,
}

/// A value that authors of YAML write without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Bool(bool),
    Number(i64),
    Text(String),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Bool(value) => value.fmt(f),
            Scalar::Number(value) => value.fmt(f),
            Scalar::Text(value) => value.fmt(f),
        }
    }
}

/// Reads a description in YAML, of which JSON is a part.
pub(super) fn parse(text: &str) -> Result<Spec, String> {
    let spec: Spec = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if !spec.cdi_version.starts_with("0.") && !spec.cdi_version.starts_with("1.") {
        return Err(format!("unknown cdiVersion `{}`", spec.cdi_version));
    }
    if !is_kind(&spec.kind) {
        return Err(format!("kind `{}` is not vendor/class", spec.kind));
    }
    if spec.devices.is_empty() {
        return Err("there is no device".to_owned());
    }
    for (at, device) in spec.devices.iter().enumerate() {
        if !is_name(&device.name) {
            return Err(format!("`{}` is not a name for a device", device.name));
        }
        if spec.devices[..at].iter().any(|other| other.name == device.name) {
            return Err(format!("device `{}` is described twice", device.name));
        }
    }
    Ok(spec)
}

/// Whether the text is `vendor/class`: a domain, a word.
pub(super) fn is_kind(text: &str) -> bool {
    let word = |text: &str, more: &[u8]| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
        text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
            && text.bytes().last().is_some_and(|last| last.is_ascii_alphanumeric())
            && text.bytes().all(inner)
    };
    text.split_once('/').is_some_and(|(vendor, class)| word(vendor, b"_-.") && word(class, b"_-"))
}

fn is_name(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_files_say_why() {
        let yaml = |kind: &str, rest: &str| format!("cdiVersion: 0.6.0\nkind: {kind}\n{rest}");
        for (text, said) in [
            (yaml("a.com/b", "devices:\n- name: x\n"), ""),
            (yaml("a.com/b", "devices: []\n"), "there is no device"),
            (yaml("ab", "devices:\n- name: x\n"), "kind `ab` is not vendor/class"),
            (yaml("a.com/b", "devices:\n- name: x\n- name: x\n"), "described twice"),
            (yaml("a.com/b", "devices:\n- name: '-'\n"), "is not a name"),
            (yaml("a.com/b", "devices:\n- nam: x\n"), "nam"),
            ("cdiVersion: 9.0.0\nkind: a/b\ndevices:\n- name: x".to_owned(), "unknown cdiVersion `9.0.0`"),
            (r#"{"cdiVersion":"0.6.0","kind":"a/b","devices":[{"name":"x"}]}"#.to_owned(), ""),
            ("[".to_owned(), "line"),
            ("a: &a [*a, *a]".to_owned(), ""),
        ] {
            match parse(&text) {
                Ok(_) => assert_eq!(said, "", "{text}"),
                Err(error) => assert!(error.contains(said), "{text}: {error}"),
            }
        }
    }
}
