//! Logging in and out: try a credential at the registry, then keep or forget it.

use crate::{Client, Credential, Error};

/// Asks `registry` (`docker.io`, `host:port`) whether it takes this credential.
pub async fn verify(client: &Client, registry: &str, credential: &Credential) -> Result<(), Error> {
    unreachable!("{client:?} {registry} {credential:?}")
}

/// Verifies a credential and keeps it in the client's credential store.
pub async fn login(client: &Client, registry: &str, credential: &Credential) -> Result<(), Error> {
    verify(client, registry, credential).await
}

/// Forgets a registry's credential; returns whether there was one.
pub async fn logout(client: &Client, registry: &str) -> Result<bool, Error> {
    unreachable!("{client:?} {registry}")
}
