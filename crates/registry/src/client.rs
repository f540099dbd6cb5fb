//! The client: settings, connections, tokens and limits shared by all requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rbuild_oci::Reference;
use reqwest::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use crate::auth::Grants;
use crate::call::{self, Endpoint, Trouble};
use crate::failure::Failure;
use crate::origin::{self, api_host, is_loopback};
use crate::tls::HostFiles;
use crate::transport::{Answer, Request, Transport};
use crate::{Error, Options};

/// Most warnings kept.
const MOST_WARNINGS: usize = 20;
/// Time in which a server that speaks TLS says so.
const PROBE: Duration = Duration::from_secs(3);
/// Time for which a mirror that was unreachable is not tried.
const AVOIDANCE: Duration = Duration::from_secs(60);

/// Speaks to registries; cheap to clone, all clones share connections, tokens and limits.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    transport: Transport,
    grants: Grants,
    warnings: Mutex<Warnings>,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

#[derive(Debug, Default)]
struct Warnings {
    seen: Vec<String>,
    taken: usize,
}

/// What is known of one `host[:port]`.
#[derive(Debug)]
struct Host {
    base: tokio::sync::OnceCell<Url>,
    blobs: Arc<Semaphore>,
    /// When it was last found unreachable.
    down: Mutex<Option<Instant>>,
}

impl Client {
    /// Returns a client; nothing is read or connected yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        let broken = |what: &str, reason: &str| Error::Setting { what: what.to_owned(), reason: reason.to_owned() };
        if options.concurrency == 0 {
            return Err(broken("concurrency", "at least one blob must be moved at once"));
        }
        if options.timing.attempts == 0 {
            return Err(broken("attempts", "at least one attempt must be made"));
        }
        let inner = Inner {
            options,
            transport: Transport::new(),
            grants: Grants::default(),
            warnings: Mutex::default(),
            hosts: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns and forgets what registries warned of since the last call: at most 20 texts, each
    /// once, control bytes escaped.
    pub fn take_warnings(&self) -> Vec<String> {
        let mut warnings = lock(&self.inner.warnings);
        let fresh = warnings.seen[warnings.taken..].to_vec();
        warnings.taken = warnings.seen.len();
        fresh
    }

    /// The settings.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.inner.grants
    }

    /// Keeps the texts of `Warning: 299 - "…"` headers.
    pub(crate) fn note_warnings(&self, answer: &Answer) {
        for header in answer.response.headers().get_all("warning") {
            let Some(text) = header.to_str().ok().and_then(|header| header.strip_prefix("299 ")) else { continue };
            let Some((_, text)) = text.split_once('"') else { continue };
            let text = text.trim_end().trim_end_matches('"').replace("\\\"", "\"");
            let line = format!("{}: {}", answer.host(), call::shown(&text));
            let mut warnings = lock(&self.inner.warnings);
            if warnings.seen.len() < MOST_WARNINGS && !warnings.seen.contains(&line) {
                warnings.seen.push(line);
            }
        }
    }

    /// Returns where a reference can be read from, in the order of preference.
    pub(crate) async fn sources(&self, reference: &Reference) -> Vec<Result<Endpoint, Error>> {
        let mut sources = Vec::new();
        for mirror in self.options().hosts.mirrors.get(&reference.registry).into_iter().flatten() {
            let down = *lock(&self.host(&mirror.host).down);
            if down.is_some_and(|at| at.elapsed() < AVOIDANCE) {
                continue;
            }
            let repository = format!("{}{}", mirror.prefix, reference.repository);
            sources.push(self.endpoint(&mirror.host, &repository).await);
        }
        sources.push(self.upstream(reference).await);
        sources
    }

    /// Leaves a host out of the mirrors for a while.
    pub(crate) fn avoid(&self, host: &str) {
        *lock(&self.host(host).down) = Some(Instant::now());
    }

    /// Returns the registry itself, where a reference is written to.
    pub(crate) async fn upstream(&self, reference: &Reference) -> Result<Endpoint, Error> {
        self.endpoint(&reference.registry, &reference.repository).await
    }

    pub(crate) async fn endpoint(&self, registry: &str, repository: &str) -> Result<Endpoint, Error> {
        let base = self.base(api_host(registry)).await?;
        Ok(Endpoint { base, registry: registry.to_owned(), repository: repository.to_owned() })
    }

    /// Waits until another blob may be moved to or from this host.
    pub(crate) async fn turn(&self, endpoint: &Endpoint) -> OwnedSemaphorePermit {
        let blobs = Arc::clone(&self.host(&endpoint.host()).blobs);
        blobs.acquire_owned().await.expect("the semaphore is never closed")
    }

    fn host(&self, host: &str) -> Arc<Host> {
        let mut hosts = lock(&self.inner.hosts);
        let make = || {
            let blobs = Arc::new(Semaphore::new(self.options().concurrency));
            Arc::new(Host { base: tokio::sync::OnceCell::new(), blobs, down: Mutex::default() })
        };
        Arc::clone(hosts.entry(host.to_owned()).or_insert_with(make))
    }

    /// Returns the root address of a host, with the protocol that it speaks.
    async fn base(&self, host: &str) -> Result<Url, Error> {
        self.host(host).base.get_or_try_init(|| self.find_base(host)).await.cloned()
    }

    /// HTTPS, always; but this machine, and hosts called insecure, may turn out to speak plain HTTP.
    async fn find_base(&self, host: &str) -> Result<Url, Error> {
        let root = |scheme: &str| {
            origin::root(scheme, host).ok_or_else(|| Error::Setting {
                what: format!("registry `{}`", host.escape_default()),
                reason: "not a host and port".to_owned(),
            })
        };
        let secure = root("https")?;
        // Whoever keeps certificates for a host expects it to use them.
        let certified = !HostFiles::find(self.options(), host)?.is_empty();
        if certified || !is_loopback(&secure) && !self.options().hosts.insecure.contains(host) {
            return Ok(secure);
        }
        let probe = Request::new(Method::GET, secure.join("/v2/").unwrap_or_else(|_| secure.clone()));
        let probing = self.transport().exchange(self.options(), &probe, None);
        match tokio::time::timeout(PROBE, probing).await {
            Ok(Err(failure @ (Failure::Certificate { .. } | Failure::Setting(_)))) => {
                Err(Trouble::of(failure, &format!("greeting {host}")).error)
            }
            Err(_) | Ok(Err(Failure::Connect { .. } | Failure::Broken { .. } | Failure::Stalled { .. })) => {
                root("http")
            }
            // Any answer came through TLS.
            Ok(_) => Ok(secure),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
