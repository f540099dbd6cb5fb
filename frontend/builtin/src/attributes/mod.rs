//! The attributes of a request, read once into values.
//!
//! What is not known is ignored, as BuildKit does: clients send attributes of newer frontends along. Attributes of
//! cache imports (`cache-imports`, `cache-from`) and provenance are the daemon's.

mod attest;
mod limits;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::literal;
use rbuild_graph::pb;
use rbuild_lower::{Entitlement, NoCache, Request, ResolveMode};
use rbuild_oci::Platform;

pub(crate) use attest::{Scanner, scanner};

use crate::error::BuiltinError;

/// The most platforms that one request may ask for.
const MAX_PLATFORMS: usize = 64;

/// What the attributes say.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a> {
    given: &'a BTreeMap<String, String>,
    /// The platforms asked for, each once; none if it is left open.
    pub(crate) platforms: Vec<Platform>,
    /// Whether the result is one of several platforms, even if it has only one.
    pub(crate) multi_platform: bool,
    /// What makes a bill of materials, if there is to be one.
    pub(crate) scanner: Option<Scanner>,
    /// What is the same for each platform.
    pub(crate) request: Request,
}

impl<'a> Attributes<'a> {
    /// Reads the attributes; `build_platform` is what steps run on.
    pub(crate) fn read(given: &'a BTreeMap<String, String>, build_platform: &Platform) -> Result<Self, BuiltinError> {
        Self::parse(given, build_platform).map_err(BuiltinError::Request)
    }

    fn parse(given: &'a BTreeMap<String, String>, build_platform: &Platform) -> Result<Self, String> {
        refuse_removed(given)?;
        let get = |name: &str| given.get(name).map_or("", String::as_str);
        let asked = platforms(get("platform"))?;
        let several = asked.len() > 1;
        let mut platforms = asked;
        let mut seen = BTreeSet::new();
        platforms.retain(|platform| seen.insert(platform.clone()));
        let build_args = with_prefix(given, "build-arg:");
        let request = Request {
            target: Some(get("target").to_owned()).filter(|target| !target.is_empty()),
            build_platform: build_platform.clone(),
            labels: with_prefix(given, "label:"),
            no_cache: no_cache(given.get("no-cache")),
            resolve_mode: resolve_mode(given)?,
            network: steps::network(get("force-network-mode"))?,
            add_hosts: steps::hosts(get("add-hosts"))
                .map_err(|reason| format!("failed to parse additional hosts: {reason}"))?,
            ulimits: limits::ulimits(get("ulimit")).map_err(|reason| format!("failed to parse ulimit: {reason}"))?,
            shm_size: limits::shm_size(get("shm-size"))
                .map_err(|reason| format!("failed to parse shm size: {reason}"))?,
            resources: limits::resources(given)
                .map_err(|reason| format!("failed to parse resource limits: {reason}"))?,
            cgroup_parent: given.get("cgroup-parent").filter(|parent| !parent.is_empty()).cloned(),
            hostname: given.get("hostname").filter(|name| !name.is_empty()).cloned(),
            // What steps may do beyond the sandbox is checked where their ops are loaded, whoever made them.
            allow: BTreeSet::from([Entitlement::NetworkHost, Entitlement::SecurityInsecure]),
            contexts: with_prefix(given, "context:"),
            local_sessions: with_prefix(given, "local-sessionid:"),
            shared_keys: with_prefix(given, "sharedkey:localdir:"),
            build_args,
            ..Request::default()
        };
        let multi_platform = multi_platform(given, several)?;
        let scanner = attest::scanner(given)?;
        let request = Request { multi_platform, scan: scanner.is_some(), ..request };
        Ok(Self { given, platforms, multi_platform, scanner, request })
    }

    /// Returns an attribute as it was given.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.given.get(name).map(String::as_str)
    }

    /// Returns all attributes as they were given.
    pub(crate) fn all(&self) -> &'a BTreeMap<String, String> {
        self.given
    }
}

/// Refuses what BuildKit once had, with its words.
fn refuse_removed(given: &BTreeMap<String, String>) -> Result<(), String> {
    if given.get("override-copy-image").is_some_and(|value| !value.is_empty()) {
        return Err("support for \"override-copy-image\" was removed in BuildKit 0.11".to_owned());
    }
    let disabled = given.get("build-arg:BUILDKIT_DISABLE_FILEOP").and_then(|value| literal::boolean(value));
    match disabled {
        Some(true) => Err("support for \"BUILDKIT_DISABLE_FILEOP\" build-arg was removed in BuildKit 0.11".to_owned()),
        _ => Ok(()),
    }
}

fn platforms(text: &str) -> Result<Vec<Platform>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.split(',').count() > MAX_PLATFORMS {
        return Err(format!("more than {MAX_PLATFORMS} target platforms are asked for"));
    }
    let parse =
        |text| Platform::parse(text).map_err(|error| format!("failed to parse target platform {text}: {error}"));
    text.split(',').map(parse).collect()
}

fn multi_platform(given: &BTreeMap<String, String>, several: bool) -> Result<bool, String> {
    let names = ["build-arg:BUILDKIT_MULTI_PLATFORM", "multi-platform"];
    let value = names.iter().find_map(|name| given.get(*name).filter(|value| !value.is_empty()));
    let Some(value) = value else { return Ok(several) };
    match literal::boolean(value) {
        None => Err(format!("invalid boolean value for multi-platform: {value}")),
        Some(false) if several => {
            Err("conflicting config: returning multiple target platforms is not allowed".to_owned())
        }
        Some(asked) => Ok(asked),
    }
}

fn no_cache(value: Option<&String>) -> NoCache {
    match value.map(String::as_str) {
        None => NoCache::Off,
        Some("") => NoCache::All,
        Some(stages) => NoCache::Stages(stages.split(',').map(str::to_owned).collect()),
    }
}

/// Returns whether images are asked for anew.
pub(crate) fn resolve_mode(given: &BTreeMap<String, String>) -> Result<ResolveMode, String> {
    match given.get("image-resolve-mode").map_or("", String::as_str) {
        "" | "default" => Ok(ResolveMode::Default),
        "pull" => Ok(ResolveMode::Pull),
        "local" => Ok(ResolveMode::Local),
        other => Err(format!("invalid image-resolve-mode: {other}")),
    }
}

fn with_prefix(given: &BTreeMap<String, String>, prefix: &str) -> BTreeMap<String, String> {
    let from = given.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
    from.map(|(name, value)| (name[prefix.len()..].to_owned(), value.clone())).collect()
}

/// Returns the fields of a line of comma-separated values; none of an empty one.
fn fields(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() { Ok(Vec::new()) } else { rbuild_dockerfile::csv::fields(text) }
}

/// Limits of resources as `pb` has them.
type Resources = pb::LinuxResources;
