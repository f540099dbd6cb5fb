//! What an administrator decides about the daemon: the values of its flags and of its file, checked.
//!
//! [`Config::load`] reads the TOML of BuildKit's daemon. Of each key there it is decided whether it is honoured, asks
//! for what is so anyway, or is refused by its name and line; see [`file`].

mod environment;
pub mod file;
pub mod gc;
mod reader;
mod registry;
pub mod space;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use rbuild_oci::{Platform, Reference};

use crate::address::Address;
use crate::listen::TlsFiles;
use crate::log::Level;

pub use environment::environment;
pub use gc::{Gc, GcPolicy};
pub use reader::ConfigError;
pub use registry::{KeyPair, Registry};
pub use space::Space;

/// What an administrator decides about the daemon.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// The directory of the store.
    pub root: Option<PathBuf>,
    /// Where the daemon listens; empty for its usual place.
    pub addresses: Vec<Address>,
    /// Owner of unix sockets.
    pub uid: Option<u32>,
    /// Group of unix sockets.
    pub gid: Option<u32>,
    /// Certificates of ports.
    pub tls: TlsPaths,
    /// What is logged, and how.
    pub log: LogConfig,
    /// What clients may be granted if they ask for it.
    pub entitlements: BTreeSet<Entitlement>,
    /// Registries with mirrors or settings of their own.
    pub registries: BTreeMap<String, Registry>,
    /// How steps run, and what the daemon says of itself.
    pub worker: Worker,
    /// What is kept of finished builds.
    pub history: HistoryLimits,
    /// Where JSON documents lie that are added to the provenance of builds; none for the usual place.
    pub provenance_env_dir: Option<PathBuf>,
    /// Devices.
    pub cdi: Cdi,
    /// Frontends.
    pub frontends: Frontends,
    /// How many blobs are moved at once to and from one registry.
    pub registry_concurrency: Option<usize>,
}

impl Config {
    /// Returns what clients may be granted. Who described devices on this machine has said that steps may have them,
    /// unless devices are disabled as a whole.
    pub fn grantable(&self) -> BTreeSet<Entitlement> {
        let mut all = self.entitlements.clone();
        match self.cdi.disabled {
            true => all.remove(&Entitlement::Device),
            false => all.insert(Entitlement::Device),
        };
        all
    }
}

/// Certificates as far as they are named; see [`TlsPaths::complete`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsPaths {
    /// The daemon's certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Who vouches for clients.
    pub authority: Option<PathBuf>,
}

impl TlsPaths {
    /// Returns the files if there are any.
    ///
    /// # Errors
    /// If some of them are missing.
    pub fn complete(&self) -> Result<Option<TlsFiles>, String> {
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let (certificate, key, authority) = (certificate.clone(), key.clone(), self.authority.clone());
                Ok(Some(TlsFiles { certificate, key, authority }))
            }
            (None, None) if self.authority.is_none() => Ok(None),
            _ => Err("TLS needs a certificate and its key: --tlscert and --tlskey".to_owned()),
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The least important messages that are shown.
    pub level: Level,
    /// Whether messages are JSON documents, one a line.
    pub json: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: Level::Info, json: false }
    }
}

/// A right that steps do not have by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entitlement {
    /// `network.host`: the network of the host.
    NetworkHost,
    /// `security.insecure`: all capabilities and devices.
    SecurityInsecure,
    /// `device`: devices that are described for the Container Device Interface.
    Device,
}

impl Entitlement {
    /// Returns the entitlement of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::NetworkHost, Self::SecurityInsecure, Self::Device].into_iter().find(|known| known.as_str() == name)
    }

    /// Returns the name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NetworkHost => "network.host",
            Self::SecurityInsecure => "security.insecure",
            Self::Device => "device",
        }
    }
}

/// How steps run, and what the daemon says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Worker {
    /// Labels that clients are told.
    pub labels: BTreeMap<String, String>,
    /// Platforms that clients are told, the preferred one first; empty for what this machine can run.
    pub platforms: Vec<Platform>,
    /// How writable roots of steps are made.
    pub snapshotter: Snapshotter,
    /// The network of steps that ask for none in particular.
    pub network: NetworkMode,
    /// How many steps run at once.
    pub max_parallelism: Option<usize>,
    /// What is given up when.
    pub gc: Gc,
    /// Whether the file says that the daemon has to run without the rights of root (`Some(true)`).
    pub rootless: Option<bool>,
}

/// How writable roots of steps are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Snapshotter {
    /// The best way there is here.
    #[default]
    Auto,
    /// By the kernel's overlay file system.
    Overlay,
    /// By fuse-overlayfs.
    FuseOverlay,
    /// By copies.
    Native,
}

impl Snapshotter {
    /// Returns the snapshotter of BuildKit's name, if we have such a one.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "auto" => Self::Auto,
            "overlayfs" => Self::Overlay,
            "fuse-overlayfs" => Self::FuseOverlay,
            "native" => Self::Native,
            _ => return None,
        })
    }
}

/// The network of steps that ask for none in particular.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// A network of its own for each step.
    #[default]
    Auto,
    /// The host's.
    Host,
}

impl NetworkMode {
    /// Returns the network of BuildKit's name, if we have such a one.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "auto" | "bridge" => Self::Auto,
            "host" => Self::Host,
            _ => return None,
        })
    }
}

/// What is kept of finished builds. A record goes when it is beyond both limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLimits {
    /// For how long at least.
    pub max_age: Duration,
    /// How many at least.
    pub max_entries: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(48 * 3600), max_entries: 50 }
    }
}

/// Devices of the Container Device Interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cdi {
    /// Whether there are none.
    pub disabled: bool,
    /// Where they are described; empty for the usual places.
    pub spec_dirs: Vec<PathBuf>,
}

/// Frontends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontends {
    /// Whether clients may ask for `dockerfile.v0`.
    pub dockerfile: bool,
    /// Whether clients may ask for `gateway.v0`.
    pub gateway: bool,
    /// The repositories from which frontends may be run; empty for all.
    pub gateway_repositories: Vec<String>,
}

impl Frontends {
    /// Returns why an image may not be run as a frontend, if it may not.
    pub fn refusal(&self, source: &str) -> Option<String> {
        if !self.gateway {
            return Some("frontends that are images are disabled in the configuration of this daemon".to_owned());
        }
        let name = |text: &str| Reference::parse(text).map_or_else(|_| text.to_owned(), |reference| reference.name());
        let allowed = &self.gateway_repositories;
        let is_allowed = allowed.is_empty() || allowed.iter().any(|repository| name(repository) == name(source));
        (!is_allowed).then(|| format!("'{source}' is not an allowed gateway source"))
    }
}

impl Default for Frontends {
    fn default() -> Self {
        Self { dockerfile: true, gateway: true, gateway_repositories: Vec::new() }
    }
}
