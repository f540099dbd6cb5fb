//! What a build is asked to do: everything the command line (or a daemon's client) may say, parsed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_export::OutputSpec;
use rbuild_oci::{Platform, Reference};
use rbuild_ops::DeviceGrants;
use rbuild_remote::CacheSpec;

/// Where the build context comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory of this machine, read in place.
    Directory(PathBuf),
    /// A git repository: `https://…​.git[#ref[:subdir]]` and the other forms git knows.
    Git(String),
    /// A file behind http or https: an archive, or the Dockerfile itself.
    Http(String),
    /// Standard input: an archive, or the Dockerfile itself.
    Stdin,
}

/// Where the Dockerfile comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// `Dockerfile` (or `dockerfile`) at the root of the context.
    Default,
    /// A file: of this machine if the context is a directory, else of the context.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

/// Which steps may not come from the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NoCache {
    /// All steps may.
    #[default]
    Off,
    /// None may.
    All,
    /// Those of these stages may not.
    Stages(Vec<String>),
}

/// How a secret gets into the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The content of a file.
    File(PathBuf),
    /// The value itself, read from the environment by the door.
    Value(Vec<u8>),
}

/// An agent or keys offered to `RUN --mount=type=ssh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshSource {
    /// The id that mounts name.
    pub id: String,
    /// The agent's socket.
    pub socket: PathBuf,
}

/// A limit of `--ulimit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// The limit's name, such as `nofile`.
    pub name: String,
    /// The soft limit; -1 for none.
    pub soft: i64,
    /// The hard limit; -1 for none.
    pub hard: i64,
}

/// Limits of each step's cgroup.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap in bytes; -1 for no limit of swap.
    pub memory_swap: Option<i64>,
    /// CPU time, in CPUs.
    pub cpus: Option<f64>,
    /// Relative weight.
    pub cpu_shares: Option<u64>,
    /// Microseconds of a period; instead of `cpus`.
    pub cpu_period: Option<u64>,
    /// Microseconds of CPU time in each period; instead of `cpus`.
    pub cpu_quota: Option<i64>,
    /// CPUs to run on.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use.
    pub cpuset_mems: Option<String>,
}

/// The network of the steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// An own network with a way out.
    #[default]
    Default,
    /// The host's.
    Host,
    /// None but the loopback.
    None,
}

/// Everything a build is asked to do.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Where the build context comes from.
    pub context: ContextSource,
    /// Where the Dockerfile comes from.
    pub dockerfile: DockerfileSource,
    /// Names of the image.
    pub tags: Vec<Reference>,
    /// The stage to build; none for the last.
    pub target: Option<String>,
    /// `--build-arg`s; a value that the environment lacks stays unset.
    pub build_args: BTreeMap<String, String>,
    /// `--label`s.
    pub labels: BTreeMap<String, String>,
    /// Which steps may not come from the cache.
    pub no_cache: NoCache,
    /// Whether base images are always looked up at their registry.
    pub pull: bool,
    /// Target platforms; empty for this machine's.
    pub platforms: Vec<Platform>,
    /// Where the result goes; empty for the local store.
    pub outputs: Vec<OutputSpec>,
    /// Caches to look into.
    pub cache_from: Vec<CacheSpec>,
    /// Caches to write.
    pub cache_to: Vec<CacheSpec>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// ssh agents.
    pub ssh: Vec<SshSource>,
    /// Named contexts, as given: a path, `docker-image://…`, `oci-layout://…`, a URL.
    pub build_contexts: BTreeMap<String, String>,
    /// The network of steps that do not say.
    pub network: NetworkMode,
    /// Lines for `/etc/hosts`: name and address (or `host-gateway`).
    pub add_hosts: Vec<(String, String)>,
    /// Resource limits of processes.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// The cgroup below which steps run.
    pub cgroup_parent: Option<String>,
    /// Limits of each step's cgroup.
    pub resources: Resources,
    /// Entitlements granted: `network.host`, `security.insecure`.
    pub allow: Vec<String>,
    /// Devices granted to steps.
    pub devices: DeviceGrants,
    /// Directories with CDI descriptions of devices; none is the usual places.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// `SOURCE_DATE_EPOCH` of the caller's environment, which becomes a build argument.
    pub source_date_epoch: Option<String>,
    /// Whether errors are rendered with colours.
    pub color: bool,
}

impl BuildRequest {
    /// Returns the request to build what is in `context`, everything else left open.
    pub fn new(context: ContextSource) -> Self {
        Self {
            context,
            dockerfile: DockerfileSource::Default,
            tags: Vec::new(),
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            no_cache: NoCache::Off,
            pull: false,
            platforms: Vec::new(),
            outputs: Vec::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            secrets: BTreeMap::new(),
            ssh: Vec::new(),
            build_contexts: BTreeMap::new(),
            network: NetworkMode::Default,
            add_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size: None,
            cgroup_parent: None,
            resources: Resources::default(),
            allow: Vec::new(),
            devices: DeviceGrants::default(),
            cdi_spec_dirs: Vec::new(),
            source_date_epoch: None,
            color: false,
        }
    }
}
