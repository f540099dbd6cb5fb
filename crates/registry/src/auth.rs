//! Credentials and tokens: from a challenge to an `Authorization` header, remembered until it ends.
//!
//! A token's age is measured by our own monotonic clock from the moment it came; what the token
//! server thinks the time is does not matter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::call::{Endpoint, Trouble};
use crate::challenge::{Bearer, Challenge};
use crate::client::Client;
use crate::credential::{Credential, CredentialError, CredentialStore, FetchedToken, TokenRequest};
use crate::realm::{self, Realm};
use crate::scope::Scopes;
use crate::transport::{Payload, Request};
use crate::{Error, origin};

/// Largest answer of a token server that is read.
const MOST_BYTES: u64 = 1 << 20;
/// Life of a token whose server does not say (distribution specification: 60 seconds).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// Longest life that is believed.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Most tokens kept for one registry.
const MOST_TOKENS: usize = 256;

/// What was granted for one registry.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    registries: Mutex<HashMap<String, Arc<RegistryGrants>>>,
}

#[derive(Debug, Default)]
struct RegistryGrants {
    /// Held while a token is asked for, so that many requests at once ask only once.
    asking: tokio::sync::Mutex<()>,
    grants: Mutex<Vec<Grant>>,
}

/// A header that was granted, what it is good for, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) header: HeaderValue,
    scopes: Scopes,
    /// Basic credentials are good for everything.
    all: bool,
    until: Option<Instant>,
    serial: u64,
    /// Why the credential that there is had no part in it.
    pub(crate) withheld: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl RegistryGrants {
    fn list(&self) -> MutexGuard<'_, Vec<Grant>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, scopes: &Scopes) -> Option<Grant> {
        let now = Instant::now();
        let mut list = self.list();
        list.retain(|grant| grant.until.is_none_or(|until| until > now));
        list.iter().rev().find(|grant| grant.all || grant.scopes.covers(scopes)).cloned()
    }

    fn add(&self, mut grant: Grant) -> Grant {
        let mut list = self.list();
        grant.serial = list.iter().map(|grant| grant.serial).max().unwrap_or(0) + 1;
        if list.len() >= MOST_TOKENS {
            list.remove(0);
        }
        list.push(grant.clone());
        grant
    }

    fn forget(&self, refused: &Grant) {
        self.list().retain(|grant| grant.header != refused.header);
    }
}

impl Grants {
    fn of(&self, host: &str) -> Arc<RegistryGrants> {
        let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(registries.entry(host.to_owned()).or_default())
    }

    /// Returns a grant that is at hand.
    pub(crate) fn find(&self, endpoint: &Endpoint, scopes: &Scopes) -> Option<Grant> {
        self.of(&endpoint.origin()).find(scopes)
    }
}

impl Client {
    /// Answers the challenges of a registry; `refused` is the grant that was not enough.
    pub(crate) async fn authorize(
        &self,
        endpoint: &Endpoint,
        challenges: &[Challenge],
        scopes: &Scopes,
        refused: Option<&Grant>,
    ) -> Result<Grant, Error> {
        let grants = self.grants().of(&endpoint.origin());
        let _asking = grants.asking.lock().await;
        if let Some(refused) = refused {
            grants.forget(refused);
        }
        // Someone else may have asked while we waited.
        if let Some(found) = grants.find(scopes) {
            return Ok(found);
        }
        if let Some(grant) = self.fetched(endpoint, challenges, scopes).await? {
            return Ok(grants.add(grant));
        }
        let credential = self.credential(&endpoint.registry).await?;
        let grant = self.grant(endpoint, challenges, scopes, credential.as_ref()).await?;
        Ok(grants.add(grant))
    }

    /// Turns challenges and a credential into a grant, without looking at what is remembered.
    pub(crate) async fn grant(
        &self,
        endpoint: &Endpoint,
        challenges: &[Challenge],
        scopes: &Scopes,
        credential: Option<&Credential>,
    ) -> Result<Grant, Error> {
        let action = || format!("authorizing with {}", endpoint.registry);
        if let Some(Credential::Registry(token)) = credential {
            return Ok(everything(header(&format!("Bearer {token}"), endpoint, &action())?));
        }
        for challenge in challenges {
            if let Challenge::Bearer(bearer) = challenge {
                return self.token(endpoint, bearer, scopes, credential).await;
            }
        }
        match credential {
            Some(Credential::Basic { username, password }) if challenges.contains(&Challenge::Basic) => {
                Ok(everything(header(&basic(username, password), endpoint, &action())?))
            }
            _ => Err(Error::Denied {
                action: action(),
                host: endpoint.host(),
                status: 401,
                codes: Vec::new(),
                hint: hint(endpoint, challenges, credential),
            }),
        }
    }

    /// Returns a token that the keeper of the credentials fetched itself, if a token is wanted and it does that.
    async fn fetched(
        &self,
        endpoint: &Endpoint,
        challenges: &[Challenge],
        scopes: &Scopes,
    ) -> Result<Option<Grant>, Error> {
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer(bearer) => Some(bearer),
            _ => None,
        });
        let Some(bearer) = bearer else { return Ok(None) };
        let scopes = bearer.scope.as_deref().map(Scopes::parse).unwrap_or_default().union(scopes);
        let wanted = TokenRequest {
            registry: endpoint.registry.clone(),
            realm: bearer.realm.clone(),
            service: bearer.service.clone().unwrap_or_default(),
            scopes: scopes.texts(),
        };
        let fetched = self.keeper(&endpoint.registry, move |store| store.token(&wanted)).await?;
        let Some(FetchedToken { token, life }) = fetched else { return Ok(None) };
        let life = life.unwrap_or(DEFAULT_LIFE).min(LONGEST_LIFE).mul_f32(0.9);
        let action = format!("getting a token for {}", endpoint.registry);
        let header = header(&format!("Bearer {token}"), endpoint, &action)?;
        Ok(Some(Grant { header, scopes, all: false, until: Some(Instant::now() + life), serial: 0, withheld: None }))
    }

    async fn credential(&self, registry: &str) -> Result<Option<Credential>, Error> {
        let name = registry.to_owned();
        self.keeper(registry, move |store| store.get(&name)).await
    }

    /// Asks whoever keeps the credentials, which may block.
    async fn keeper<T: Send + 'static>(
        &self,
        registry: &str,
        ask: impl FnOnce(&dyn CredentialStore) -> Result<T, CredentialError> + Send + 'static,
    ) -> Result<T, Error> {
        let store = Arc::clone(&self.options().credentials);
        let found = tokio::task::spawn_blocking(move || ask(&*store)).await;
        let found = found.map_err(|error| Error::Setting {
            what: format!("credentials for {registry}"),
            reason: error.to_string(),
        })?;
        found.map_err(|source| Error::Credentials { host: registry.to_owned(), source })
    }

    async fn token(
        &self,
        endpoint: &Endpoint,
        bearer: &Bearer,
        scopes: &Scopes,
        credential: Option<&Credential>,
    ) -> Result<Grant, Error> {
        let action = format!("getting a token for {}", endpoint.registry);
        let realm = realm::judge(&endpoint.base, &bearer.realm, &self.options().hosts.trusted_realms);
        let (realm, credential, withheld) = match realm {
            Ok(Realm::Trusted(realm)) => (realm, credential, None),
            Ok(Realm::Anonymous(realm)) => {
                let withheld = credential.map(|_| withheld_note(endpoint, &realm));
                (realm, None, withheld)
            }
            Err((target, reason)) => {
                return Err(Error::Unsafe { action, host: endpoint.host(), target, reason: reason.to_owned() });
            }
        };
        // What the registry says it needs, and what we know we need.
        let scopes = bearer.scope.as_deref().map(Scopes::parse).unwrap_or_default().union(scopes);
        let (request, authorization) = token_request(&realm, bearer, &scopes, credential, endpoint, &action)?;
        let note = withheld.as_deref().unwrap_or_default();
        let body = self.ask_token(&request, authorization.as_ref(), &action, note).await?;
        let broken = |reason: &str| Error::Protocol {
            action: action.clone(),
            host: origin::host_port(&realm),
            reason: reason.to_owned(),
        };
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| broken("the answer is not the JSON expected"))?;
        let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token);
        let token = token.filter(|token| !token.is_empty()).ok_or_else(|| broken("the answer holds no token"))?;
        let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs).min(LONGEST_LIFE);
        Ok(Grant {
            header: header(&format!("Bearer {token}"), endpoint, &action)?,
            scopes,
            all: false,
            // The way here took some of it, the way there will.
            until: Some(Instant::now() + life.mul_f32(0.9)),
            serial: 0,
            withheld,
        })
    }

    async fn ask_token(
        &self,
        request: &Request,
        authorization: Option<&HeaderValue>,
        action: &str,
        note: &str,
    ) -> Result<Bytes, Error> {
        let mut patience = self.patience();
        loop {
            let trouble = match self.transport().exchange(self.options(), request, authorization).await {
                Ok(mut answer) if answer.status() == 200 => match answer.body(MOST_BYTES).await {
                    Ok(body) if body.len() as u64 <= MOST_BYTES => return Ok(body),
                    Ok(_) => return Err(answer.protocol(action, "the answer is larger than 1 MiB")),
                    Err(failure) => Trouble::of(failure, action),
                },
                Ok(answer) => answer.refusal(action, note, &self.options().timing).await,
                Err(failure) => Trouble::of(failure, action),
            };
            patience.pause(trouble).await?;
        }
    }
}

/// Returns the request for a token, and the header that goes with it.
fn token_request(
    realm: &Url,
    bearer: &Bearer,
    scopes: &Scopes,
    credential: Option<&Credential>,
    endpoint: &Endpoint,
    action: &str,
) -> Result<(Request, Option<HeaderValue>), Error> {
    if let Some(Credential::Identity(token)) = credential {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", "rbuild");
        form.append_pair("service", bearer.service.as_deref().unwrap_or_default());
        form.append_pair("scope", &scopes.texts().join(" ")).append_pair("refresh_token", token);
        let mut request = Request::new(Method::POST, realm.clone());
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        request.payload = Payload::Bytes(form.finish().into());
        return Ok((request, None));
    }
    let mut url = realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &bearer.service {
            query.append_pair("service", service);
        }
        for scope in scopes.texts() {
            query.append_pair("scope", &scope);
        }
        if let Some(Credential::Basic { username, .. }) = credential {
            query.append_pair("account", username);
        }
    }
    let authorization = match credential {
        Some(Credential::Basic { username, password }) => Some(header(&basic(username, password), endpoint, action)?),
        _ => None,
    };
    Ok((Request::new(Method::GET, url), authorization))
}

fn everything(header: HeaderValue) -> Grant {
    Grant { header, scopes: Scopes::default(), all: true, until: None, serial: 0, withheld: None }
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

/// Returns a header that is never shown.
fn header(text: &str, endpoint: &Endpoint, action: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::Protocol {
        action: action.to_owned(),
        host: endpoint.host(),
        reason: "the token holds bytes that no header may hold".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn withheld_note(endpoint: &Endpoint, realm: &Url) -> String {
    let (registry, realm) = (origin::host_port(&endpoint.base), origin::host_port(realm));
    format!(
        "the credentials of {} were not sent to its token server {realm}, which is another site: \
         allow it with RBUILD_TRUSTED_REALMS={registry}={realm}",
        endpoint.registry
    )
}

fn hint(endpoint: &Endpoint, challenges: &[Challenge], credential: Option<&Credential>) -> String {
    let registry = &endpoint.registry;
    match credential {
        None if challenges.contains(&Challenge::Basic) => format!("not logged in to {registry}"),
        Some(_) if challenges.contains(&Challenge::Basic) => {
            format!("{registry} wants a user name and a password, not a token")
        }
        _ => format!("{registry} asks for a kind of authentication that is not supported"),
    }
}
