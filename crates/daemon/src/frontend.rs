//! Frontends that are images: run in a container, they ask over their standard streams what others ask over a socket.

mod image;
mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use prost::Message as _;
use rbuild_graph::pb;
use rbuild_ops::{Container, ContainerRequest, ProcessRequest};
use serde_json::json;
use tonic::Code;

use crate::attest::Scope;
use crate::build::Build;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::outcome::Outcome;
use crate::solve::Asked;
use crate::wire::plain;
use image::Says;

/// Where a frontend finds the graph that it was made by.
const DEFINITION: &str = "/run/config/buildkit/metadata/frontend.bin";
/// The attribute that names what a client needs of a frontend.
const CAPS: &str = "frontend.caps";
/// What is needed of a frontend that is given results.
const INPUTS: &str = "moby.buildkit.frontend.inputs";

/// A frontend that is asked for.
pub(crate) struct ImageFrontend {
    /// Its image.
    pub(crate) source: String,
    /// What it is told.
    pub(crate) attributes: BTreeMap<String, String>,
    /// Results that it may use.
    pub(crate) inputs: BTreeMap<String, pb::Definition>,
}

impl ImageFrontend {
    pub(crate) fn new(source: String, asked: Asked) -> Self {
        Self { source, attributes: asked.attributes, inputs: asked.inputs }
    }

    /// Refuses what a frontend does not say it can do.
    fn check(&self, image: &Says) -> Result<(), Fault> {
        let offered = caps(&image.caps);
        let mut needed = caps(self.attributes.get(CAPS).map(String::as_str).unwrap_or_default());
        if !self.inputs.is_empty() {
            needed.push(INPUTS);
        }
        match needed.into_iter().find(|cap| !offered.contains(cap)) {
            None => Ok(()),
            Some(cap) => Err(Fault::with_code(Code::Unimplemented, format!("unsupported frontend capability {cap}"))
                .with("errdefs.FrontendCap", &json!({ "name": cap }))),
        }
    }
}

/// Returns the names in a list of capabilities; what follows a `+` says how one is needed.
fn caps(list: &str) -> Vec<&str> {
    let names = list.split(',').map(|cap| cap.split('+').next().unwrap_or_default());
    names.filter(|name| !name.is_empty()).collect()
}

impl Engine {
    /// Lets a frontend that is an image answer.
    pub(crate) async fn run_frontend(
        self: &Arc<Self>,
        build: &Arc<Build>,
        scope: &Arc<Scope>,
        frontend: ImageFrontend,
    ) -> Result<Outcome, Fault> {
        if frontend.source.is_empty() {
            return Err(Fault::new("no source specified for gateway"));
        }
        if let Some(reason) = self.parts().frontends.refusal(&frontend.source) {
            return Err(Fault::new(reason));
        }
        let asker = build.of_frontend(frontend.inputs.clone(), scope)?;
        let image = build.unless_canceled(image::find(&asker, &frontend)).await?;
        // The frontend itself is part of what the result is made by.
        scope.add_results([image.root.clone()])?;
        frontend.check(&image.says)?;
        let root = build.solve(&image.root).await?.value.clone();
        let mount = pb::Mount { dest: pb::ROOT_MOUNT.to_owned(), ..pb::Mount::default() };
        let asked = ContainerRequest {
            name: format!("frontend {}", frontend.source),
            mounts: vec![(mount, Some(root))],
            files: vec![(PathBuf::from(DEFINITION), plain(image.root.definition().clone()).encode_to_vec())],
            network: if image.says.has_no_network { pb::NetMode::None } else { pb::NetMode::Unset },
            ..ContainerRequest::default()
        };
        let process = ProcessRequest {
            meta: self.meta(build, &frontend, &image.says)?,
            streams: [true; 3],
            ..ProcessRequest::default()
        };
        let container = build.unless_canceled(async { Ok(Container::prepare(build.worker().clone(), asked).await?) });
        let container = Arc::new(container.await?);
        let running = process::run(self, &asker, &container, process, &frontend.source);
        let outcome = build.unless_canceled(running).await;
        asker.cancel();
        asker.containers().release_all().await;
        let released = tokio::task::spawn_blocking(move || container.release()).await;
        released.map_err(|error| Fault::of(&error))?;
        outcome
    }

    fn meta(&self, build: &Build, frontend: &ImageFrontend, image: &Says) -> Result<pb::Meta, Fault> {
        let attributes = frontend.attributes.iter().enumerate();
        let mut env = image.env.clone();
        env.extend(attributes.map(|(at, (key, value))| format!("BUILDKIT_FRONTEND_OPT_{at}={key}={value}")));
        env.push(format!("BUILDKIT_SESSION_ID={}", build.begun().session));
        let platform = |platform: &pb::Platform| {
            let mut shown = json!({ "architecture": platform.architecture, "os": platform.os });
            if !platform.variant.is_empty() {
                shown["variant"] = json!(platform.variant);
            }
            shown
        };
        let workers = self.workers(&[])?.into_iter().map(|worker| {
            let platforms: Vec<_> = worker.platforms.iter().map(platform).collect();
            json!({ "ID": worker.id, "Labels": worker.labels, "Platforms": platforms })
        });
        env.push(format!("BUILDKIT_WORKERS={}", workers.collect::<serde_json::Value>()));
        env.push("BUILDKIT_EXPORTEDPRODUCT=buildkit".to_owned());
        Ok(pb::Meta { args: image.args.clone(), env, cwd: image.cwd.clone(), ..pb::Meta::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frontends_can_do() {
        let image = |caps: &str| Says { caps: caps.to_owned(), ..Says::default() };
        let check = |offered: &str, needed: &str, inputs: bool| {
            let mut frontend = ImageFrontend::new("image".to_owned(), Asked::default());
            frontend.attributes.insert(CAPS.to_owned(), needed.to_owned());
            if inputs {
                frontend.inputs.insert("base".to_owned(), pb::Definition::default());
            }
            frontend.check(&image(offered)).map_err(|fault| fault.to_string())
        };
        assert_eq!(check("", "", false), Ok(()));
        assert_eq!(check("a,b", "b+forward,", false), Ok(()));
        assert_eq!(check("a", "b+forward", false), Err("unsupported frontend capability b".to_owned()));
        assert_eq!(check("a", "", true), Err(format!("unsupported frontend capability {INPUTS}")));
        assert_eq!(check(&format!("a,{INPUTS}"), "", true), Ok(()));
    }
}
