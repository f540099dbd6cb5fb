//! From what a client or frontend asks to results: a graph as it is, or what a frontend makes of attributes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use rbuild_buildkit_api::control::CacheOptionsEntry;
use rbuild_buildkit_api::policy::Policy;
use rbuild_buildkit_api::{control, gateway};
use rbuild_builtin::Asker;
use rbuild_graph::pb;
use rbuild_graph::policy::PolicyError;
use rbuild_lower::is_built_in;

use crate::attest::{Request, Scope};
use crate::build::{Build, Terms};
use crate::caches;
use crate::dockerfile::Lowered;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::frontend::ImageFrontend;
use crate::outcome::{Outcome, Refs};

/// The frontend that is part of this program.
const DOCKERFILE: &str = "dockerfile.v0";
/// Frontends that are images.
const GATEWAY: &str = "gateway.v0";
/// The attribute that names a frontend's image.
const SOURCE: &str = "source";

/// Reads rules about sources.
pub(crate) fn policies(messages: &[Policy]) -> Result<Vec<rbuild_graph::policy::Policy>, Fault> {
    messages.iter().map(|message| message.try_into().map_err(|error: PolicyError| Fault::of(&error))).collect()
}

/// What a client or frontend asks to have solved.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) definition: Option<pb::Definition>,
    pub(crate) frontend: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) inputs: BTreeMap<String, pb::Definition>,
    pub(crate) terms: Terms,
}

impl Asked {
    /// Reads what a frontend asks.
    pub(crate) fn of_frontend(request: gateway::SolveRequest) -> Result<Self, Fault> {
        let imports = request.cache_imports.into_iter();
        let imports = imports.map(|entry| CacheOptionsEntry { r#type: entry.r#type, attrs: entry.attrs });
        let terms = Terms { policies: policies(&request.source_policies)?, imports: caches::asked(imports)? };
        Ok(Self {
            terms,
            definition: request.definition,
            frontend: request.frontend,
            attributes: request.frontend_opt,
            inputs: request.frontend_inputs,
        })
    }

    /// Reads what a client asks.
    pub(crate) fn of_client(request: &control::SolveRequest) -> Result<Self, Fault> {
        let imports = request.cache.iter().flat_map(|cache| cache.imports.clone());
        let mut asked = Self {
            terms: Terms { policies: Vec::new(), imports: caches::asked(imports)? },
            definition: request.definition.clone(),
            frontend: request.frontend.clone(),
            attributes: request.frontend_attrs.clone(),
            inputs: request.frontend_inputs.clone(),
        };
        // Whoever asks for this frontend as an image means the frontend, unless the image is one of the inputs.
        let names_another = |key: &String| {
            let rest = key.strip_prefix("context:dockerfile.v0");
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let is_ours = asked.attributes.get(SOURCE).is_some_and(|source| source == DOCKERFILE);
        if asked.frontend == GATEWAY && is_ours && !asked.attributes.keys().any(names_another) {
            asked.frontend = DOCKERFILE.to_owned();
            asked.attributes.remove(SOURCE);
        }
        Ok(asked)
    }

    /// Returns what is asked for, as provenance tells it.
    pub(crate) fn request(&self) -> Request {
        Request { frontend: self.frontend.clone(), attributes: self.attributes.clone(), inputs: self.inputs.clone() }
    }

    /// Whether the client's own frontend is to say what is built.
    pub(crate) fn is_driven(&self) -> bool {
        self.definition.is_none() && self.frontend.is_empty()
    }
}

impl Engine {
    /// Finds out what is asked for; nothing is made yet.
    pub(crate) fn solve<'a>(
        self: &'a Arc<Self>,
        build: &'a Arc<Build>,
        scope: &'a Arc<Scope>,
        asked: Asked,
    ) -> BoxFuture<'a, Result<Outcome, Fault>> {
        async move {
            let inner = match asked.frontend.is_empty() {
                true => None,
                false => Some(scope.of_frontend(asked.request())),
            };
            let outcome = self.solved(build, inner.as_ref().unwrap_or(scope), asked).await?;
            inner.as_ref().unwrap_or(scope).add_results(outcome.results())?;
            if let Some(inner) = inner {
                scope.add_inner(inner)?;
            }
            Ok(outcome)
        }
        .boxed()
    }

    async fn solved(
        self: &Arc<Self>,
        build: &Arc<Build>,
        scope: &Arc<Scope>,
        mut asked: Asked,
    ) -> Result<Outcome, Fault> {
        let definition = asked.definition.take().filter(|definition| !definition.def.is_empty());
        match (definition, asked.frontend.as_str()) {
            (Some(_), frontend) if !frontend.is_empty() => {
                Err(Fault::new("cannot solve with both Definition and Frontend specified"))
            }
            (Some(definition), _) => {
                Ok(Outcome { refs: Refs::One(build.load_with(&definition, &asked.terms)?), ..Outcome::default() })
            }
            (None, "") => Ok(Outcome::default()),
            (None, DOCKERFILE) if !self.parts().frontends.dockerfile => Err(disabled(DOCKERFILE)),
            (None, GATEWAY) if !self.parts().frontends.gateway => Err(disabled(GATEWAY)),
            (None, DOCKERFILE) => self.with_dockerfile(build, scope, asked).await,
            (None, GATEWAY) => {
                let source = asked.attributes.remove(SOURCE).unwrap_or_default();
                if source == DOCKERFILE || is_built_in(&source) {
                    return self.with_dockerfile(build, scope, asked).await;
                }
                self.run_frontend(build, scope, ImageFrontend::new(source, asked)).await
            }
            (None, other) => Err(Fault::new(format!("unknown frontend: {other}"))),
        }
    }

    async fn with_dockerfile(
        self: &Arc<Self>,
        build: &Arc<Build>,
        scope: &Arc<Scope>,
        asked: Asked,
    ) -> Result<Outcome, Fault> {
        match build.unless_canceled(self.dockerfile(build, scope, &asked)).await? {
            Lowered::Outcome(outcome) => Ok(outcome),
            Lowered::Forward(forward) => {
                let (source, asker) = (forward.source, forward.asker);
                let asked = Asked { frontend: GATEWAY.to_owned(), attributes: forward.attributes, ..asked };
                let mut request = asked.request();
                request.attributes.insert(SOURCE.to_owned(), source.clone());
                let inner = scope.of_frontend(request);
                let outcome = self.run_frontend(build, &inner, ImageFrontend::new(source, asked)).await;
                let outcome = outcome.map_err(|fault| of_asker(fault, &asker))?;
                inner.add_results(outcome.results())?;
                scope.add_inner(inner)?;
                Ok(outcome)
            }
        }
    }
}

fn disabled(name: &str) -> Fault {
    Fault::new(format!("unknown frontend: {name}: it is disabled in the configuration of this daemon"))
}

/// Says who asked for a frontend that failed without telling a place of its own.
fn of_asker(fault: Fault, asker: &Asker) -> Fault {
    match asker {
        Asker::Attribute(words) => fault.context(words),
        Asker::Directive(place) if !fault.has_source() => {
            place.ranges.iter().fold(fault, |fault, ranges| fault.with_source(&place.info, ranges))
        }
        Asker::Directive(_) => fault,
    }
}
