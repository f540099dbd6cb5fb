//! What a run is asked to do: everything `rbuild run` may say, parsed.

use std::path::PathBuf;

/// When the image is looked up at its registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pull {
    /// Always.
    Always,
    /// If the store lacks it.
    #[default]
    Missing,
    /// Never.
    Never,
}

/// Something mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Volume {
    /// A directory or file of the host.
    Bind {
        /// The host's path, absolute.
        source: PathBuf,
        /// The path in the container.
        target: PathBuf,
        /// Whether it cannot be written.
        read_only: bool,
        /// Whether a missing source is made as a directory (`-v` does, `--mount` does not).
        create: bool,
    },
    /// Memory.
    Tmpfs {
        /// The path in the container.
        target: PathBuf,
        /// Bytes; none for half of the memory.
        size: Option<u64>,
        /// Permission bits.
        mode: Option<u32>,
        /// Whether it cannot be written.
        read_only: bool,
        /// Whether programs on it can be executed.
        exec: bool,
    },
}

/// The network of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// An own network with a way out.
    #[default]
    Bridge,
    /// The host's.
    Host,
    /// None but the loopback.
    None,
}

/// A limit of `--ulimit`; -1 is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// The limit's name, such as `nofile`.
    pub name: String,
    /// The soft limit.
    pub soft: i64,
    /// The hard limit.
    pub hard: i64,
}

/// What `--security-opt` may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// Whether programs may gain no privileges by executing others.
    pub no_new_privileges: bool,
    /// Whether system calls are not filtered.
    pub seccomp_unconfined: bool,
    /// Whether masked and read-only paths of /proc and /sys are open.
    pub unmask_all: bool,
}

/// Everything a run is asked to do.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// The image: a name, an id or the beginning of an id.
    pub image: String,
    /// Arguments that replace the image's command.
    pub command: Vec<String>,
    /// The entry point that replaces the image's; empty clears it.
    pub entrypoint: Option<String>,
    /// Environment, later entries winning.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub workdir: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// The host name.
    pub hostname: Option<String>,
    /// Whether standard input is handed on.
    pub interactive: bool,
    /// Whether the container gets a terminal.
    pub tty: bool,
    /// Mounts.
    pub volumes: Vec<Volume>,
    /// The network.
    pub network: Network,
    /// Lines for `/etc/hosts`.
    pub add_hosts: Vec<(String, String)>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap in bytes, -1 for no limit of swap.
    pub memory_swap: Option<i64>,
    /// CPU time, in CPUs.
    pub cpus: Option<f64>,
    /// Processes; -1 for no limit.
    pub pids: Option<i64>,
    /// Capabilities to add; `ALL` for all.
    pub cap_add: Vec<String>,
    /// Capabilities to drop; `ALL` for all.
    pub cap_drop: Vec<String>,
    /// What `--security-opt` says.
    pub security: Security,
    /// Whether the root file system cannot be written.
    pub read_only: bool,
    /// Resource limits of processes.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// When the image is looked up at its registry.
    pub pull: Pull,
    /// The platform wanted of an image with several.
    pub platform: Option<rbuild_oci::Platform>,
}
