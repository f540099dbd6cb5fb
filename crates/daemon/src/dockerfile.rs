//! The Dockerfile frontend at work for a client: what it asks is answered by the build it works for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use rbuild_buildkit_api::control::{CacheOptionsEntry, VertexWarning};
use rbuild_buildkit_api::gateway;
use rbuild_builtin::{Answered, BuiltinError, Files, Forward, Host, HostError, Warning};
use rbuild_graph::{Definition, pb};
use rbuild_lower::{ResolveMode, ResolvedImage, ResolvedLayout};
use rbuild_oci::{Digest, Platform, Reference};
use rbuild_ops::{OpsError, Ref, Worker};
use serde_json::json;
use tonic::Code;

use crate::attest::Scope;
use crate::bridge::source;
use crate::build::{Build, Terms};
use crate::caches;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::outcome::{Outcome, Refs, Statement};
use crate::shown::shown;
use crate::solve::Asked;

/// What the frontend came to.
pub(crate) enum Lowered {
    /// Results.
    Outcome(Outcome),
    /// Another frontend is to be asked.
    Forward(Box<Forward>),
}

impl Engine {
    /// Lets the Dockerfile frontend answer.
    pub(crate) async fn dockerfile(
        &self,
        build: &Arc<Build>,
        scope: &Arc<Scope>,
        asked: &Asked,
    ) -> Result<Lowered, Fault> {
        let host = BuildHost::new(build, scope);
        let session = Some(build.begun().session.as_str()).filter(|session| !session.is_empty());
        let question = rbuild_builtin::Asked {
            attributes: &asked.attributes,
            inputs: &asked.inputs,
            session,
            platforms: &self.parts().worker.platforms,
        };
        match rbuild_builtin::build(question, &host).await {
            Ok(answered) => Ok(Lowered::Outcome(outcome(build, answered, &terms(asked)?)?)),
            Err(BuiltinError::NeedsGateway(forward)) => Ok(Lowered::Forward(forward)),
            Err(error) => Err(fault(&error)),
        }
    }
}

/// Returns what holds for the results of a request: caches may be named by attributes, too.
fn terms(asked: &Asked) -> Result<Terms, Fault> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        r#type: String,
        #[serde(default)]
        attrs: BTreeMap<String, String>,
    }
    let mut terms = asked.terms.clone();
    if let Some(text) = asked.attributes.get("cache-imports") {
        let entries: Vec<Entry> = serde_json::from_str(text)
            .map_err(|error| Fault::new(format!("failed to unmarshal cache-imports ({text:?}): {error}")))?;
        let entries = entries.into_iter().map(|entry| CacheOptionsEntry { r#type: entry.r#type, attrs: entry.attrs });
        terms.imports.extend(caches::asked(entries)?);
    }
    let names = asked.attributes.get("cache-from").map(String::as_str).unwrap_or_default();
    for name in names.split(',').filter(|name| !name.is_empty()) {
        terms.imports.push(("registry".to_owned(), [("ref".to_owned(), name.to_owned())].into()));
    }
    Ok(terms)
}

fn outcome(build: &Build, answered: Answered, terms: &Terms) -> Result<Outcome, Fault> {
    let refs = match answered.refs {
        rbuild_builtin::Refs::None => Refs::None,
        rbuild_builtin::Refs::Single(definition) => Refs::One(build.load_with(&definition.to_pb(), terms)?),
        rbuild_builtin::Refs::Platforms(several) => {
            let loaded =
                several.iter().map(|(id, definition)| Ok((id.clone(), build.load_with(&definition.to_pb(), terms)?)));
            Refs::Many(loaded.collect::<Result<_, Fault>>()?)
        }
    };
    let attestations = answered.attestations.iter().map(|(id, all)| {
        let statements = all.iter().map(|attestation| statement(build, attestation, terms));
        let statements = statements.collect::<Result<Vec<_>, Fault>>()?;
        Ok((id.clone(), statements))
    });
    let attestations = attestations.collect::<Result<BTreeMap<_, _>, Fault>>()?;
    Ok(Outcome { refs, metadata: answered.metadata, attestations })
}

/// Returns what a scan writes as a statement about the result that it looks at.
pub(crate) fn statement(
    build: &Build,
    attestation: &rbuild_builtin::Attestation,
    terms: &Terms,
) -> Result<Statement, Fault> {
    let message = gateway::Attestation {
        kind: gateway::AttestationKind::Bundle as i32,
        metadata: attestation.metadata.clone(),
        in_toto_predicate_type: attestation.predicate_type.clone(),
        ..gateway::Attestation::default()
    };
    Ok(Statement { message, result: build.load_with(&attestation.definition.to_pb(), terms)? })
}

pub(crate) fn fault(error: &BuiltinError) -> Fault {
    match error {
        BuiltinError::Capability(name) => {
            Fault::with_code(Code::Unimplemented, error.chain()).with("errdefs.FrontendCap", &json!({ "name": name }))
        }
        BuiltinError::Subrequest(name) => {
            Fault::with_code(Code::Unimplemented, error.chain()).with("errdefs.Subrequest", &json!({ "name": name }))
        }
        BuiltinError::Dockerfile { place, .. } => {
            let fault = Fault::new(error.chain());
            place.ranges.iter().fold(fault, |fault, ranges| fault.with_source(&place.info, ranges))
        }
        BuiltinError::Host { source, .. } => match source.downcast_ref::<Fault>() {
            Some(fault) => fault.clone().saying(error.chain()),
            None => Fault::new(error.chain()),
        },
        BuiltinError::Request(_) | BuiltinError::NeedsGateway(_) => Fault::new(error.chain()),
    }
}

/// The host of a frontend of this program.
pub(crate) struct BuildHost {
    build: Arc<Build>,
    scope: Arc<Scope>,
}

impl BuildHost {
    pub(crate) fn new(build: &Arc<Build>, scope: &Arc<Scope>) -> Self {
        Self { build: build.clone(), scope: scope.clone() }
    }
}

fn host_error(fault: Fault) -> HostError {
    Arc::new(fault)
}

#[async_trait]
impl Host for BuildHost {
    async fn solve(&self, definition: &Definition) -> Result<Arc<dyn Files>, HostError> {
        let lazy = self.build.load(&definition.to_pb()).map_err(host_error)?;
        self.scope.add_results(lazy.clone()).map_err(host_error)?;
        let value = match lazy {
            Some(lazy) => self.build.solve(&lazy).await.map_err(host_error)?.value.clone(),
            None => Ref::Layers(Vec::new()),
        };
        Ok(Arc::new(ResultFiles { worker: self.build.worker().clone(), value }))
    }

    async fn resolve_image(
        &self,
        reference: &Reference,
        platform: &Platform,
        mode: ResolveMode,
        shown: &str,
    ) -> Result<ResolvedImage, HostError> {
        let mode = mode.attribute().unwrap_or_default();
        let id = format!("docker-image://{reference}{platform}");
        let resolved = async {
            let op = pb::SourceOp { identifier: format!("docker-image://{reference}"), ..pb::SourceOp::default() };
            let admitted = source::admitted(&self.build, &[], op, Some(platform.into())).await?;
            let name = admitted.identifier.strip_prefix("docker-image://");
            let name = name.ok_or_else(|| Fault::new(format!("ref {reference} is no image by the source policy")))?;
            let reference = Reference::parse(name).map_err(|error| Fault::of(&error).context("invalid image name"))?;
            let resolved = source::resolve(&self.build, &reference, platform, mode).await?;
            Ok::<_, Fault>((reference, resolved))
        };
        let resolved = self::shown(&**self.build.feed(), shown, &id, resolved);
        let (admitted, resolved) = resolved.await.map_err(host_error)?;
        // Under the name without the digest that was found: that is told beside it.
        self.scope.add_image(source::material(&admitted, platform, &resolved));
        Ok(ResolvedImage {
            reference: resolved.reference.clone(),
            config: resolved.config_bytes.to_vec(),
            image: resolved.config.clone(),
        })
    }

    async fn resolve_layout(
        &self,
        store: &str,
        digest: Digest,
        platform: &Platform,
        shown: &str,
    ) -> Result<ResolvedLayout, HostError> {
        let image = source::layout_image(&self.build, store, None, digest, platform);
        let image = self::shown(&**self.build.feed(), shown, "", image).await.map_err(host_error)?;
        Ok(ResolvedLayout { config: image.config_bytes, image: image.config })
    }

    async fn source_time(&self, source: &pb::SourceOp, shown: &str) -> Result<Option<i64>, HostError> {
        let time = source::time(&self.build, source);
        self::shown(&**self.build.feed(), shown, "", time).await.map_err(host_error)
    }

    fn warn(&self, warning: Warning) {
        self.build.feed().warn(VertexWarning {
            vertex: warning.vertex.to_string(),
            level: warning.level,
            short: warning.short.into(),
            detail: warning.detail.into_iter().map(Into::into).collect(),
            url: warning.url,
            info: Some((*warning.source).clone()),
            ranges: warning.ranges,
        });
    }
}

/// The files of a result.
struct ResultFiles {
    worker: Arc<Worker>,
    value: Ref,
}

impl ResultFiles {
    async fn look<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Worker, &Ref) -> Result<T, OpsError> + Send + 'static,
    ) -> Result<T, HostError> {
        let (worker, value) = (self.worker.clone(), self.value.clone());
        let answered = tokio::task::spawn_blocking(move || question(&worker, &value)).await;
        match answered {
            Ok(answer) => answer.map_err(|error| Arc::new(error) as HostError),
            Err(error) => Err(Arc::new(error)),
        }
    }
}

#[async_trait]
impl Files for ResultFiles {
    async fn read_file(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, HostError> {
        let path = PathBuf::from(path);
        self.look(move |worker, value| worker.read_file(value, &path, limit)).await
    }

    async fn is_archive(&self, path: &str) -> Result<bool, HostError> {
        let path = PathBuf::from(path);
        self.look(move |worker, value| worker.is_archive(value, &path)).await
    }
}
