//! Image references, normalised as docker does.

use crate::Digest;

/// A normalised image reference: registry, repository, and a tag, a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host and port of the registry, such as `docker.io` or `localhost:5000`.
    pub registry: String,
    /// The repository, such as `library/alpine`.
    pub repository: String,
    /// The tag, if one was given or is implied.
    pub tag: Option<String>,
    /// The digest, if one was given.
    pub digest: Option<Digest>,
}
