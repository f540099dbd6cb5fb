//! What the frontend is given and what it returns.

use std::collections::BTreeMap;

use rbuild_graph::{Definition, pb};
use rbuild_oci::Platform;

/// A request as a client makes it. Nothing in it is believed.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The frontend's attributes (`FrontendOpt`).
    pub attributes: &'a BTreeMap<String, String>,
    /// Results of other builds (`FrontendInputs`).
    pub inputs: &'a BTreeMap<String, pb::Definition>,
    /// The session of the client; none if it has none.
    pub session: Option<&'a str>,
    /// What can run here, best first; none stands for this machine's.
    pub platforms: &'a [Platform],
}

/// What a request results in. Nothing of it has been evaluated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answered {
    /// The graphs.
    pub refs: Refs,
    /// What is known of them: `containerimage.config`, `refs.platforms`, `result.json` and the like.
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// What is to be attested, by the id of the platform.
    pub attestations: BTreeMap<String, Vec<Attestation>>,
}

/// The graphs that a request results in. A graph without ops is the empty file system.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Refs {
    /// None: a question was answered.
    #[default]
    None,
    /// One, of one platform.
    Single(Definition),
    /// One for each platform, by its id, in the order asked for.
    Platforms(Vec<(String, Definition)>),
}

/// A bundle of statements about the contents of a result, made by a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Attestation {
    /// The graph whose files are the statements.
    pub definition: Definition,
    /// The type of the statements' predicates.
    pub predicate_type: String,
    /// Why it is made, and which of the files is about the result itself.
    pub metadata: BTreeMap<String, Vec<u8>>,
}
