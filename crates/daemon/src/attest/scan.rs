//! Bills of materials of results whose frontend made none, or that had no frontend.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_builtin::SPDX;
use rbuild_graph::Definition;
use rbuild_oci::Platform;

use super::provenance::platforms;
use crate::build::Build;
use crate::dockerfile::{BuildHost, fault, statement};
use crate::fault::Fault;
use crate::outcome::Outcome;

/// Adds the scans that a client asks for to results of which nobody has made one.
pub(crate) async fn scanned(
    build: &Arc<Build>,
    attributes: &BTreeMap<String, String>,
    mut outcome: Outcome,
) -> Result<Outcome, Fault> {
    let mut statements = outcome.attestations.values().flatten();
    if statements.any(|statement| statement.message.in_toto_predicate_type == SPDX) {
        return Ok(outcome);
    }
    let (mut results, mut terms) = (Vec::new(), BTreeMap::new());
    for (id, _) in platforms(&outcome)? {
        let found = outcome.of_platform(&id).ok_or_else(|| Fault::new(format!("could not find ref {id}")))?;
        // There is nothing in an empty file system.
        if let Some(lazy) = found {
            terms.insert(id.clone(), lazy.terms().clone());
            results.push((id, Definition::from_pb(lazy.definition().clone())?));
        }
    }
    let host = BuildHost::new(build, build.scope());
    let scans = rbuild_builtin::scans(attributes, &results, &Platform::host().normalise(), &host).await;
    for (id, scan) in scans.map_err(|error| fault(&error))? {
        // What is scanned is to be what was built: by the same policies, from the same caches.
        let statement = statement(build, &scan, &terms.remove(&id).unwrap_or_default())?;
        outcome.attestations.entry(id).or_default().push(statement);
    }
    Ok(outcome)
}
