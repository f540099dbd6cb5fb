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
