//! What a repository holds: tags, referrers; and deletion.

use rbuild_oci::{Digest, Index, Reference};

use crate::{Client, Error};

impl Client {
    /// Lists the tags of the repository of `reference`, in the registry's order.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        unreachable!("{reference:?}")
    }

    /// Lists the manifests whose subject is `digest`, by the referrers API or its fallback tag.
    pub async fn referrers(
        &self,
        reference: &Reference,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Index, Error> {
        unreachable!("{reference:?} {digest:?} {artifact_type:?}")
    }

    /// Deletes the manifest that `reference` names by digest, or only its tag.
    pub async fn delete_manifest(&self, reference: &Reference) -> Result<(), Error> {
        unreachable!("{reference:?}")
    }
}
