//! Registries with mirrors or settings of their own.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rbuild_registry::options::HostCertificates;
use rbuild_registry::origin::api_host;
use rbuild_registry::{Mirror, Options};

use super::Config;

/// A registry's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    /// Registries that are asked first: `host[:port][/path]`.
    pub mirrors: Vec<String>,
    /// Whether it may be spoken to over plain HTTP.
    pub http: bool,
    /// Whether its certificate need not be vouched for.
    pub insecure: bool,
    /// Certificates that vouch for it, beside those of the system.
    pub authorities: Vec<PathBuf>,
    /// Certificates that are shown to it.
    pub pair: Option<KeyPair>,
    /// Directories of `*.crt`, `*.cert` and `*.key` files of its own.
    pub directories: Vec<PathBuf>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Config {
    /// Puts what is said about registries into the options of their client.
    pub fn apply_registries(&self, options: &mut Options) {
        if let Some(concurrency) = self.registry_concurrency {
            options.concurrency = concurrency;
        }
        for (host, registry) in &self.registries {
            if !registry.mirrors.is_empty() {
                let mirrors = registry.mirrors.iter().map(|mirror| self::mirror(mirror)).collect();
                options.hosts.mirrors.insert(host.clone(), mirrors);
            }
            // Settings count for the registry's name and for the host that serves its API.
            let hosts = BTreeSet::from([host.as_str(), api_host(host)]);
            if registry.http || registry.insecure {
                options.hosts.insecure.extend(hosts.iter().map(|host| (*host).to_owned()));
            }
            let client = registry.pair.as_ref().map(|pair| (pair.certificate.clone(), pair.key.clone()));
            let authorities = registry.authorities.clone();
            let certificates = HostCertificates { authorities, client, directories: registry.directories.clone() };
            if certificates != HostCertificates::default() {
                let each = hosts.iter().map(|host| ((*host).to_owned(), certificates.clone()));
                options.host_certificates.extend(each);
            }
        }
    }
}

/// A mirror's path comes before the names of its repositories.
fn mirror(text: &str) -> Mirror {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    let path = path.trim_matches('/');
    // Some write the version of the protocol, which we put there anyway.
    let path = path.strip_prefix("v2/").unwrap_or(if path == "v2" { "" } else { path });
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    Mirror { host: host.to_owned(), prefix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors() {
        for (text, host, prefix) in [
            ("localhost:5000", "localhost:5000", ""),
            ("core.harbor/proxy.docker.io", "core.harbor", "proxy.docker.io/"),
            ("https://m.example/a/b/", "m.example", "a/b/"),
            ("m.example/v2", "m.example", ""),
            ("m.example/v2/x", "m.example", "x/"),
        ] {
            assert_eq!(mirror(text), Mirror { host: host.to_owned(), prefix: prefix.to_owned() }, "{text}");
        }
    }
}
