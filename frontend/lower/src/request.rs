//! What is asked of the frontend besides the Dockerfile.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use rbuild_dockerfile::lint::CheckOptions;
use rbuild_graph::{Definition, pb};
use rbuild_oci::{ImageConfig, Platform};

use crate::bridge::ResolveMode;

/// Everything a build may say to the frontend, for one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The stage to build; none for the last.
    pub target: Option<String>,
    /// The platform to build for; none leaves it to the base image among what can run here.
    pub platform: Option<Platform>,
    /// The platform that the build runs on.
    pub build_platform: Platform,
    /// Whether several platforms are built, so that names tell theirs.
    pub multi_platform: bool,
    /// Values for `ARG`. `SOURCE_DATE_EPOCH`, proxy variables and `BUILDKIT_…` switches come here too.
    pub build_args: BTreeMap<String, String>,
    /// Labels for the resulting image.
    pub labels: BTreeMap<String, String>,
    /// Which steps may not come from the cache.
    pub no_cache: NoCache,
    /// Where images are looked for.
    pub resolve_mode: ResolveMode,
    /// The network of steps that do not say.
    pub network: pb::NetMode,
    /// Additional lines for the hosts file.
    pub add_hosts: Vec<(String, HostAddress)>,
    /// Resource limits of processes.
    pub ulimits: Vec<pb::Ulimit>,
    /// Size of `/dev/shm` in bytes; zero for the default.
    pub shm_size: u64,
    /// Control group below which steps run.
    pub cgroup_parent: Option<String>,
    /// Host name of steps.
    pub hostname: Option<String>,
    /// Limits of each step's control group.
    pub resources: Option<pb::LinuxResources>,
    /// Devices for every step.
    pub devices: Vec<pb::CdiDevice>,
    /// What steps may ask for beyond the sandbox.
    pub allow: BTreeSet<Entitlement>,
    /// The build context.
    pub context: MainContext,
    /// The directory of it that counts, if it is not a directory of the client; none for all.
    pub context_directory: Option<String>,
    /// The time that `SOURCE_DATE_EPOCH=context` means, of a directory that was an archive.
    pub context_time: Option<i64>,
    /// Named contexts: name, or `name::platform`, to `docker-image://…`, `oci-layout://…`, a git or
    /// http address, `local:name`, `input:name` or `target:stage`.
    pub contexts: BTreeMap<String, String>,
    /// Results of other builds that contexts may be, by name.
    pub inputs: BTreeMap<String, Input>,
    /// The session that local contexts belong to, if the host has several.
    pub session: Option<String>,
    /// The sessions of local contexts that have another one, by the name of the directory.
    pub local_sessions: BTreeMap<String, String>,
    /// What tells apart directories that clients call the same, by the name of the named context.
    pub shared_keys: BTreeMap<String, String>,
    /// The name of the Dockerfile, for messages and the source map.
    pub filename: String,
    /// How the Dockerfile was fetched, for the source map.
    pub origin: Option<pb::Definition>,
    /// Whether attestations of contents are asked for.
    pub scan: bool,
    /// Lint configuration that replaces the file's.
    pub check: Option<CheckOptions>,
    /// Whether stages that the target does not need are read too (to lint them).
    pub all_stages: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            target: None,
            platform: None,
            build_platform: Platform::host(),
            multi_platform: false,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            no_cache: NoCache::Off,
            resolve_mode: ResolveMode::Default,
            network: pb::NetMode::Unset,
            add_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size: 0,
            cgroup_parent: None,
            hostname: None,
            resources: None,
            devices: Vec::new(),
            allow: BTreeSet::new(),
            context: MainContext::default(),
            context_directory: None,
            context_time: None,
            contexts: BTreeMap::new(),
            inputs: BTreeMap::new(),
            session: None,
            local_sessions: BTreeMap::new(),
            shared_keys: BTreeMap::new(),
            filename: "Dockerfile".to_owned(),
            origin: None,
            scan: false,
            check: None,
            all_stages: false,
        }
    }
}

impl Request {
    /// Returns whether names of steps tell their platform.
    pub(crate) fn names_platforms(&self) -> bool {
        let asked = self.build_args.get("BUILDKIT_MULTI_PLATFORM").map(String::as_str);
        asked.and_then(rbuild_dockerfile::literal::boolean).unwrap_or(self.multi_platform)
    }

    /// Returns the session that has the directory called `name`.
    pub(crate) fn session_of(&self, name: &str) -> Option<&str> {
        self.local_sessions.get(name).or(self.session.as_ref()).map(String::as_str)
    }
}

/// The result of another build.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Input {
    /// Its graph.
    pub definition: Definition,
    /// The configuration of the image that it is the file system of, if it is one's.
    pub config: Option<ImageConfig>,
}

/// Which steps may not come from the cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NoCache {
    /// All steps may.
    #[default]
    Off,
    /// None may.
    All,
    /// Those of these stages may not.
    Stages(Vec<String>),
}

impl NoCache {
    /// Returns whether the steps of the stage called `name` may not come from the cache.
    pub(crate) fn covers(&self, name: &str) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::Stages(stages) => stages.iter().any(|stage| stage.eq_ignore_ascii_case(name)),
        }
    }
}

/// Something beyond the sandbox that must be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entitlement {
    /// The host's network.
    NetworkHost,
    /// All privileges.
    SecurityInsecure,
}

impl Entitlement {
    /// Returns the name that `--allow` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetworkHost => "network.host",
            Self::SecurityInsecure => "security.insecure",
        }
    }
}

/// What the name of a host means in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostAddress {
    /// This address.
    Ip(IpAddr),
    /// Where the host itself is reached from the step's network.
    Gateway,
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Gateway => f.write_str("host-gateway"),
        }
    }
}

/// Where the build context comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MainContext {
    /// A directory of the client.
    Local {
        /// Its name, normally `context`.
        name: String,
        /// The lines of its ignore file.
        exclude: Vec<String>,
    },
    /// A git repository, with ref and subdirectory as in `https://…​.git#ref:directory`.
    Git(String),
    /// An archive behind an address; it is unpacked.
    Archive(String),
    /// A single file behind an address, which is then the Dockerfile.
    File(String),
    /// The result of another build: one of the inputs, by name.
    Input(String),
    /// Nothing.
    Empty,
}

impl Default for MainContext {
    fn default() -> Self {
        Self::Local { name: "context".to_owned(), exclude: Vec::new() }
    }
}
