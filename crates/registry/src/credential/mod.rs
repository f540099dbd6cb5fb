//! Credentials: what they are, and where they are kept.
//!
//! A lookup is by exact `host[:port]`. A store that is broken is an error and never "no
//! credentials": otherwise a typing mistake would send the wrong ones somewhere else.

mod docker_config;
mod program;
mod proxies;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use docker_config::DockerConfig;

/// Proof of who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password or access token.
    Basic {
        /// The user name.
        username: String,
        /// The password or access token.
        password: String,
    },
    /// A refresh token, exchanged for access tokens (docker calls it identity token).
    Identity(String),
    /// A bearer token, sent as it is.
    Registry(String),
}

impl Credential {
    /// Returns a credential of user name and password.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Basic { username: username.into(), password: password.into() }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Credential::Basic(…)",
            Self::Identity(_) => "Credential::Identity(…)",
            Self::Registry(_) => "Credential::Registry(…)",
        })
    }
}

/// Keeps credentials, each under the registry name of references (`docker.io`, `host:port`).
///
/// Calls may block; the client makes them from a thread where that is allowed.
pub trait CredentialStore: Send + Sync {
    /// Returns the credential kept for exactly this registry.
    fn get(&self, registry: &str) -> Result<Option<Credential>, CredentialError>;
    /// Keeps a credential.
    fn store(&self, registry: &str, credential: &Credential) -> Result<(), CredentialError>;
    /// Forgets a credential; returns whether there was one.
    fn erase(&self, registry: &str) -> Result<bool, CredentialError>;

    /// Returns a token that whoever keeps the credentials got with them, so that we need not see them; none if
    /// nobody does that, and tokens are asked for with what [`Self::get`] returns.
    fn token(&self, _wanted: &TokenRequest) -> Result<Option<FetchedToken>, CredentialError> {
        Ok(None)
    }
}

/// A token that a registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// The registry's name.
    pub registry: String,
    /// The address of the token server, as the registry named it.
    pub realm: String,
    /// The service that the token is for.
    pub service: String,
    /// What it is to allow.
    pub scopes: Vec<String>,
}

/// A token that somebody else fetched.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchedToken {
    /// The token.
    pub token: String,
    /// How long it is good for from now on, if that is known.
    pub life: Option<Duration>,
}

impl fmt::Debug for FetchedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedToken").field("life", &self.life).finish_non_exhaustive()
    }
}

/// Why a credential could not be looked up, kept or forgotten.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file could not be read or written.
    #[error("{action} `{path}`")]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("`{path}` is broken: {reason}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong; never holds the content.
        reason: String,
    },
    /// A credential helper failed.
    #[error("credential helper `{helper}`: {reason}")]
    Helper {
        /// Its name, `docker-credential-…`.
        helper: String,
        /// What went wrong, on one line.
        reason: String,
    },
    /// Whoever keeps the credentials failed.
    #[error("asking for credentials: {reason}")]
    Keeper {
        /// What went wrong, on one line.
        reason: String,
    },
    /// The store keeps nothing.
    #[error("there is no place to keep credentials in")]
    ReadOnly,
}

/// A store without credentials.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

impl CredentialStore for NoCredentials {
    fn get(&self, _: &str) -> Result<Option<Credential>, CredentialError> {
        Ok(None)
    }

    fn store(&self, _: &str, _: &Credential) -> Result<(), CredentialError> {
        Err(CredentialError::ReadOnly)
    }

    fn erase(&self, _: &str) -> Result<bool, CredentialError> {
        Ok(false)
    }
}

/// Several stores: the first that knows a registry answers, the first of all keeps.
#[derive(Clone, Default)]
pub struct Chain(pub Vec<Arc<dyn CredentialStore>>);

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain of {}", self.0.len())
    }
}

impl CredentialStore for Chain {
    fn get(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        for store in &self.0 {
            if let Some(found) = store.get(registry)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn store(&self, registry: &str, credential: &Credential) -> Result<(), CredentialError> {
        self.0.first().ok_or(CredentialError::ReadOnly)?.store(registry, credential)
    }

    fn erase(&self, registry: &str) -> Result<bool, CredentialError> {
        let mut erased = false;
        for store in &self.0 {
            erased |= store.erase(registry)?;
        }
        Ok(erased)
    }

    fn token(&self, wanted: &TokenRequest) -> Result<Option<FetchedToken>, CredentialError> {
        for store in &self.0 {
            if let Some(found) = store.token(wanted)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}
