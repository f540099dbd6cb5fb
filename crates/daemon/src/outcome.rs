//! What a frontend returns: results by platform, and what is said of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_buildkit_api::gateway;

use crate::lazy::Lazy;

/// A result; none is the empty file system.
pub(crate) type MaybeLazy = Option<Arc<Lazy>>;

/// What a frontend returns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// The results.
    pub(crate) refs: Refs,
    /// What is said of them, such as configurations of images.
    pub(crate) metadata: BTreeMap<String, Vec<u8>>,
    /// Statements about results, by the result's name.
    pub(crate) attestations: BTreeMap<String, Vec<Statement>>,
}

/// Results.
#[derive(Debug, Clone, Default)]
pub(crate) enum Refs {
    /// No result at all.
    #[default]
    None,
    /// One, whatever its platform.
    One(MaybeLazy),
    /// Several, by name, normally of a platform.
    Many(BTreeMap<String, MaybeLazy>),
}

/// A statement about a result.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    /// What it says of itself.
    pub(crate) message: gateway::Attestation,
    /// Where its content lies.
    pub(crate) result: MaybeLazy,
}

impl Outcome {
    /// Returns the name of the result for a platform, if it has one; none if there is no such result. One result alone
    /// is for whatever platform is asked for.
    pub(crate) fn name_of<'a>(&'a self, id: &'a str) -> Option<Option<&'a str>> {
        match &self.refs {
            Refs::None | Refs::One(_) => Some(None),
            Refs::Many(several) if several.contains_key(id) => Some(Some(id)),
            Refs::Many(several) if several.len() == 1 => several.keys().next().map(|name| Some(name.as_str())),
            Refs::Many(_) => None,
        }
    }

    /// Returns the result for a platform, if there is one.
    pub(crate) fn of_platform(&self, id: &str) -> Option<MaybeLazy> {
        match (&self.refs, self.name_of(id)?) {
            (Refs::One(lazy), None) => Some(lazy.clone()),
            (Refs::Many(several), Some(name)) => several.get(name).cloned(),
            _ => Some(None),
        }
    }

    /// Returns all results.
    pub(crate) fn results(&self) -> Vec<Arc<Lazy>> {
        let statements = self.attestations.values().flatten().filter_map(|statement| statement.result.clone());
        let mut all: Vec<_> = match &self.refs {
            Refs::None => Vec::new(),
            Refs::One(result) => result.iter().cloned().collect(),
            Refs::Many(results) => results.values().flatten().cloned().collect(),
        };
        all.extend(statements);
        all
    }
}
