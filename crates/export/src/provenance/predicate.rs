//! The predicates: SLSA v1, and v0.2 made of the same value.

use std::collections::BTreeMap;

use bytes::Bytes;
use rbuild_oci::{Descriptor, Platform, json};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::capture::{Capture, Local, Parameters, redacted};
use super::materials::{ConfigSource, Material, config_source, materials};
use super::options::{Mode, ProvenanceOptions, Version};
use crate::attestation::{Attestation, Content};
use crate::config::rfc3339;

const TYPE_V1: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const TYPE_V02: &str = "https://mobyproject.org/buildkit@v1";

/// One run of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Tells this run from all others.
    pub id: String,
    /// When it began.
    pub started: OffsetDateTime,
    /// When the result was there.
    pub finished: OffsetDateTime,
}

/// The steps of a build.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildConfig {
    /// The steps, each after those it needs.
    #[serde(rename = "llbDefinition", skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<BuildStep>,
    /// The steps' ids by the digests of their operations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub digest_mapping: BTreeMap<String, String>,
}

/// A step of a build.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BuildStep {
    /// The id, such as `step0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The operation as BuildKit writes it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub op: Value,
    /// What it needs, such as `step0:0`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
}

/// How a result came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance {
    /// What it was made of.
    pub capture: Capture,
    /// The run that made it.
    pub run: Run,
    /// What built it.
    pub platform: Platform,
    /// The version of the Dockerfile frontend, if that was the frontend.
    pub dockerfile_version: Option<String>,
    /// The steps, for [`Mode::Max`].
    pub steps: Option<BuildConfig>,
    /// The text that the steps come from, as BuildKit writes it, for [`Mode::Max`].
    pub source: Option<Value>,
    /// The layers of each step's outputs, such as `step0:0`, for [`Mode::Max`].
    pub layers: BTreeMap<String, Vec<Vec<Descriptor>>>,
    /// What the administrator tells of this builder.
    pub environment: Map<String, Value>,
}

/// What both versions tell.
struct Told {
    config: ConfigSource,
    request: Parameters,
    materials: Vec<Material>,
    metadata: Value,
    request_complete: bool,
    materials_complete: bool,
    hermetic: bool,
}

impl Provenance {
    /// Checks what the options ask of materials.
    ///
    /// # Errors
    /// If materials have to be complete and are not.
    pub fn check(&self, options: &ProvenanceOptions) -> Result<(), crate::ExportError> {
        if !options.complete_materials || self.capture.is_complete() {
            return Ok(());
        }
        let local = self.capture.sources.local.join(", ");
        let what = if local.is_empty() { "unknown sources".to_owned() } else { format!("local sources: {local}") };
        Err(crate::ExportError::Result(format!("provenance materials are incomplete: {what}")))
    }

    /// Returns the attestation of this provenance in the form that was asked for.
    ///
    /// # Errors
    /// If materials have to be complete and are not.
    pub fn attestation(&self, options: &ProvenanceOptions) -> Result<Attestation, crate::ExportError> {
        self.check(options)?;
        Ok(options.attestation(Content::Made(self.predicate(options))))
    }

    /// Returns the predicate in the form that was asked for: JSON for people.
    pub fn predicate(&self, options: &ProvenanceOptions) -> Bytes {
        let told = self.told(options.mode);
        let predicate = match options.version {
            Version::V1 => self.v1(&told, options),
            Version::V02 => self.v02(&told, options),
        };
        json::to_vec_indented(&predicate).into()
    }

    fn told(&self, mode: Mode) -> Told {
        let materials_complete = self.capture.is_complete();
        let mut capture = self.capture.clone();
        capture.sort();
        let mut request = capture.request;
        request.args = Parameters::filtered(&request.args);
        let config = config_source(&mut request.args, &capture.sources);
        let vcs = take_vcs(&mut request.args);
        request.locals.extend(capture.sources.local.iter().map(|name| Local { name: name.clone() }));
        let mut request_complete = !request.frontend.is_empty();
        if mode == Mode::Min {
            request_complete &= !request.scrub();
        }
        let mut metadata = serde_json::Map::new();
        if !vcs.is_empty() {
            metadata.insert("vcs".to_owned(), serde_json::json!(vcs));
        }
        if let Some(source) = self.source.clone().filter(|_| mode == Mode::Max) {
            metadata.insert("source".to_owned(), source);
        }
        if mode == Mode::Max && !self.layers.is_empty() {
            metadata.insert("layers".to_owned(), serde_json::json!(self.layers));
        }
        Told {
            config,
            materials: materials(&capture.sources),
            metadata: metadata.into(),
            request,
            request_complete,
            materials_complete,
            hermetic: materials_complete && !capture.network_access,
        }
    }

    fn steps(&self, options: &ProvenanceOptions) -> Option<&BuildConfig> {
        self.steps.as_ref().filter(|_| options.mode == Mode::Max)
    }

    fn add_environment(&self, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            fields.extend(self.environment.clone());
        }
    }

    fn v1(&self, told: &Told, options: &ProvenanceOptions) -> Value {
        let config = serde_json::json!(told.config);
        let mut internal = serde_json::json!({ "builderPlatform": self.platform.to_string() });
        insert(&mut internal, "dockerfileVersion", self.dockerfile_version.as_ref());
        insert(&mut internal, "buildConfig", self.steps(options));
        self.add_environment(&mut internal);
        let mut definition = serde_json::json!({ "buildType": TYPE_V1 });
        insert(&mut definition, "resolvedDependencies", Some(&told.materials).filter(|all| !all.is_empty()));
        insert(
            &mut definition,
            "externalParameters",
            Some(serde_json::json!({ "configSource": config, "request": told.request })),
        );
        insert(&mut definition, "internalParameters", Some(internal));
        let mut metadata = serde_json::json!({
            "invocationId": self.run.id,
            "startedOn": rfc3339(self.run.started),
            "finishedOn": rfc3339(self.run.finished),
            "buildkit_metadata": told.metadata,
        });
        insert(&mut metadata, "buildkit_hermetic", told.hermetic.then_some(true));
        let complete =
            serde_json::json!({ "request": told.request_complete, "resolvedDependencies": told.materials_complete });
        insert(&mut metadata, "buildkit_completeness", Some(complete));
        insert(&mut metadata, "buildkit_reproducible", options.reproducible.then_some(true));
        serde_json::json!({
            "buildDefinition": definition,
            "runDetails": { "builder": { "id": options.builder_id }, "metadata": metadata },
        })
    }

    fn v02(&self, told: &Told, options: &ProvenanceOptions) -> Value {
        let mut config = serde_json::json!(told.config.material);
        insert(&mut config, "entryPoint", (!told.config.path.is_empty()).then_some(&told.config.path));
        let mut environment = serde_json::json!({ "platform": self.platform.to_string() });
        insert(&mut environment, "dockerfileVersion", self.dockerfile_version.as_ref());
        self.add_environment(&mut environment);
        let mut predicate = serde_json::json!({ "builder": { "id": options.builder_id }, "buildType": TYPE_V02 });
        insert(&mut predicate, "materials", Some(&told.materials).filter(|all| !all.is_empty()));
        let invocation =
            serde_json::json!({ "configSource": config, "parameters": told.request, "environment": environment });
        insert(&mut predicate, "invocation", Some(invocation));
        insert(&mut predicate, "buildConfig", self.steps(options));
        let complete = serde_json::json!({
            "parameters": told.request_complete,
            "environment": true,
            "materials": told.materials_complete,
        });
        let mut metadata = serde_json::json!({
            "buildInvocationID": self.run.id,
            "buildStartedOn": rfc3339(self.run.started),
            "buildFinishedOn": rfc3339(self.run.finished),
            "completeness": complete,
            "reproducible": options.reproducible,
            "https://mobyproject.org/buildkit@v1#metadata": told.metadata,
        });
        insert(&mut metadata, "https://mobyproject.org/buildkit@v1#hermetic", told.hermetic.then_some(true));
        insert(&mut predicate, "metadata", Some(metadata));
        predicate
    }
}

/// Takes `vcs:…` out of what the frontend was told.
fn take_vcs(args: &mut BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut vcs = BTreeMap::new();
    args.retain(|key, value| {
        let Some(name) = key.strip_prefix("vcs:") else { return true };
        let value = if name == "source" { redacted(value) } else { value.clone() };
        if !value.is_empty() {
            vcs.insert(name.to_owned(), value);
        }
        false
    });
    vcs
}

/// Adds a value to an object if there is one.
fn insert<T: Serialize>(object: &mut Value, key: &str, value: Option<T>) {
    if let (Some(fields), Some(value)) = (object.as_object_mut(), value) {
        fields.insert(key.to_owned(), serde_json::json!(value));
    }
}

#[cfg(test)]
#[path = "predicate_tests.rs"]
mod tests;
