//! The configuration of an image from what a client gave: real diff ids, a history that fits the layers, times.
//!
//! What is not told here is kept as its bytes are: clients know fields that this version does not.

use std::collections::BTreeMap;

use rbuild_oci::{DiffId, History, Platform, json};
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ExportError;

/// The comment of entries that no client told.
const COMMENT: &str = "buildkit.exporter.image.v0";
/// The programs of a root that nobody described.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a layer adds to a history that does not tell of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerFacts {
    pub(crate) created: Option<String>,
    pub(crate) description: String,
}

/// What goes into a configuration.
pub(crate) struct Patch<'a> {
    pub(crate) diff_ids: &'a [DiffId],
    pub(crate) layers: &'a [LayerFacts],
    /// The base image's history, whose times stay.
    pub(crate) base: &'a [History],
    pub(crate) epoch: Option<i64>,
    /// Keys of the build cache to be carried by the image.
    pub(crate) cache: Option<&'a [u8]>,
}

/// What is read of a configuration.
#[derive(Deserialize)]
struct Told {
    os: Option<String>,
    architecture: Option<String>,
    created: Option<String>,
    history: Option<Vec<History>>,
}

/// The keys of a configuration with the bytes of their values.
type Fields = BTreeMap<String, Box<RawValue>>;

/// Returns the configuration of a root that nobody described.
pub(crate) fn default_config(platform: &Platform) -> Vec<u8> {
    let config = rbuild_oci::ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
        variant: platform.variant.clone(),
        config: rbuild_oci::ContainerConfig {
            env: if platform.os == "windows" { Vec::new() } else { vec![format!("PATH={PATH}")] },
            working_dir: "/".to_owned(),
            ..rbuild_oci::ContainerConfig::default()
        },
        ..rbuild_oci::ImageConfig::default()
    };
    config.to_json()
}

/// Returns the bytes of a configuration with what is known now, keys sorted as Go sorts them.
///
/// # Errors
/// If `bytes` are not a configuration.
pub(crate) fn patched(bytes: &[u8], patch: &Patch<'_>) -> Result<Vec<u8>, ExportError> {
    let refused = |reason: String| ExportError::Result(format!("invalid image config for export: {reason}"));
    let told: Told = json::from_slice(bytes).map_err(|error| refused(crate::result::chain(&error)))?;
    let mut fields: Fields = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
    for (what, text) in [("os", &told.os), ("architecture", &told.architecture)] {
        if text.as_deref().is_none_or(str::is_empty) {
            return Err(refused(format!("missing {what}")));
        }
    }
    let epoch = patch.epoch.and_then(|epoch| OffsetDateTime::from_unix_timestamp(epoch).ok());
    let mut history = told.history.unwrap_or_default();
    fit(&mut history, patch.layers);
    if let Some(epoch) = epoch {
        clamp(&mut history, patch.base, epoch);
    }
    for value in fields.values_mut() {
        *value = compacted(value);
    }
    let created = match (fields.contains_key("created"), told.created) {
        (true, told) => told.map(|told| clamped(&told, epoch)),
        (false, _) => history.iter().rev().find_map(|entry| entry.created.clone()),
    };
    fields.insert("created".to_owned(), raw(&created));
    fields.insert("rootfs".to_owned(), raw(&Rootfs { kind: "layers", diff_ids: patch.diff_ids }));
    fields.insert("history".to_owned(), raw(&Some(history).filter(|history| !history.is_empty())));
    if let Some(cache) = patch.cache {
        fields.insert("moby.buildkit.cache.v0".to_owned(), raw(&crate::response::base64(cache)));
    }
    Ok(json::to_vec(&fields))
}

#[derive(serde::Serialize)]
struct Rootfs<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    diff_ids: &'a [DiffId],
}

fn raw<T: serde::Serialize>(value: &T) -> Box<RawValue> {
    let text = String::from_utf8(json::to_vec(value)).expect("JSON is text");
    RawValue::from_string(text).expect("what was written is JSON")
}

/// Returns a value as Go writes one that it does not look into: without white space, `<`, `>`, `&` and two line
/// separators escaped.
pub(crate) fn compacted(value: &RawValue) -> Box<RawValue> {
    let mut out = String::with_capacity(value.get().len());
    let (mut inside, mut escaped) = (false, false);
    for c in value.get().chars() {
        match c {
            ' ' | '\t' | '\r' | '\n' if !inside => continue,
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
        inside ^= c == '"' && !escaped;
        escaped = inside && c == '\\' && !escaped;
    }
    RawValue::from_string(out).expect("white space outside of strings means nothing")
}

/// Makes history and layers agree, as BuildKit does, and gives each entry a time.
///
/// An entry that no layer is left for has none; a layer that no entry tells of gets one at the end. Entries without a
/// time get that of their layer; those without a layer that of the first new layer, or of the entry before.
fn fit(history: &mut Vec<History>, layers: &[LayerFacts]) {
    let mut told = 0;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        entry.empty_layer = told == layers.len();
        told += usize::from(!entry.empty_layer);
    }
    history.extend(layers.iter().skip(told).map(|layer| History {
        created: layer.created.clone(),
        created_by: layer.description.clone(),
        comment: COMMENT.to_owned(),
        ..History::default()
    }));
    let with_layers = history.iter_mut().filter(|entry| !entry.empty_layer);
    for (entry, layer) in with_layers.zip(layers) {
        entry.created = entry.created.take().or_else(|| layer.created.clone());
    }
    let first_without = history.iter().position(|entry| entry.created.is_none());
    let (before, after) = history.split_at(first_without.unwrap_or(history.len()));
    let next = after.iter().find_map(|entry| entry.created.clone());
    let mut current = next.or_else(|| before.iter().rev().find_map(|entry| entry.created.clone()));
    for entry in history.iter_mut().skip(first_without.unwrap_or(usize::MAX)) {
        match &entry.created {
            Some(created) => current = Some(created.clone()),
            None => entry.created.clone_from(&current),
        }
    }
}

/// Takes no time later than the epoch, but for the entries at the beginning that are the base image's.
fn clamp(history: &mut [History], base: &[History], epoch: OffsetDateTime) {
    let own = history.iter().zip(base).take_while(|(entry, base)| entry == base).count();
    for entry in history.iter_mut().skip(own) {
        entry.created = Some(match &entry.created {
            Some(told) => clamped(told, Some(epoch)),
            None => rfc3339(epoch),
        });
    }
}

/// Returns a time, or `latest` if that is earlier.
pub(crate) fn clamped(told: &str, latest: Option<OffsetDateTime>) -> String {
    let parsed = OffsetDateTime::parse(told, &Rfc3339).ok();
    match latest.filter(|latest| parsed.is_some_and(|at| at > *latest)) {
        Some(latest) => rfc3339(latest),
        None => told.to_owned(),
    }
}

pub(crate) fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
