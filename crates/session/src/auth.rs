//! Credentials of registries, asked of the client when a registry wants them. Nothing of them is kept here but
//! tokens, for as long as a build.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use rbuild_buildkit_api::auth::{CredentialsRequest, FetchTokenRequest, GetTokenAuthorityRequest};
use rbuild_buildkit_api::services::auth::auth_client::AuthClient;
use rbuild_registry::{Credential, CredentialError, CredentialStore, FetchedToken, TokenRequest};
use tokio::runtime::Handle;
use tonic::Code;

use crate::client::random_words;
use crate::error::SessionError;
use crate::session::Session;
use crate::table::Group;

/// The methods by which a client gives credentials and tokens.
pub(crate) const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
pub(crate) const FETCH_TOKEN: &str = "/moby.filesync.v1.Auth/FetchToken";
pub(crate) const AUTHORITY: &str = "/moby.filesync.v1.Auth/GetTokenAuthority";
/// How long a client may take: it may ask a program, or a token server.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Who tokens are for.
const CLIENT_ID: &str = "buildkit-client";
/// The length of the key of those who fetch tokens, and of what it is made with.
const KEY_BYTES: usize = 32;

/// Credentials that the sessions of a build have.
#[derive(Debug, Clone)]
pub struct SessionCredentials {
    group: Group,
    runtime: Handle,
}

impl SessionCredentials {
    /// Returns the credentials that the sessions of a build have. Must be called within a runtime.
    pub fn new(group: Group) -> Self {
        Self { group, runtime: Handle::current() }
    }

    /// Asks the sessions one after the other; none if there are none, or none of them deals with credentials.
    fn ask<T, F>(&self, ask: impl Fn(std::sync::Arc<Session>) -> F) -> Result<Option<T>, CredentialError>
    where
        F: Future<Output = Result<Option<T>, SessionError>>,
    {
        let asked = async { tokio::time::timeout(TIMEOUT, self.group.any(ask)).await };
        match self.runtime.block_on(asked) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_missing() || matches!(error, SessionError::None) => Ok(None),
            Ok(Err(error)) => Err(CredentialError::Keeper { reason: line(&error) }),
            Err(_) => Err(CredentialError::Keeper { reason: "the client did not answer in 60 seconds".to_owned() }),
        }
    }
}

impl CredentialStore for SessionCredentials {
    fn get(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        let host = host_of(registry);
        self.ask(|session| {
            let request = CredentialsRequest { host: host.to_owned() };
            async move {
                let answer = AuthClient::new(session.channel()).credentials(request).await;
                let answer = answer.map_err(SessionError::call("asking the client for credentials"))?.into_inner();
                Ok(credential(answer.username, answer.secret))
            }
        })
    }

    fn store(&self, _: &str, _: &Credential) -> Result<(), CredentialError> {
        Err(CredentialError::ReadOnly)
    }

    fn erase(&self, _: &str) -> Result<bool, CredentialError> {
        Ok(false)
    }

    fn token(&self, wanted: &TokenRequest) -> Result<Option<FetchedToken>, CredentialError> {
        let host = host_of(&wanted.registry);
        self.ask(|session| async move {
            let mut client = AuthClient::new(session.channel());
            let salt = Bytes::copy_from_slice(salt());
            let authority = GetTokenAuthorityRequest { host: host.to_owned(), salt };
            match client.get_token_authority(authority).await {
                Ok(answer) if answer.get_ref().public_key.len() == KEY_BYTES => {}
                // It has only credentials, if anything.
                Ok(_) => return Ok(None),
                Err(status) if matches!(status.code(), Code::Unimplemented | Code::Unavailable | Code::NotFound) => {
                    return Ok(None);
                }
                Err(status) => return Err(SessionError::call("asking the client who fetches tokens")(status)),
            }
            let request = FetchTokenRequest {
                client_id: CLIENT_ID.to_owned(),
                host: host.to_owned(),
                realm: wanted.realm.clone(),
                service: wanted.service.clone(),
                scopes: wanted.scopes.clone(),
            };
            let answer = client.fetch_token(request).await;
            let answer = answer.map_err(SessionError::call("fetching a token through the client"))?.into_inner();
            if answer.token.is_empty() {
                return Err(SessionError::Answer("the client fetched a token that is empty".to_owned()));
            }
            let life = u64::try_from(answer.expires_in).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
            Ok(Some(FetchedToken { token: answer.token, life }))
        })
    }
}

/// Returns what keys are made with, another one in each process, so that none can be recognised elsewhere.
fn salt() -> &'static [u8] {
    static SALT: OnceLock<[u8; KEY_BYTES]> = OnceLock::new();
    SALT.get_or_init(|| *rbuild_oci::Digest::of(&random_words()).as_bytes())
}

/// Returns the host that clients know a registry by.
fn host_of(registry: &str) -> &str {
    if registry == "docker.io" { "registry-1.docker.io" } else { registry }
}

fn credential(username: String, secret: String) -> Option<Credential> {
    match (username.is_empty(), secret.is_empty()) {
        (true, true) => None,
        // A secret of nobody is an identity token.
        (true, false) => Some(Credential::Identity(secret)),
        (false, _) => Some(Credential::Basic { username, password: secret }),
    }
}

/// Returns an error with its causes on one line.
fn line(error: &SessionError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
