//! The TOML of BuildKit's daemon.
//!
//! Keys that say how BuildKit does something, such as the program that runs its containers, are refused if they have
//! a value, for we would do otherwise. Those of its worker on containerd are read for their names only: such a worker
//! is not there, and is refused if it is asked for.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rbuild_oci::Platform;
use toml::de::DeTable;

use super::reader::{ConfigError, Document, Section};
use super::space::duration;
use super::{
    Config, Entitlement, Frontends, Gc, GcPolicy, HistoryLimits, KeyPair, NetworkMode, Registry, Snapshotter, Space,
    Worker,
};
use crate::log::Level;

/// Largest file that is read.
const MOST_BYTES: u64 = 1 << 20;

const NO_CNI: &str = "the networks of steps are made without plugins";
const OWN_EXECUTOR: &str = "steps are run by rbuild itself";

impl Config {
    /// Reads a file; nothing is said by one that is not there.
    ///
    /// # Errors
    /// If it cannot be read, or says what the daemon cannot do.
    pub fn load(path: &Path) -> Result<Option<Self>, ConfigError> {
        let failed = |error: io::Error| ConfigError { path: path.to_owned(), line: None, message: error.to_string() };
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(failed)?,
        };
        if !metadata.is_file() || metadata.len() > MOST_BYTES {
            return Err(failed(io::Error::other("not a regular file of at most 1 MiB")));
        }
        Self::parse(path, &fs::read_to_string(path).map_err(failed)?).map(Some)
    }

    /// Reads the text of the file called `path`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let document = Document { path, text };
        let table = DeTable::parse(text)
            .map_err(|error| document.error(error.span().unwrap_or_default(), error.message().to_owned()))?;
        let mut root = Section::root(document, table.get_ref());
        let mut config = Self { root: root.string("root")?.map(PathBuf::from), ..Self::default() };
        config.entitlements = entitlements(&mut root)?;
        root.refuse("proxyNetwork", "steps are not forced through a proxy")?;
        config.provenance_env_dir = root.string("provenanceEnvDir")?.map(PathBuf::from);
        log(&mut root, &mut config)?;
        nested(&mut root, "grpc", |section| grpc(section, &mut config))?;
        // No step is given a socket for traces, so none is opened.
        nested(&mut root, "otel", |section| section.string("socketPath").map(|_| ()))?;
        nested(&mut root, "cdi", |section| cdi(section, &mut config))?;
        nested(&mut root, "worker", |section| workers(section, &mut config))?;
        if let Some(section) = root.section("registry")? {
            registries(&section, &mut config)?;
        }
        root.refuse("dns", "steps resolve names as the host does")?;
        nested(&mut root, "history", |section| history(section, &mut config.history))?;
        nested(&mut root, "frontend", |section| frontends(section, &mut config.frontends))?;
        nested(&mut root, "system", |section| system(section, &mut config))?;
        root.refuse("cache", "caches of GitHub's actions are not signed")?;
        root.finish()?;
        Ok(config)
    }
}

fn nested<'a>(
    section: &mut Section<'a>,
    key: &'static str,
    read: impl FnOnce(&mut Section<'a>) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let Some(mut inner) = section.section(key)? else { return Ok(()) };
    read(&mut inner)?;
    inner.finish()
}

fn entitlements(root: &mut Section<'_>) -> Result<BTreeSet<Entitlement>, ConfigError> {
    let key = "insecure-entitlements";
    let names = root.strings(key)?;
    let known = |name: &String| {
        let unknown = || root.wrong(key, format!("`{key}`: no entitlement `{name}`"));
        Entitlement::parse(name).ok_or_else(unknown)
    };
    names.iter().map(known).collect()
}

fn log(root: &mut Section<'_>, config: &mut Config) -> Result<(), ConfigError> {
    let debug = root.boolean("debug")?.unwrap_or(false);
    let trace = root.boolean("trace")?.unwrap_or(false);
    if debug || trace {
        config.log.level = Level::Debug;
    }
    nested(root, "log", |section| {
        let format = |text: &str| match text {
            "json" => Ok(true),
            "text" | "" => Ok(false),
            other => Err(format!("no format `{other}`: expected text or json")),
        };
        config.log.json = section.parsed("format", format)?.unwrap_or(false);
        let level = |text: &str| Level::parse(text).ok_or_else(|| format!("no level `{text}`"));
        config.log.level = section.parsed("level", level)?.unwrap_or(config.log.level);
        Ok(())
    })
}

fn grpc(section: &mut Section<'_>, config: &mut Config) -> Result<(), ConfigError> {
    for address in section.strings("address")? {
        config.addresses.push(address.parse().map_err(|error: String| section.wrong("address", error))?);
    }
    section.refuse("debugAddress", "there is no debugging server")?;
    section.refuse("securityDescriptor", "it is for Windows")?;
    config.uid = section.number("uid", 0)?;
    config.gid = section.number("gid", 0)?;
    nested(section, "tls", |section| {
        let mut path = |key| section.string(key).map(|text| text.filter(|text| !text.is_empty()).map(PathBuf::from));
        config.tls.certificate = path("cert")?;
        config.tls.key = path("key")?;
        config.tls.authority = path("ca")?;
        Ok(())
    })
}

fn cdi(section: &mut Section<'_>, config: &mut Config) -> Result<(), ConfigError> {
    config.cdi.disabled = section.boolean("disabled")?.unwrap_or(false);
    config.cdi.spec_dirs = section.strings("specDirs")?.into_iter().map(PathBuf::from).collect();
    section.refuse("autoAllowed", "devices are granted by clients, one by one")
}

fn workers(section: &mut Section<'_>, config: &mut Config) -> Result<(), ConfigError> {
    nested(section, "oci", |section| worker(section, &mut config.worker))?;
    nested(section, "containerd", containerd)
}

fn worker(section: &mut Section<'_>, worker: &mut Worker) -> Result<(), ConfigError> {
    if section.boolean("enabled")? == Some(false) {
        return Err(section.wrong("enabled", "`enabled` of [worker.oci]: there is no other worker than this one"));
    }
    if let Some(labels) = section.section("labels")? {
        worker.labels = labels.named_strings()?.into_iter().collect();
    }
    for text in section.strings("platforms")? {
        let invalid = |error| section.wrong("platforms", format!("`platforms` of [worker.oci]: `{text}`: {error}"));
        worker.platforms.push(text.parse::<Platform>().map_err(invalid)?);
    }
    let snapshotter = |name: &str| match name {
        "" => Ok(Snapshotter::Auto),
        name => Snapshotter::parse(name)
            .ok_or_else(|| format!("no snapshotter `{name}`: expected auto, overlayfs, fuse-overlayfs or native")),
    };
    worker.snapshotter = section.parsed("snapshotter", snapshotter)?.unwrap_or_default();
    worker.rootless = section.boolean("rootless")?;
    worker.network = network(section)?;
    worker.max_parallelism = parallelism(section)?;
    worker.gc = gc(section)?;
    // Steps have processes of their own even where BuildKit needs this to go without.
    section.boolean("noProcessSandbox")?;
    section.refuse("userRemapUnsupported", "ids of steps are not mapped")?;
    section.refuse("binary", OWN_EXECUTOR)?;
    section.refuse("proxySnapshotterPath", OWN_EXECUTOR)?;
    section.refuse("stargzSnapshotter", "layers are not mounted lazily")?;
    section.refuse("defaultCgroupParent", "steps lie in the cgroup of the daemon")?;
    section.refuse("apparmor-profile", "steps have no profile of AppArmor")?;
    section.refuse("selinux", "steps have no labels of SELinux")
}

fn network(section: &mut Section<'_>) -> Result<NetworkMode, ConfigError> {
    let mode = |name: &str| match name {
        "" => Ok(NetworkMode::Auto),
        "cni" => Err(format!("no network `cni`: {NO_CNI}")),
        name => NetworkMode::parse(name).ok_or_else(|| format!("no network `{name}`: expected auto, bridge or host")),
    };
    let mode = section.parsed("networkMode", mode)?.unwrap_or_default();
    for key in ["cniConfigPath", "cniBinaryPath", "cniPoolSize"] {
        section.refuse(key, NO_CNI)?;
    }
    section.refuse("bridgeName", "the bridge has a name of its own")?;
    section.refuse("bridgeSubnet", "the bridge chooses its own subnet")?;
    Ok(mode)
}

fn parallelism(section: &mut Section<'_>) -> Result<Option<usize>, ConfigError> {
    let number = section.number("max-parallelism", 0)?;
    Ok(number.filter(|number| *number > 0).and_then(|number| number.try_into().ok()))
}

fn gc(section: &mut Section<'_>) -> Result<Gc, ConfigError> {
    let old = section.parsed("gckeepstorage", Space::parse)?;
    let mut gc = Gc {
        enabled: section.boolean("gc")?.unwrap_or(true),
        reserved: section.parsed("reservedSpace", Space::parse)?,
        max_used: section.parsed("maxUsedSpace", Space::parse)?,
        min_free: section.parsed("minFreeSpace", Space::parse)?,
        policies: Vec::new(),
    };
    if gc.reserved.is_none() && gc.max_used.is_none() && gc.min_free.is_none() {
        gc.reserved = old;
    }
    for mut section in section.sections("gcpolicy")? {
        gc.policies.push(policy(&mut section)?);
        section.finish()?;
    }
    Ok(gc)
}

fn policy(section: &mut Section<'_>) -> Result<GcPolicy, ConfigError> {
    let old = section.parsed("keepBytes", Space::parse)?;
    let filters = section.strings("filters")?;
    for filter in &filters {
        rbuild_store::Filter::parse_all(filter).map_err(|error| section.wrong("filters", error.to_string()))?;
    }
    Ok(GcPolicy {
        all: section.boolean("all")?.unwrap_or(false),
        filters,
        keep_duration: section.parsed("keepDuration", duration)?.unwrap_or_default(),
        reserved: section.parsed("reservedSpace", Space::parse)?.or(old),
        max_used: section.parsed("maxUsedSpace", Space::parse)?,
        min_free: section.parsed("minFreeSpace", Space::parse)?,
    })
}

/// Keys about a worker that is not there.
fn containerd(section: &mut Section<'_>) -> Result<(), ConfigError> {
    if section.boolean("enabled")? == Some(true) {
        return Err(section.wrong("enabled", "`enabled` of [worker.containerd]: rbuild does not run on containerd"));
    }
    for key in [
        "address",
        "labels",
        "platforms",
        "namespace",
        "runtime",
        "gc",
        "gckeepstorage",
        "reservedSpace",
        "maxUsedSpace",
        "minFreeSpace",
        "gcpolicy",
        "networkMode",
        "cniConfigPath",
        "cniBinaryPath",
        "cniPoolSize",
        "bridgeName",
        "bridgeSubnet",
        "snapshotter",
        "apparmor-profile",
        "selinux",
        "max-parallelism",
        "defaultCgroupParent",
        "rootless",
    ] {
        section.ignore(key);
    }
    Ok(())
}

fn registries(section: &Section<'_>, config: &mut Config) -> Result<(), ConfigError> {
    for (host, mut section) in section.named_sections()? {
        let registry = registry(&mut section)?;
        section.finish()?;
        config.registries.insert(host, registry);
    }
    Ok(())
}

fn registry(section: &mut Section<'_>) -> Result<Registry, ConfigError> {
    let paths = |texts: Vec<String>| texts.into_iter().map(PathBuf::from).collect();
    let mut registry = Registry {
        mirrors: section.strings("mirrors")?,
        http: section.boolean("http")?.unwrap_or(false),
        insecure: section.boolean("insecure")?.unwrap_or(false),
        authorities: paths(section.strings("ca")?),
        pair: None,
        directories: paths(section.strings("tlsconfigdir")?),
    };
    for mut pair in section.sections("keypair")? {
        let (Some(certificate), Some(key)) = (pair.string("cert")?, pair.string("key")?) else {
            return Err(section.wrong("keypair", "a keypair of a registry needs both `cert` and `key`"));
        };
        pair.finish()?;
        let pair = KeyPair { certificate: certificate.into(), key: key.into() };
        if registry.pair.replace(pair).is_some() {
            return Err(section.wrong("keypair", "a registry is shown one certificate at most"));
        }
    }
    Ok(registry)
}

fn history(section: &mut Section<'_>, history: &mut HistoryLimits) -> Result<(), ConfigError> {
    // Once the section is there, its keys have no values of their own.
    history.max_age = section.parsed("maxAge", duration)?.unwrap_or_default();
    history.max_entries = section.number("maxEntries", 0)?.map_or(0, |number| number as usize);
    Ok(())
}

fn frontends(section: &mut Section<'_>, frontends: &mut Frontends) -> Result<(), ConfigError> {
    nested(section, "dockerfile.v0", |section| {
        frontends.dockerfile = section.boolean("enabled")?.unwrap_or(true);
        Ok(())
    })?;
    nested(section, "gateway.v0", |section| {
        frontends.gateway = section.boolean("enabled")?.unwrap_or(true);
        frontends.gateway_repositories = section.strings("allowedRepositories")?;
        Ok(())
    })
}

fn system(section: &mut Section<'_>, config: &mut Config) -> Result<(), ConfigError> {
    // Platforms are looked at whenever they are asked for, so none is older than any age.
    section.parsed("platformsCacheMaxAge", duration)?;
    config.registry_concurrency = section.number("maxRegistryConcurrency", 1)?.map(|number| number as usize);
    Ok(())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
