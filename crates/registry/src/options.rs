//! What a caller decides about a client: credentials, certificates, mirrors, proxies, patience.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::credential::{CredentialStore, NoCredentials};

/// The settings of a [`Client`](crate::Client).
#[derive(Clone)]
pub struct Options {
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// Where credentials are looked up.
    pub credentials: Arc<dyn CredentialStore>,
    /// Directories that hold a folder `host[:port]` with `*.crt`, `*.cert` and `*.key` files, as
    /// docker's `certs.d`; all of them are read.
    pub certificate_directories: Vec<PathBuf>,
    /// Certificates of single hosts, by `host[:port]`, beside those of the directories.
    pub host_certificates: BTreeMap<String, HostCertificates>,
    /// Files of PEM certificates to trust beside the built-in list; missing ones are skipped.
    pub ca_bundles: Vec<PathBuf>,
    /// Mirrors and exceptions, registry by registry.
    pub hosts: Hosts,
    /// Proxies to go through.
    pub proxies: Proxies,
    /// How many blobs are moved at once to and from one registry.
    pub concurrency: usize,
    /// How long to wait, how often to try.
    pub timing: Timing,
}

impl Default for Options {
    fn default() -> Self {
        let bundles = [
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
            "/etc/ssl/ca-bundle.pem",
            "/etc/ssl/cert.pem",
        ];
        Self {
            user_agent: concat!("rbuild/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials: Arc::new(NoCredentials),
            certificate_directories: Vec::new(),
            host_certificates: BTreeMap::new(),
            ca_bundles: bundles.iter().map(PathBuf::from).collect(),
            hosts: Hosts::default(),
            proxies: Proxies::default(),
            concurrency: 4,
            timing: Timing::default(),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("user_agent", &self.user_agent)
            .field("certificate_directories", &self.certificate_directories)
            .field("host_certificates", &self.host_certificates)
            .field("ca_bundles", &self.ca_bundles)
            .field("hosts", &self.hosts)
            .field("concurrency", &self.concurrency)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

/// Certificates of one host; all files are PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostCertificates {
    /// Certificates that vouch for the host, beside the built-in list.
    pub authorities: Vec<PathBuf>,
    /// Our certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Directories of `*.crt`, `*.cert` and `*.key` files; missing ones are skipped.
    pub directories: Vec<PathBuf>,
}

/// Mirrors and exceptions; registries are named as in references (`docker.io`, `localhost:5000`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Mirrors of a registry, tried in order before the registry itself, for pulls only.
    pub mirrors: BTreeMap<String, Vec<Mirror>>,
    /// Hosts that may be spoken to over plain HTTP or with a certificate nobody vouches for.
    pub insecure: BTreeSet<String>,
    /// Token servers on another site that may see a registry's credentials.
    pub trusted_realms: Vec<TrustedRealm>,
}

/// A mirror: a registry that holds the same repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Its `host[:port]`.
    pub host: String,
    /// Put before every repository name, such as `docker-hub/`; empty for none.
    pub prefix: String,
}

/// A pairing of a registry and a token server on another site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedRealm {
    /// The registry's `host[:port]`.
    pub registry: String,
    /// The token server's `host[:port]`.
    pub realm: String,
}

/// Proxies to go through, in the spelling of the usual environment variables.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http:` addresses.
    pub http: Option<String>,
    /// For `https:` addresses.
    pub https: Option<String>,
    /// Hosts that are reached directly, separated by commas.
    pub no_proxy: Option<String>,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A proxy's address may hold a password.
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// How long to wait, how often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time to find, reach and greet a server.
    pub connect: Duration,
    /// Time in which at least one byte must come or go; there is no limit on the whole.
    pub idle: Duration,
    /// Wait before the second attempt; doubled for each further one.
    pub first_wait: Duration,
    /// Longest wait between attempts that we choose ourselves.
    pub longest_wait: Duration,
    /// Longest wait that a registry may ask for with `Retry-After`.
    pub longest_retry_after: Duration,
    /// Attempts in a row that may fail before we give up.
    pub attempts: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(16),
            longest_retry_after: Duration::from_secs(60),
            attempts: 4,
        }
    }
}
