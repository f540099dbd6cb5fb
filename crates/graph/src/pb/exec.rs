//! Messages of the op that runs a process.

/// Runs a process on a root file system and mounts.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecOp {
    /// The process.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// The mounts, the one at `/` among them.
    #[prost(message, repeated, tag = "2")]
    pub mounts: Vec<Mount>,
    /// The network it sees.
    #[prost(enumeration = "NetMode", tag = "3")]
    pub network: i32,
    /// Its privileges.
    #[prost(enumeration = "SecurityMode", tag = "4")]
    pub security: i32,
    /// Secrets handed over as environment variables.
    #[prost(message, repeated, tag = "5")]
    pub secretenv: Vec<SecretEnv>,
    /// Devices by their CDI names.
    #[prost(message, repeated, tag = "6")]
    pub cdi_devices: Vec<CdiDevice>,
}

/// The process of an [`ExecOp`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Meta {
    /// Program and arguments.
    #[prost(string, repeated, tag = "1")]
    pub args: Vec<String>,
    /// Environment, `NAME=value`.
    #[prost(string, repeated, tag = "2")]
    pub env: Vec<String>,
    /// Working directory.
    #[prost(string, tag = "3")]
    pub cwd: String,
    /// `user[:group]`, names or ids.
    #[prost(string, tag = "4")]
    pub user: String,
    /// Proxy settings; not part of a cache key.
    #[prost(message, optional, tag = "5")]
    pub proxy_env: Option<ProxyEnv>,
    /// Additional lines of the hosts file.
    #[prost(message, repeated, tag = "6")]
    pub extra_hosts: Vec<HostIp>,
    /// Host name; empty for the default.
    #[prost(string, tag = "7")]
    pub hostname: String,
    /// Resource limits of the process.
    #[prost(message, repeated, tag = "9")]
    pub ulimit: Vec<Ulimit>,
    /// Control group to run below.
    #[prost(string, tag = "10")]
    pub cgroup_parent: String,
    /// Whether directories made for mounts are removed with their parents.
    #[prost(bool, tag = "11")]
    pub remove_mount_stubs_recursive: bool,
    /// Exit codes that count as success; empty for zero only.
    #[prost(int32, repeated, tag = "12")]
    pub valid_exit_codes: Vec<i32>,
}

/// Proxy settings.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProxyEnv {
    /// Proxy for http.
    #[prost(string, tag = "1")]
    pub http_proxy: String,
    /// Proxy for https.
    #[prost(string, tag = "2")]
    pub https_proxy: String,
    /// Proxy for ftp.
    #[prost(string, tag = "3")]
    pub ftp_proxy: String,
    /// Hosts to reach without a proxy.
    #[prost(string, tag = "4")]
    pub no_proxy: String,
    /// Proxy for everything else.
    #[prost(string, tag = "5")]
    pub all_proxy: String,
}

/// A line of the hosts file.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HostIp {
    /// Host name.
    #[prost(string, tag = "1")]
    pub host: String,
    /// Address.
    #[prost(string, tag = "2")]
    pub ip: String,
}

/// A resource limit of the process.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Ulimit {
    /// Name, such as `nofile`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Soft limit.
    #[prost(int64, tag = "2")]
    pub soft: i64,
    /// Hard limit.
    #[prost(int64, tag = "3")]
    pub hard: i64,
}

/// The network a process sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum NetMode {
    /// Its own network with a way out.
    Unset = 0,
    /// The host's network.
    Host = 1,
    /// No network.
    None = 2,
}

/// The privileges of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SecurityMode {
    /// The default profile.
    Sandbox = 0,
    /// All privileges.
    Insecure = 1,
}

/// A secret handed over as an environment variable.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SecretEnv {
    /// The secret's name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The variable's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Whether the step runs without it if it is missing.
    #[prost(bool, tag = "3")]
    pub optional: bool,
}

/// A device by its CDI name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CdiDevice {
    /// Qualified name, `vendor/class=device`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Whether the step runs without it if it is missing.
    #[prost(bool, tag = "2")]
    pub optional: bool,
}

/// A mount of an [`ExecOp`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mount {
    /// Index into the op's inputs, or [`EMPTY`](super::EMPTY).
    #[prost(int64, tag = "1")]
    pub input: i64,
    /// Path inside the input that is mounted.
    #[prost(string, tag = "2")]
    pub selector: String,
    /// Where it is mounted.
    #[prost(string, tag = "3")]
    pub dest: String,
    /// The output its changed content becomes, or [`SKIP_OUTPUT`](super::SKIP_OUTPUT). Of meaning
    /// for bind mounts only: BuildKit's clients leave zero in secret and ssh mounts.
    #[prost(int64, tag = "4")]
    pub output: i64,
    /// Whether it can be written.
    #[prost(bool, tag = "5")]
    pub readonly: bool,
    /// What kind of mount it is.
    #[prost(enumeration = "MountType", tag = "6")]
    pub mount_type: i32,
    /// Options of a tmpfs.
    #[prost(message, optional, tag = "19")]
    pub tmpfs_opt: Option<TmpfsOpt>,
    /// Options of a cache mount.
    #[prost(message, optional, tag = "20")]
    pub cache_opt: Option<CacheOpt>,
    /// Options of a secret.
    #[prost(message, optional, tag = "21")]
    pub secret_opt: Option<SecretOpt>,
    /// Options of an ssh agent's socket.
    #[prost(message, optional, tag = "22")]
    pub ssh_opt: Option<SshOpt>,
    /// A result known to the worker, instead of an input.
    #[prost(string, tag = "23")]
    pub result_id: String,
    /// Whether the content takes part in the cache key.
    #[prost(enumeration = "MountContentCache", tag = "24")]
    pub content_cache: i32,
}

/// What kind of mount it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MountType {
    /// Another file system.
    Bind = 0,
    /// A secret as a file.
    Secret = 1,
    /// The socket of an ssh agent.
    Ssh = 2,
    /// A directory kept from build to build.
    Cache = 3,
    /// Memory.
    Tmpfs = 4,
}

/// Whether a mount's content takes part in the cache key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MountContentCache {
    /// If the mount cannot change it.
    Default = 0,
    /// Yes.
    On = 1,
    /// No.
    Off = 2,
}

/// Options of a tmpfs.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TmpfsOpt {
    /// Most bytes it may hold; zero for the kernel's default.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// Options of a cache mount.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CacheOpt {
    /// The cache's name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What happens if two steps want it at once.
    #[prost(enumeration = "CacheSharing", tag = "2")]
    pub sharing: i32,
}

/// What happens if two steps want a cache mount at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CacheSharing {
    /// Both get it.
    Shared = 0,
    /// The second gets another one.
    Private = 1,
    /// The second waits.
    Locked = 2,
}

/// Options of a secret.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SecretOpt {
    /// The secret's name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Owner of the file.
    #[prost(uint32, tag = "2")]
    pub uid: u32,
    /// Group of the file.
    #[prost(uint32, tag = "3")]
    pub gid: u32,
    /// Mode of the file.
    #[prost(uint32, tag = "4")]
    pub mode: u32,
    /// Whether the step runs without it if it is missing.
    #[prost(bool, tag = "5")]
    pub optional: bool,
}

/// Options of an ssh agent's socket.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SshOpt {
    /// The agent's name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Owner of the socket.
    #[prost(uint32, tag = "2")]
    pub uid: u32,
    /// Group of the socket.
    #[prost(uint32, tag = "3")]
    pub gid: u32,
    /// Mode of the socket.
    #[prost(uint32, tag = "4")]
    pub mode: u32,
    /// Whether the step runs without it if it is missing.
    #[prost(bool, tag = "5")]
    pub optional: bool,
}
