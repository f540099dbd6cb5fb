//! Results between the bridge's messages and ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_buildkit_api::gateway::{self, ResultResult};
use rbuild_graph::pb;

use crate::build::Build;
use crate::fault::Fault;
use crate::lazy::Lazy;
use crate::outcome::{MaybeLazy, Outcome, Refs, Statement};

/// The most bytes that metadata of a result may have.
const MAX_METADATA: usize = 64 << 20;

/// Gives the results of an outcome names, and says it in the protocol's words.
///
/// `with_definitions` is for clients that know results with definitions.
pub(crate) fn to_message(build: &Build, outcome: &Outcome, with_definitions: bool) -> Result<gateway::Result, Fault> {
    let result = match &outcome.refs {
        Refs::None if with_definitions => ResultResult::Ref(gateway::Ref::default()),
        Refs::None => ResultResult::RefDeprecated(String::new()),
        Refs::One(lazy) => match with_definitions {
            true => ResultResult::Ref(named(build, lazy.as_ref())?),
            false => ResultResult::RefDeprecated(named(build, lazy.as_ref())?.id),
        },
        Refs::Many(results) => {
            let named = results.iter().map(|(key, lazy)| Ok((key.clone(), named(build, lazy.as_ref())?)));
            let refs = named.collect::<Result<BTreeMap<_, _>, Fault>>()?;
            match with_definitions {
                true => ResultResult::Refs(gateway::RefMap { refs }),
                false => ResultResult::RefsDeprecated(gateway::RefMapDeprecated {
                    refs: refs.into_iter().map(|(key, named)| (key, named.id)).collect(),
                }),
            }
        }
    };
    let statement = |statement: &Statement| {
        let r#ref = statement.result.as_ref().map(|lazy| named(build, Some(lazy))).transpose()?;
        Ok(gateway::Attestation { r#ref, ..statement.message.clone() })
    };
    let attestations = outcome.attestations.iter().map(|(key, statements)| {
        let attestation = statements.iter().map(statement).collect::<Result<_, Fault>>()?;
        Ok((key.clone(), gateway::Attestations { attestation }))
    });
    Ok(gateway::Result {
        result: Some(result),
        metadata: outcome.metadata.clone(),
        attestations: attestations.collect::<Result<_, Fault>>()?,
    })
}

fn named(build: &Build, lazy: Option<&Arc<Lazy>>) -> Result<gateway::Ref, Fault> {
    let Some(lazy) = lazy else { return Ok(gateway::Ref::default()) };
    Ok(gateway::Ref { id: build.hold(lazy)?, def: Some(plain(lazy.definition().clone())) })
}

/// Reads what a client's frontend returns.
pub(crate) fn from_message(build: &Build, message: gateway::Result) -> Result<Outcome, Fault> {
    let size: usize = message.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_METADATA {
        return Err(Fault::new(format!("metadata of {size} bytes; {MAX_METADATA} are allowed")));
    }
    let several = |refs: BTreeMap<String, String>| {
        let found = refs.into_iter().map(|(key, id)| Ok((key, build.result(&id)?)));
        Ok::<_, Fault>(Refs::Many(found.collect::<Result<BTreeMap<String, MaybeLazy>, Fault>>()?))
    };
    let refs = match message.result {
        None => Refs::None,
        Some(ResultResult::RefDeprecated(id)) => Refs::One(build.result(&id)?),
        Some(ResultResult::Ref(named)) => Refs::One(build.result(&named.id)?),
        Some(ResultResult::RefsDeprecated(map)) => several(map.refs)?,
        Some(ResultResult::Refs(map)) => several(map.refs.into_iter().map(|(key, named)| (key, named.id)).collect())?,
    };
    let mut attestations = BTreeMap::new();
    for (key, statements) in message.attestations {
        let statement = |mut message: gateway::Attestation| {
            let result = message.r#ref.take().map_or(Ok(None), |named| build.result(&named.id))?;
            Ok(Statement { message, result })
        };
        let statements = statements.attestation.into_iter().map(statement).collect::<Result<Vec<_>, Fault>>()?;
        attestations.insert(key, statements);
    }
    Ok(Outcome { refs, metadata: message.metadata, attestations })
}

/// Leaves out of a definition what says nothing. We write an empty message in a map as a key without a value, which
/// BuildKit's own programs take for a value that is nil, and fall over it.
pub(crate) fn plain(mut definition: pb::Definition) -> pb::Definition {
    definition.metadata.retain(|_, metadata| *metadata != pb::OpMetadata::default());
    if let Some(source) = &mut definition.source {
        source.locations.retain(|_, locations| !locations.locations.is_empty());
        for info in &mut source.infos {
            info.definition = info.definition.take().map(plain);
        }
    }
    definition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_without_values_are_left_out() {
        let metadata = pb::OpMetadata { ignore_cache: true, ..pb::OpMetadata::default() };
        let mut source = pb::Source::default();
        source.locations.insert("empty".to_owned(), pb::Locations::default());
        let locations = pb::Locations { locations: vec![pb::Location::default()] };
        source.locations.insert("full".to_owned(), locations);
        let definition = pb::Definition {
            metadata: [("empty".to_owned(), pb::OpMetadata::default()), ("full".to_owned(), metadata)].into(),
            source: Some(Box::new(source)),
            ..pb::Definition::default()
        };
        let definition = plain(definition);
        assert_eq!(definition.metadata.keys().collect::<Vec<_>>(), ["full"]);
        let source = definition.source.unwrap();
        assert_eq!(source.locations.keys().collect::<Vec<_>>(), ["full"]);
    }
}
