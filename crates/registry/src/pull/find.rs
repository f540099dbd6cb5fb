//! Blobs of which no manifest tells the size.

use rbuild_oci::{Descriptor, Digest, Reference};
use reqwest::Method;

use super::{nowhere, place};
use crate::call::{Ask, Endpoint};
use crate::scope::Scopes;
use crate::{Client, Error};

/// What a blob is called whose type nobody knows.
const UNTYPED: &str = "application/octet-stream";

impl Client {
    /// Finds a blob by its digest alone, in the repository of `reference` or a mirror of it; fetches nothing.
    ///
    /// # Errors
    /// If there is none, or the registry does not say how large it is.
    pub async fn find_blob(&self, reference: &Reference, digest: Digest) -> Result<Descriptor, Error> {
        let mut failed = Vec::new();
        for source in self.sources(reference).await {
            let found = match source {
                Ok(endpoint) => self.find_blob_at(&endpoint, reference, digest).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(size) => return Ok(Descriptor::new(UNTYPED, digest, size)),
                Err(error) => self.note_failure(&mut failed, error)?,
            }
        }
        Err(nowhere(failed))
    }

    async fn find_blob_at(&self, endpoint: &Endpoint, reference: &Reference, digest: Digest) -> Result<u64, Error> {
        let _turn = self.turn(endpoint).await;
        let action = format!("looking for {digest} at {}", place(reference));
        let url = endpoint.url(&format!("blobs/{digest}"))?;
        let ask = Ask::new(&action, Method::HEAD, url, Scopes::pull(&endpoint.repository));
        let answer = self.call(endpoint, &ask).await?;
        let size = answer.header("content-length").and_then(|size| size.parse().ok());
        size.ok_or_else(|| answer.protocol(&action, "it does not say how large the blob is"))
    }
}
