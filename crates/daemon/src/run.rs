//! One build from request to response: rights, frontend, results, outputs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt as _;
use rbuild_buildkit_api::control::{BuildHistoryRecord, CacheOptionsEntry, Exporter, SolveRequest};
use rbuild_buildkit_api::worker::WorkerRecord;
use rbuild_export::attestation::Late;
use rbuild_export::provenance::AttestOptions;

use rbuild_ops::DeviceGrants;

use crate::attest;
use crate::build::{Build, Made};
use crate::caches;
use crate::config::Entitlement;
use crate::engine::Engine;
use crate::export::{Told, outputs};
use crate::fault::Fault;
use crate::history::{Outcome, Recording};
use crate::solve::Asked;
use crate::{verify, workers};

/// The type of attestations that the history keeps.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The annotation that says what is attested.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

impl Engine {
    /// Carries out a build. It ends early when the returned future is dropped.
    pub(crate) async fn carry_out(self: &Arc<Self>, request: SolveRequest) -> Result<Told, Fault> {
        let request = modern(request);
        let build = self.begin(&request).inspect_err(|_| self.builds().refuse(&request.r#ref))?;
        let recording = match request.internal {
            true => None,
            false => Some(self.history().begin(record(&request)).map_err(|error| Fault::of(&error))?),
        };
        let registered = self.builds().register(&build)?;
        // On its own, so that a client that goes away does not take the tidying up with it.
        let work = tokio::spawn({
            let (engine, build) = (Arc::clone(self), Arc::clone(&build));
            async move {
                let done = build.unless_canceled(engine.build(build.clone(), request)).await;
                build.containers().release_all().await;
                match &done {
                    Ok(_) => build.feed().end(),
                    Err(_) => build.feed().give_up(),
                }
                if let Some(recording) = recording {
                    remember(recording, build, done.clone()).await;
                }
                done
            }
        });
        let done = work.await.map_err(|error| Fault::of(&error))?;
        drop(registered);
        done
    }

    /// Returns what clients are told of the worker.
    pub(crate) fn workers(&self, filters: &[String]) -> Result<Vec<WorkerRecord>, Fault> {
        let parts = self.parts();
        let listed = parts.worker.list(parts.images.store(), filters);
        let mut records = listed.map_err(|error| Fault::of(&error))?.record;
        for record in &mut records {
            record.cdi_devices = workers::devices(&parts.cdi_spec_dirs);
        }
        Ok(records)
    }

    async fn build(self: &Arc<Self>, build: Arc<Build>, request: SolveRequest) -> Result<Told, Fault> {
        let (build, request) = (&build, &request);
        workers::check_compatibility(request.compatibility_version)?;
        let mut asked_for = outputs(&request.exporters, request)?;
        let exports = request.cache.iter().flat_map(|cache| cache.exports.clone());
        let exports = caches::exports(&caches::asked(exports)?)?;
        let attest = AttestOptions::parse(&request.frontend_attrs).map_err(|error| Fault::of(&error))?;
        let asked = Asked::of_client(request)?;
        let outcome = match asked.is_driven() {
            true => build.returned().await?,
            false => self.solve(build, build.scope(), asked).await?,
        };
        let outcome = match attest.sbom {
            Some(_) => attest::scanned(build, &request.frontend_attrs, outcome).boxed().await?,
            None => outcome,
        };
        build.make(outcome.results()).await?;
        verify::platforms(build, request, &outcome)?;
        if !request.internal {
            let provenance = attest::of_history(build, &attest, &outcome).await?;
            build.made().provenance = provenance;
        }
        let attested = attest::attested(build, &attest, outcome).await?;
        asked_for.extend(outputs(&self.chosen(build, request, &attested.outcome).await?, request)?);
        let told = self.export(build, &asked_for, &exports, &attested).await?;
        self.tell(build, request, &told).await?;
        Ok(told)
    }
}

/// Returns the record of a build that begins.
fn record(request: &SolveRequest) -> BuildHistoryRecord {
    BuildHistoryRecord {
        r#ref: request.r#ref.clone(),
        frontend: request.frontend.clone(),
        frontend_attrs: request.frontend_attrs.clone(),
        exporters: request.exporters.clone(),
        ..BuildHistoryRecord::default()
    }
}

/// Makes the record of a build that ended; the client is answered when it can be asked for.
async fn remember(mut recording: Recording, build: Arc<Build>, done: Result<Told, Fault>) {
    let outcome = match done {
        Ok(told) => Outcome { exporter_response: told, ..Outcome::default() },
        Err(fault) => Outcome { error: Some(fault.to_rpc()), ..Outcome::default() },
    };
    // A build without a record is a build nevertheless.
    let _ = tokio::task::spawn_blocking(move || {
        build.feed().so_far().iter().try_for_each(|status| recording.push(status))?;
        let made = std::mem::take(&mut *build.made());
        let outcome = with_made(&recording, &build, made, outcome);
        recording.finish(outcome)
    })
    .await;
}

/// Adds what a build made to its outcome. What cannot be written any more is left out.
fn with_made(recording: &Recording, build: &Build, made: Made, mut outcome: Outcome) -> Outcome {
    for (id, provenance) in made.provenance {
        let written = provenance.make(build.worker().images()).ok();
        let attached = written.and_then(|bytes| recording.attach(IN_TOTO, &bytes).ok());
        let Some(mut descriptor) = attached else { continue };
        let kind = provenance.options.predicate_type().to_owned();
        descriptor.annotations.insert(PREDICATE_TYPE.to_owned(), kind);
        let info = match id {
            None => outcome.result.get_or_insert_default(),
            Some(id) => outcome.results.entry(id).or_default(),
        };
        info.attestations.push(descriptor);
    }
    if let Some((_, first)) = made.exported.first_key_value() {
        let info = outcome.result.get_or_insert_default();
        // Old clients know of one result.
        info.result_deprecated = Some(first.clone());
        info.results = made.exported;
    }
    outcome
}

/// Puts what old clients say into today's words.
fn modern(mut request: SolveRequest) -> SolveRequest {
    if request.exporters.is_empty() && !request.exporter_deprecated.is_empty() {
        request.exporters = vec![Exporter {
            r#type: std::mem::take(&mut request.exporter_deprecated),
            attrs: std::mem::take(&mut request.exporter_attrs_deprecated),
        }];
    }
    if let Some(cache) = &mut request.cache {
        let registry = |reference: String, mut attrs: BTreeMap<String, String>| {
            attrs.insert("ref".to_owned(), reference);
            CacheOptionsEntry { r#type: "registry".to_owned(), attrs }
        };
        let export = std::mem::take(&mut cache.export_ref_deprecated);
        if !export.is_empty() {
            cache.exports.push(registry(export, std::mem::take(&mut cache.export_attrs_deprecated)));
        }
        let imports = std::mem::take(&mut cache.import_refs_deprecated);
        cache.imports.extend(imports.into_iter().map(|reference| registry(reference, BTreeMap::new())));
    }
    request
}

/// Returns what a build's steps may have: what the client grants, of what the daemon lets it.
pub(crate) fn granted(asked: &[String], allowed: &BTreeSet<Entitlement>) -> Result<BTreeSet<Entitlement>, Fault> {
    let mut granted = BTreeSet::new();
    for name in asked {
        let kind = name.split_once('=').map_or(name.as_str(), |(kind, _)| kind);
        let right = Entitlement::parse(kind).ok_or_else(|| Fault::new(format!("unknown entitlement {name}")))?;
        if !allowed.contains(&right) {
            return Err(Fault::new(format!(
                "granting entitlement {name} is not allowed by build daemon configuration"
            )));
        }
        granted.insert(right);
    }
    Ok(granted)
}

/// Returns the devices that a client grants: `device` for all, `device=[name=]NAME[,alias=NAME]` for one.
pub(crate) fn devices(asked: &[String]) -> Result<DeviceGrants, Fault> {
    let mut granted = DeviceGrants::default();
    for rest in asked.iter().filter_map(|name| name.strip_prefix("device")) {
        let rest = rest.replacen("=name=", "=", 1);
        granted.add(&rest).map_err(|error| Fault::of(&error))?;
    }
    Ok(granted)
}
