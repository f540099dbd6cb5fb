//! From results to outputs: what exporters of a client ask for is carried out, and what they made is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};
use rbuild_buildkit_api::control::{self, SolveRequest};
use rbuild_buildkit_api::gateway;
use rbuild_export::attestation::{Content, Kind};
use rbuild_export::{
    Asker, Attestation, Blob, BuildResult, Destination, DirectoryMode, Documents, ExportError, Exporter, Output,
    OutputKind, OutputSpec, Refs as Layers, StoredImages, Subject, TarStream,
};
use rbuild_oci::Descriptor;
use rbuild_remote::{ExportSpec, Solution, Target};
use rbuild_session::{LOOKUP, Session};
use rbuild_store::LayerId;
use rbuild_tree::FileTree;

use crate::attest::Attested;
use crate::build::Build;
use crate::caches::Looking;
use crate::destination::ClientDestination;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::lazy::Lazy;
use crate::outcome::{MaybeLazy, Outcome, Refs, Statement};

/// What a client is told at the end.
pub(crate) type Told = BTreeMap<String, String>;

/// Reads outputs that a client asks for.
pub(crate) fn outputs(exporters: &[control::Exporter], request: &SolveRequest) -> Result<Vec<Output>, Fault> {
    let epoch = request.frontend_attrs.get("build-arg:SOURCE_DATE_EPOCH");
    // What is not a time is for the frontend to make one of.
    let epoch = epoch.filter(|epoch| epoch.is_empty() || epoch.parse::<i64>().is_ok());
    let output = |exporter: &control::Exporter| {
        let mut attributes = exporter.attrs.clone();
        if let Some(epoch) = epoch {
            attributes.entry("source-date-epoch".to_owned()).or_insert_with(|| epoch.clone());
        }
        let spec = OutputSpec { kind: exporter.r#type.clone(), attributes };
        Output::parse(&spec, Asker::Client).map_err(|error| Fault::of(&error))
    };
    exporters.iter().map(output).collect()
}

impl Engine {
    /// Carries the outputs of a build out.
    pub(crate) fn export<'a>(
        &'a self,
        build: &'a Arc<Build>,
        outputs: &'a [Output],
        caches: &'a [ExportSpec],
        attested: &'a Attested,
    ) -> BoxFuture<'a, Result<Told, Fault>> {
        self.exported(build, outputs, caches, attested).boxed()
    }

    async fn exported(
        &self,
        build: &Arc<Build>,
        outputs: &[Output],
        caches: &[ExportSpec],
        attested: &Attested,
    ) -> Result<Told, Fault> {
        let outcome = &attested.outcome;
        let mut told = Told::new();
        for (key, value) in outcome.metadata.iter().filter(|(key, _)| key.starts_with("frontend.")) {
            told.insert(key.clone(), String::from_utf8_lossy(value).into_owned());
        }
        if outputs.is_empty() && caches.is_empty() {
            return Ok(told);
        }
        let mut result = result(build, outcome).boxed().await?;
        for (id, provenance) in &attested.provenance {
            result.attestations.entry(id.clone()).or_default().push(provenance.clone());
        }
        let result = Arc::new(result);
        let looking = looking(build, outcome).boxed().await;
        let solutions = solutions(&looking, outcome, &result);
        let exporter = Exporter {
            images: build.worker().images().clone(),
            reporter: build.feed().clone(),
            stored: self.stored(),
            inline_cache: build.caches().inline(caches, &looking, &solutions).boxed().await?,
        };
        let id = &build.begun().session;
        let session = self.session_of(build, outputs).await?;
        let mut exporting = Vec::with_capacity(outputs.len());
        for (position, output) in outputs.iter().enumerate() {
            let destination: Arc<dyn Destination> = match &session {
                Some(session) => Arc::new(ClientDestination::new(session.clone(), position)),
                None => Arc::new(Nowhere),
            };
            let (exporter, result) = (exporter.clone(), result.clone());
            let (id, output) = (format!("{id}-export-{position}"), output.clone());
            let exported = async move {
                let exported = exporter.export(&output, result, destination, &id).await;
                exported.map_err(|error| Fault::of(&error))
            };
            exporting.push(exported.boxed());
        }
        let mut pushed = Vec::new();
        for (position, one) in try_join_all(exporting).await?.into_iter().enumerate() {
            if let (Some(descriptor), Ok(position)) = (root(&one.response), i64::try_from(position)) {
                build.made().exported.insert(position, descriptor);
            }
            told.extend(one.response);
            let Some(push) = one.push else { continue };
            pushed.push(async move { push.finish().await.map_err(|error| Fault::of(&error)) }.boxed());
        }
        let cached = build.caches().export(caches, &looking, solutions.into_values().collect()).boxed();
        let (_, cached) = futures::try_join!(try_join_all(pushed), cached)?;
        told.extend(cached);
        Ok(told)
    }
}

impl Engine {
    /// Returns what images leave in the store.
    fn stored(&self) -> StoredImages {
        if self.parts().keeps_images { StoredImages::Whole } else { StoredImages::Nothing }
    }

    /// Returns the session that takes what goes to the client; none if the outputs stay here.
    async fn session_of(&self, build: &Build, outputs: &[Output]) -> Result<Option<Arc<Session>>, Fault> {
        let is_here = |output: &Output| matches!(output.kind(), OutputKind::Image | OutputKind::CacheOnly);
        if outputs.iter().all(is_here) {
            return Ok(None);
        }
        let session = self.sessions().get(&build.begun().session, LOOKUP).await;
        session.map(Some).map_err(|error| Fault::of(&error))
    }
}

/// The client's side of an output that does not go there.
struct Nowhere;

impl Nowhere {
    fn refusal<T>() -> Result<T, ExportError> {
        Err(ExportError::Output("this output does not go to the client".to_owned()))
    }
}

impl Destination for Nowhere {
    fn stream(&self, _: &Told) -> Result<Box<dyn TarStream>, ExportError> {
        Self::refusal()
    }

    fn directory(&self, _: Arc<dyn FileTree>, _: DirectoryMode, _: &mut dyn FnMut(u64)) -> Result<(), ExportError> {
        Self::refusal()
    }

    fn content(&self, _: &mut dyn Iterator<Item = Blob<'_>>, _: &Documents) -> Result<(), ExportError> {
        Self::refusal()
    }
}

/// Returns the manifest or index that an exporter made, if it tells one.
fn root(response: &Told) -> Option<control::Descriptor> {
    let text = STANDARD.decode(response.get("containerimage.descriptor")?).ok()?;
    let found: Descriptor = rbuild_oci::json::from_slice(&text).ok()?;
    Some(control::Descriptor {
        media_type: found.media_type,
        digest: found.digest.to_string(),
        size: i64::try_from(found.size).unwrap_or(i64::MAX),
        annotations: found.annotations,
    })
}

/// Returns the job that made the results.
async fn looking(build: &Build, outcome: &Outcome) -> Arc<Looking> {
    let imports = outcome.results().first().map(|lazy| lazy.imports().to_vec()).unwrap_or_default();
    build.caches().looking(&imports).await
}

/// Returns what caches of the results are made of, by platform.
fn solutions(looking: &Looking, outcome: &Outcome, result: &BuildResult) -> BTreeMap<String, Solution> {
    let explanations = looking.job.explanations();
    let solution = |lazy: &Option<Arc<Lazy>>, layers: &[LayerId]| Solution {
        explanations: explanations.clone(),
        targets: vec![Target { edge: lazy.as_ref().and_then(|lazy| lazy.edge()), layers: layers.to_vec() }],
    };
    match (&outcome.refs, &result.refs) {
        (Refs::One(lazy), Layers::One(layers)) => [(String::new(), solution(lazy, layers))].into(),
        (Refs::Many(several), Layers::Several(layers)) => {
            let layers_of = |id: &String| layers.get(id).map(Vec::as_slice).unwrap_or_default();
            several.iter().map(|(id, lazy)| (id.clone(), solution(lazy, layers_of(id)))).collect()
        }
        _ => BTreeMap::new(),
    }
}

/// Makes the layers of an outcome's results, and says of them what its maker says.
async fn result(build: &Arc<Build>, outcome: &Outcome) -> Result<BuildResult, Fault> {
    let refs = match &outcome.refs {
        Refs::None => Layers::One(Vec::new()),
        Refs::One(lazy) => Layers::One(layers(build, lazy.as_ref()).await?),
        Refs::Many(several) => {
            let mut made = BTreeMap::new();
            for (key, lazy) in several {
                made.insert(key.clone(), layers(build, lazy.as_ref()).await?);
            }
            Layers::Several(made)
        }
    };
    let mut attestations = BTreeMap::new();
    for (key, statements) in &outcome.attestations {
        let mut read = Vec::with_capacity(statements.len());
        for statement in statements {
            read.push(attestation(build, statement).await?);
        }
        attestations.insert(key.clone(), read);
    }
    Ok(BuildResult { refs, metadata: outcome.metadata.clone(), attestations })
}

async fn layers(build: &Arc<Build>, lazy: Option<&Arc<Lazy>>) -> Result<Vec<LayerId>, Fault> {
    let Some(lazy) = lazy else { return Ok(Vec::new()) };
    let (worker, value) = (build.worker().clone(), build.solve(lazy).await?.value.clone());
    let layers = tokio::task::spawn_blocking(move || worker.layers(&value)).await;
    Ok(layers.map_err(|error| Fault::of(&error))??)
}

async fn attestation(build: &Arc<Build>, statement: &Statement) -> Result<Attestation, Fault> {
    let message = &statement.message;
    let kind = match gateway::AttestationKind::try_from(message.kind) {
        Ok(gateway::AttestationKind::InToto) => Kind::InToto,
        Ok(gateway::AttestationKind::Bundle) => Kind::Bundle,
        Err(_) => return Err(Fault::new(format!("unknown attestation kind {}", message.kind))),
    };
    let lazy: &MaybeLazy = &statement.result;
    Ok(Attestation {
        kind,
        metadata: message.metadata.clone(),
        content: Content::Layers(layers(build, lazy.as_ref()).await?),
        path: message.path.clone(),
        predicate_type: message.in_toto_predicate_type.clone(),
        subjects: message.in_toto_subjects.iter().map(subject).collect::<Result<_, _>>()?,
    })
}

fn subject(subject: &gateway::InTotoSubject) -> Result<Subject, Fault> {
    let name = Some(subject.name.clone()).filter(|name| !name.is_empty());
    match gateway::InTotoSubjectKind::try_from(subject.kind) {
        Ok(gateway::InTotoSubjectKind::Own) => Ok(Subject::Itself { name }),
        Ok(gateway::InTotoSubjectKind::Raw) => {
            let split = |digest: &String| digest.split_once(':').map(|(kind, hex)| (kind.to_owned(), hex.to_owned()));
            let digests = subject.digest.iter().filter_map(split).collect();
            Ok(Subject::Other { name, digests })
        }
        Err(_) => Err(Fault::new(format!("unknown attestation subject kind {}", subject.kind))),
    }
}
