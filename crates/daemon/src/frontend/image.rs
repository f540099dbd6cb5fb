//! The image of a frontend: where it comes from and what it says of itself.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbuild_buildkit_api::gateway::ResolveSourceMetaRequest;
use rbuild_graph::{Builder, pb, source};
use rbuild_oci::{ImageConfig, Platform, Reference};
use serde_json::Value;

use super::ImageFrontend;
use crate::bridge::source::metadata;
use crate::build::Build;
use crate::fault::Fault;
use crate::lazy::Lazy;

/// The label that lists what a frontend can do.
const CAPS: &str = "moby.buildkit.frontend.caps";
/// The label of frontends that need no network.
const NO_NETWORK: &str = "moby.buildkit.frontend.network.none";
/// The program of images that name none.
const PROGRAM: &str = "/run";

/// The image of a frontend.
pub(super) struct FrontendImage {
    /// Its files.
    pub(super) root: Arc<Lazy>,
    /// What it says of itself.
    pub(super) says: Says,
}

/// What the image of a frontend says of itself.
#[derive(Default)]
pub(super) struct Says {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) cwd: String,
    /// What it can do.
    pub(super) caps: String,
    pub(super) has_no_network: bool,
}

impl Says {
    fn new(config: ImageConfig) -> Self {
        let config = config.config;
        let label = |name: &str| config.labels.get(name).map(String::as_str).unwrap_or_default();
        Self {
            caps: label(CAPS).to_owned(),
            // What Go takes for true.
            has_no_network: matches!(label(NO_NETWORK), "1" | "t" | "T" | "true" | "TRUE" | "True"),
            args: config.entrypoint.unwrap_or_else(|| vec![PROGRAM.to_owned()]),
            cwd: Some(config.working_dir).filter(|cwd| !cwd.is_empty()).unwrap_or_else(|| "/".to_owned()),
            env: config.env,
        }
    }
}

/// Finds a frontend's image: what the client puts in its place, or else that of a registry.
pub(super) async fn find(build: &Build, frontend: &ImageFrontend) -> Result<FrontendImage, Fault> {
    match replacement(frontend) {
        None => from_registry(build, &frontend.source).await,
        Some(value) => match value.split_once(':') {
            Some(("docker-image", name)) => from_registry(build, name.trim_start_matches("//")).await,
            Some(("input", name)) => from_input(build, frontend, name),
            _ => Err(Fault::new(format!("a frontend cannot come from `{value}`: images and inputs are supported"))),
        },
    }
}

/// Returns what the client puts in the place of the frontend's name.
fn replacement(frontend: &ImageFrontend) -> Option<&String> {
    let name = Reference::parse(&frontend.source).ok().map(|reference| reference.familiar());
    let name = name.as_deref().unwrap_or(&frontend.source);
    let short = name.strip_suffix(":latest").unwrap_or(name);
    [short, name].into_iter().find_map(|name| frontend.attributes.get(&format!("context:{name}")))
}

async fn from_registry(build: &Build, name: &str) -> Result<FrontendImage, Fault> {
    let reference = Reference::parse(name)
        .map_err(|error| Fault::of(&error).context(&format!("could not parse reference {name:?}")))?;
    let platform = pb::Platform::from(&Platform::host());
    let asked = ResolveSourceMetaRequest {
        source: Some(pb::SourceOp {
            identifier: format!("{}{reference}", source::DOCKER_IMAGE),
            ..pb::SourceOp::default()
        }),
        platform: Some(platform.clone()),
        ..ResolveSourceMetaRequest::default()
    };
    let failed = |fault: Fault| fault.context(&format!("failed to resolve source metadata for {reference}"));
    let answer = metadata(build, asked).await.map_err(failed)?;
    let (Some(mut op), Some(image)) = (answer.source, answer.image) else {
        return Err(Fault::new(format!("{reference} is not an image")));
    };
    op.attrs.insert(source::attr::IMAGE_RECORD_TYPE.to_owned(), "frontend".to_owned());
    let vertex = pb::Op {
        op: Some(pb::Kind::Source(op)),
        platform: Some(platform),
        constraints: Some(pb::WorkerConstraints::default()),
        ..pb::Op::default()
    };
    let mut builder = Builder::new();
    let output = builder.add(vertex, Vec::new(), &pb::OpMetadata::default(), &[]).output(0);
    let definition = builder.finish(Some(output), Vec::new()).to_pb();
    loaded(build, &definition, &image.config)
}

/// An input tells its configuration beside itself.
fn from_input(build: &Build, frontend: &ImageFrontend, name: &str) -> Result<FrontendImage, Fault> {
    let definition = frontend.inputs.get(name);
    let definition = definition.ok_or_else(|| Fault::new(format!("frontend input {name} is not given")))?;
    let told = frontend.attributes.get(&format!("input-metadata:{name}"));
    let told: Option<Value> = told.and_then(|told| serde_json::from_str(told).ok());
    let config = told.as_ref().and_then(|told| told["containerimage.config"].as_str());
    let config = config.and_then(|config| STANDARD.decode(config).ok()).unwrap_or_else(|| b"{}".to_vec());
    loaded(build, definition, &config)
}

fn loaded(build: &Build, definition: &pb::Definition, config: &[u8]) -> Result<FrontendImage, Fault> {
    let root = build.load(definition)?;
    let root = root.ok_or_else(|| Fault::new("gateway source didn't return default result"))?;
    let config = serde_json::from_slice(config);
    let config = config.map_err(|error| Fault::of(&error).context("the configuration of the frontend's image"))?;
    Ok(FrontendImage { root, says: Says::new(config) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_images_say() {
        let says = |text: &str| Says::new(serde_json::from_str(text).unwrap());
        let plain = says("{}");
        assert_eq!((plain.args, plain.cwd, plain.has_no_network), (vec![PROGRAM.to_owned()], "/".to_owned(), false));
        let labels = r#"{"moby.buildkit.frontend.caps": "a,b", "moby.buildkit.frontend.network.none": "true"}"#;
        let full = says(&format!(r#"{{"config": {{"Entrypoint": ["/f"], "WorkingDir": "/w", "Labels": {labels}}}}}"#));
        assert_eq!((full.args, full.cwd, full.caps), (vec!["/f".to_owned()], "/w".to_owned(), "a,b".to_owned()));
        assert!(full.has_no_network);
    }

    #[test]
    fn replacements() {
        for (source, key, expect) in [
            ("docker/x:1", "context:docker/x:1", true),
            ("docker.io/docker/x", "context:docker/x", true),
            ("docker/x", "context:docker/y", false),
        ] {
            let mut frontend = ImageFrontend::new(source.to_owned(), crate::solve::Asked::default());
            frontend.attributes.insert(key.to_owned(), "docker-image://z".to_owned());
            assert_eq!(replacement(&frontend).is_some(), expect, "{source}");
        }
    }
}
