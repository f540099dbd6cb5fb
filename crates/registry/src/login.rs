//! Logging in and out: try a credential at the registry, then keep or forget it.

use std::sync::Arc;

use reqwest::Method;

use crate::call::{Ask, Endpoint};
use crate::credential::{CredentialError, CredentialStore};
use crate::scope::Scopes;
use crate::transport::{Answer, Request};
use crate::{Client, Credential, Error, call::Trouble};

/// Asks `registry` (`docker.io`, `host:port`) whether it takes this credential.
///
/// A registry that asks for nothing takes every credential.
pub async fn verify(client: &Client, registry: &str, credential: &Credential) -> Result<(), Error> {
    let endpoint = client.endpoint(registry, "").await?;
    let action = format!("logging in to {registry}");
    let url = endpoint.base.join("/v2/").unwrap_or_else(|_| endpoint.base.clone());
    // Without authorization on purpose: what is remembered could be another user's.
    let ask = Ask::new(&action, Method::GET, url, Scopes::default()).expect(&[200, 401]);
    let answer = anonymous(client, &ask).await?;
    if answer.status() == 200 {
        return Ok(());
    }
    let challenges = answer.challenges();
    drop(answer);
    let grant = client.grant(&endpoint, &challenges, &Scopes::default(), Some(credential)).await?;
    if let Some(hint) = grant.withheld {
        // What nobody has looked at is not known to be right.
        return Err(Error::Denied { action, host: endpoint.host(), status: 401, codes: Vec::new(), hint });
    }
    confirm(client, &endpoint, &ask.request, &grant.header, &action).await
}

/// Verifies a credential and keeps it in the client's credential store.
pub async fn login(client: &Client, registry: &str, credential: &Credential) -> Result<(), Error> {
    verify(client, registry, credential).await?;
    let kept = credential.clone();
    stored(client, registry, move |store, registry| store.store(registry, &kept)).await
}

/// Forgets a registry's credential; returns whether there was one.
pub async fn logout(client: &Client, registry: &str) -> Result<bool, Error> {
    stored(client, registry, |store, registry| store.erase(registry)).await
}

async fn anonymous(client: &Client, ask: &Ask) -> Result<Answer, Error> {
    let mut patience = client.patience();
    loop {
        let trouble = match client.transport().exchange(client.options(), &ask.request, None).await {
            Ok(answer) if ask.expect.contains(&answer.status()) => return Ok(answer),
            Ok(answer) => answer.refusal(&ask.action, "", &client.options().timing).await,
            Err(failure) => Trouble::of(failure, &ask.action),
        };
        patience.pause(trouble).await?;
    }
}

async fn confirm(
    client: &Client,
    endpoint: &Endpoint,
    request: &Request,
    header: &reqwest::header::HeaderValue,
    action: &str,
) -> Result<(), Error> {
    let mut patience = client.patience();
    loop {
        let trouble = match client.transport().exchange(client.options(), request, Some(header)).await {
            Ok(answer) if answer.status() == 200 => return Ok(()),
            Ok(answer) => {
                let note = format!("{} does not take this user name and password", endpoint.registry);
                answer.refusal(action, &note, &client.options().timing).await
            }
            Err(failure) => Trouble::of(failure, action),
        };
        patience.pause(trouble).await?;
    }
}

async fn stored<T: Send + 'static>(
    client: &Client,
    registry: &str,
    change: impl FnOnce(&dyn CredentialStore, &str) -> Result<T, CredentialError> + Send + 'static,
) -> Result<T, Error> {
    let store = Arc::clone(&client.options().credentials);
    let host = registry.to_owned();
    let done = tokio::task::spawn_blocking(move || change(&*store, &host)).await;
    let done = done
        .map_err(|error| Error::Setting { what: format!("credentials for {registry}"), reason: error.to_string() })?;
    done.map_err(|source| Error::Credentials { host: registry.to_owned(), source })
}
