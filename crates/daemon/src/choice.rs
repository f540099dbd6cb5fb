//! Outputs that a client chooses when the results are there, and what it hears of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_buildkit_api::control::{Exporter, SolveRequest};
use rbuild_session::{LOOKUP, Session, SessionError};
use tonic::Code;

use crate::build::Build;
use crate::engine::Engine;
use crate::export::Told;
use crate::fault::Fault;
use crate::outcome::Outcome;

/// The most outputs that a client may choose.
const MOST_OUTPUTS: usize = 100;

/// Returns nothing for clients that have no say in such things.
fn unless_silent<T: Default>(answer: Result<T, SessionError>) -> Result<T, Fault> {
    match answer {
        Err(error) if matches!(error.code(), Some(Code::Unavailable | Code::Unimplemented)) => Ok(T::default()),
        answer => answer.map_err(|error| Fault::of(&error)),
    }
}

impl Engine {
    async fn chooser(&self, build: &Build) -> Result<Arc<Session>, Fault> {
        self.sessions().get(&build.begun().session, LOOKUP).await.map_err(|error| Fault::of(&error))
    }

    /// Returns the outputs that the client chooses now that the results are there; none unless it said that it would.
    pub(crate) async fn chosen(
        &self,
        build: &Build,
        request: &SolveRequest,
        outcome: &Outcome,
    ) -> Result<Vec<Exporter>, Fault> {
        if !request.enable_session_exporter {
            return Ok(Vec::new());
        }
        let refs = outcome.results().iter().map(|lazy| build.hold(lazy)).collect::<Result<_, _>>()?;
        let metadata: BTreeMap<_, _> = outcome.metadata.clone();
        let chosen = unless_silent(self.chooser(build).await?.find_exporters(metadata, refs).await)?;
        if chosen.len() > MOST_OUTPUTS {
            return Err(Fault::new(format!("a client may choose {MOST_OUTPUTS} outputs")));
        }
        let chosen = chosen.into_iter().map(|exporter| Exporter { r#type: exporter.r#type, attrs: exporter.attrs });
        Ok(chosen.collect())
    }

    /// Tells a client that chooses outputs what became of them.
    pub(crate) async fn tell(&self, build: &Build, request: &SolveRequest, told: &Told) -> Result<(), Fault> {
        if !request.enable_session_exporter {
            return Ok(());
        }
        unless_silent(self.chooser(build).await?.finalize_export(told.clone()).await)
    }
}
