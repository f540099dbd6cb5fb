//! From what was captured to the attestations of a result's platforms, and to those of the history.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_export::provenance::{AttestOptions, Capture, LateProvenance, Mode, Provenance, ProvenanceOptions, Run};
use rbuild_export::{Attestation, BuildResult, Refs as Layers};
use rbuild_oci::{Digest, Platform};
use rbuild_ops::Ref;
use rbuild_store::LayerId;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::scope::Scope;
use super::steps::{Steps, steps};
use crate::build::Build;
use crate::fault::Fault;
use crate::lazy::Lazy;
use crate::outcome::{Outcome, Refs};
use crate::workers::{COMPATIBILITY, DOCKERFILE_VERSION};

/// The frontend whose version is told.
const DOCKERFILE: &str = "dockerfile.v0";

/// What is the same for all results of a build.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Tells this run from all others.
    id: String,
    started: OffsetDateTime,
    /// What the administrator tells of this builder.
    environment: Map<String, Value>,
}

impl Origin {
    /// Returns the origin of a build that begins.
    pub(crate) fn new(build: &str, environment: Map<String, Value>) -> Self {
        let started = OffsetDateTime::now_utc();
        let place = format!("{}\0{}\0{build}", std::process::id(), started.unix_timestamp_nanos());
        Self { id: Digest::of(place.as_bytes()).hex().chars().take(25).collect(), started, environment }
    }
}

/// Results with what is attested about them by the daemon itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attested {
    pub(crate) outcome: Outcome,
    /// By the ids of platforms.
    pub(crate) provenance: BTreeMap<String, Attestation>,
}

/// A result, and what it was made of.
struct Known {
    lazy: Arc<Lazy>,
    capture: Capture,
}

/// Adds the provenance that a client asks for to results that were made.
pub(crate) async fn attested(build: &Arc<Build>, options: &AttestOptions, outcome: Outcome) -> Result<Attested, Fault> {
    let Some(options) = &options.provenance else { return Ok(Attested { outcome, ..Attested::default() }) };
    let known = captured(build.scope(), &outcome)?;
    let mut provenance = BTreeMap::new();
    for (id, _) in platforms(&outcome)? {
        let Some(known) = of_platform(&known, &outcome, &id)? else { continue };
        let late = provenance_of(build, known, options.clone()).await?;
        provenance.insert(id, late.attestation().map_err(|error| Fault::of(&error))?);
    }
    Ok(Attested { outcome, provenance })
}

/// Returns the provenance that the history keeps: of the one result, and of those by name.
pub(crate) async fn of_history(
    build: &Arc<Build>,
    options: &AttestOptions,
    outcome: &Outcome,
) -> Result<BTreeMap<Option<String>, LateProvenance>, Fault> {
    let builder = options.provenance.as_ref().map(|options| options.builder_id.clone()).unwrap_or_default();
    let mut found = BTreeMap::new();
    for (id, known) in captured(build.scope(), outcome)? {
        let late = provenance_of(build, &known, ProvenanceOptions::of_history(builder.clone())).await?;
        found.insert(id, late);
    }
    Ok(found)
}

/// Returns the platforms that a result tells.
pub(super) fn platforms(outcome: &Outcome) -> Result<Vec<(String, Platform)>, Fault> {
    let refs = match &outcome.refs {
        Refs::None | Refs::One(_) => Layers::One(Vec::new()),
        Refs::Many(several) => Layers::Several(several.keys().map(|id| (id.clone(), Vec::new())).collect()),
    };
    let result = BuildResult { refs, metadata: outcome.metadata.clone(), attestations: BTreeMap::new() };
    result.platforms().map_err(|error| Fault::of(&error))
}

/// Returns the result of a platform; none if it is the empty file system, of which nothing is to be told.
fn of_platform<'a>(
    known: &'a BTreeMap<Option<String>, Known>,
    outcome: &Outcome,
    id: &str,
) -> Result<Option<&'a Known>, Fault> {
    let missing = || Fault::new(format!("no build info found for provenance {id}"));
    let name = outcome.name_of(id).ok_or_else(missing)?;
    Ok(known.get(&name.map(str::to_owned)))
}

fn captured(scope: &Arc<Scope>, outcome: &Outcome) -> Result<BTreeMap<Option<String>, Known>, Fault> {
    let all = outcome.results();
    // Whoever tells no platforms, or wrong ones, tells nothing of images by platform.
    let platforms = match outcome.metadata.is_empty() {
        true => Vec::new(),
        false => platforms(outcome).unwrap_or_default(),
    };
    let known = |lazy: &Arc<Lazy>, id: Option<&str>| {
        let scope = scope.find(lazy).ok_or_else(|| Fault::new("a result that nobody asked for"))?;
        let capture = scope.capture(lazy, &all, id.map(|id| (id, platforms.as_slice())));
        Ok::<_, Fault>(capture.map(|capture| Known { lazy: lazy.clone(), capture }))
    };
    let mut found = BTreeMap::new();
    match &outcome.refs {
        Refs::None | Refs::One(None) => {}
        Refs::One(Some(lazy)) => {
            found.extend(known(lazy, None)?.map(|known| (None, known)));
        }
        Refs::Many(several) => {
            for (id, lazy) in several {
                let Some(lazy) = lazy else { continue };
                found.extend(known(lazy, Some(id))?.map(|known| (Some(id.clone()), known)));
            }
        }
    }
    Ok(found)
}

async fn provenance_of(build: &Build, known: &Known, options: ProvenanceOptions) -> Result<LateProvenance, Fault> {
    let Known { lazy, capture } = known;
    let origin = build.origin();
    let run = Run { id: origin.id.clone(), started: origin.started, finished: OffsetDateTime::now_utc() };
    let is_dockerfile = capture.request.frontend == DOCKERFILE;
    let mut capture = capture.clone();
    capture.request.compatibility_version = Some(COMPATIBILITY);
    let mut provenance = Provenance {
        capture,
        run,
        platform: Platform::host().normalise(),
        dockerfile_version: is_dockerfile.then(|| DOCKERFILE_VERSION.to_owned()),
        steps: None,
        source: None,
        layers: BTreeMap::new(),
        environment: origin.environment.clone(),
    };
    let mut layers = BTreeMap::new();
    if options.mode == Mode::Max {
        let steps = steps(lazy.definition());
        provenance.source = lazy.definition().source.as_ref().and_then(|source| steps.source(source));
        layers = layers_of(build, lazy, &steps).await?;
        provenance.steps = Some(steps.config);
    }
    Ok(LateProvenance { provenance, options, layers })
}

/// Returns the layers of the steps that a result stands on.
async fn layers_of(build: &Build, lazy: &Lazy, steps: &Steps) -> Result<BTreeMap<String, Vec<LayerId>>, Fault> {
    let mut found = build.caches().layers(lazy).await?;
    if let (Some(edge), Ref::Layers(layers)) = (lazy.edge(), &build.solve(lazy).await?.value) {
        found.insert(edge, layers.clone());
    }
    let named = found.into_iter().filter_map(|(edge, layers)| Some((steps.output(&edge.vertex, edge.output)?, layers)));
    Ok(named.collect())
}
