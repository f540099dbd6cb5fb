//! What to run and in which box: plain values, nothing here touches the kernel.
//!
//! The caller resolves everything it is responsible for (sources of mounts under their own roots,
//! the network namespace, secrets) and hands descriptors over beside the spec; the spec names them
//! by [`Handle`], an index into that list.

mod limits;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::caps::CapSet;
use crate::machine::Handler;
use crate::paths;

pub use limits::{Limits, Pids, Rlimit};

/// Index into the descriptors given to [`crate::Sandbox::start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handle(pub usize);

/// Everything about one process in a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Where the root file system comes from.
    pub root: RootSpec,
    /// Whether the root is read-only for the process.
    pub readonly_root: bool,
    /// Mounts beyond the default ones, made in this order.
    pub mounts: Vec<Mount>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Program and arguments; the program is looked up in `PATH` of `env` inside the root.
    pub args: Vec<String>,
    /// The whole environment, `NAME=value`; `HOME` is added from passwd if it is missing.
    pub env: Vec<String>,
    /// Working directory inside the root, absolute.
    pub cwd: PathBuf,
    /// Whether a missing working directory is made (0755, uid 0).
    pub create_cwd: bool,
    /// User as an image or a `USER` instruction names it: `user`, `uid`, `user:group`, `uid:gid`; empty is 0:0.
    pub user: String,
    /// Further groups, by name or number.
    pub extra_groups: Vec<String>,
    /// Host name inside.
    pub hostname: String,
    /// Content of `/etc/hosts`; `None` leaves the root's own file.
    pub hosts: Option<String>,
    /// Content of `/etc/resolv.conf`; `None` leaves the root's own file.
    pub resolv_conf: Option<String>,
    /// Whether the program may write to these two files; what it writes is gone at its end.
    pub writable_files: bool,
    /// Which network the process sees.
    pub network: Network,
    /// How far the process is trusted.
    pub security: Security,
    /// Resource limits of the process (`ulimit`); missing ones get the defaults of [`Rlimit::defaults`].
    pub rlimits: Vec<Rlimit>,
    /// Limits of the whole group, kept by cgroups.
    pub limits: Limits,
    /// Cgroup to make ours under, as the caller was told; absolute in the hierarchy.
    pub cgroup_parent: Option<PathBuf>,
    /// Where standard input comes from and output goes to.
    pub stdio: Stdio,
    /// Whether our init is process 1 and reaps, or the program itself is process 1.
    pub init: bool,
    /// Programs that the interpreter mounted at [`EMULATOR`] runs: those of another machine.
    pub emulated: Option<Handler>,
}

/// Where the interpreter for programs of another machine is mounted, as BuildKit has it.
pub const EMULATOR: &str = "/dev/.buildkit_qemu_emulator";

impl SandboxSpec {
    /// Returns the default box around `args` on `root`: default profile, no network, pipes.
    pub fn new(root: RootSpec, args: Vec<String>) -> SandboxSpec {
        SandboxSpec {
            root,
            readonly_root: false,
            mounts: Vec::new(),
            shm_size: 64 << 20,
            args,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            create_cwd: false,
            user: String::new(),
            extra_groups: Vec::new(),
            hostname: "rbuild".to_owned(),
            hosts: None,
            resolv_conf: None,
            writable_files: false,
            network: Network::None,
            security: Security::default(),
            rlimits: Vec::new(),
            limits: Limits::default(),
            cgroup_parent: None,
            stdio: Stdio::default(),
            init: true,
            emulated: None,
        }
    }
}

/// The root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootSpec {
    /// Layers stacked by overlayfs, mounted only inside the sandbox.
    Overlay {
        /// Layer directories, the topmost first (as overlayfs lists them); 1 to 500.
        #[serde(with = "paths::list")]
        lowers: Vec<PathBuf>,
        /// Directory that receives the changes, with its empty work directory beside it.
        upper: Option<Upper>,
        /// Whether overlay attributes live in `user.overlay.*`, as a user namespace needs.
        userxattr: bool,
    },
    /// A directory, changed in place.
    Dir(#[serde(with = "paths")] PathBuf),
}

/// Where an overlay writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upper {
    /// The changes.
    #[serde(with = "paths")]
    pub upper: PathBuf,
    /// Scratch space of overlayfs on the same file system.
    #[serde(with = "paths")]
    pub work: PathBuf,
    /// Skip all syncing inside the step; whoever commits the upper syncs it.
    pub volatile: bool,
}

/// One mount beyond the default ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the root; missing ones are made and removed again afterwards.
    #[serde(with = "paths")]
    pub target: PathBuf,
    /// What is mounted.
    pub kind: MountKind,
    /// Whether writing is refused.
    pub readonly: bool,
    /// Whether programs on it may be executed.
    pub exec: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file, directory or socket of the host.
    Bind {
        /// What was opened by the caller, or a path the caller trusts.
        source: BindSource,
        /// Whether mounts below the source come along.
        recursive: bool,
        /// Whether set-user-ID is powerless.
        nosuid: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Upper bound in bytes; half of the memory if missing.
        size: Option<u64>,
        /// Mode of its root directory.
        mode: u32,
        /// Owner of its root directory, as ids inside.
        owner: (u32, u32),
    },
    /// A lower directory with a discarded upper: reads see `source`, writes vanish with the step.
    Scratch {
        /// What was opened by the caller, or a path the caller trusts.
        source: BindSource,
        /// Parent for the upper and work directories of this mount; made and emptied by the caller.
        #[serde(with = "paths")]
        scratch: PathBuf,
        /// Whether overlay attributes live in `user.overlay.*`.
        userxattr: bool,
    },
    /// What a stack of layers shows at a path: `RUN --mount=type=bind,from=stage,source=path` (wanted by `ops`).
    ///
    /// The sandbox stacks the layers out of the program's sight, resolves `selector` inside that stack
    /// (links followed, never out of it) and binds what is found there, directory or file, to the target.
    Layers {
        /// Layer directories, the topmost first; none is an empty directory.
        #[serde(with = "paths::list")]
        lowers: Vec<PathBuf>,
        /// Path inside the stack, relative; empty for all of it.
        #[serde(with = "paths")]
        selector: PathBuf,
        /// Directory that receives changes; none makes the mount read-only.
        upper: Option<Upper>,
        /// Whether overlay attributes live in `user.overlay.*`.
        userxattr: bool,
    },
    /// A file whose content never touches a disk.
    Secret {
        /// The content.
        content: Sensitive,
        /// Permission bits.
        mode: u32,
        /// Owner, as ids inside.
        owner: (u32, u32),
    },
}

/// Where a bind mount comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindSource {
    /// A descriptor that the caller opened (`O_PATH` suffices) under an anchored walk.
    Handle(Handle),
    /// A path of the host; its last component is not followed.
    Path(#[serde(with = "paths")] PathBuf),
}

/// Bytes that neither `Debug` nor an error shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensitive(#[serde(with = "paths::hex")] pub Vec<u8>);

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sensitive({} bytes)", self.0.len())
    }
}

/// Which network the process sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A namespace of its own with nothing but loopback.
    None,
    /// The network of the engine.
    Host,
    /// A namespace that the caller prepared.
    Join(Handle),
}

/// How far the process is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Upper bound of the capabilities; uid 0 has all of them, others none.
    pub capabilities: CapSet,
    /// Whether set-user-ID programs are powerless.
    pub no_new_privileges: bool,
    /// Which system calls are let through.
    pub seccomp: Seccomp,
    /// Name of a loaded AppArmor profile.
    pub apparmor: Option<String>,
    /// Paths hidden behind `/dev/null` or an empty directory; a component may hold `*`.
    pub masked_paths: Vec<String>,
    /// Paths made read-only.
    pub readonly_paths: Vec<String>,
    /// Whether sysfs and cgroups are writable (never in a user namespace).
    pub writable_sys: bool,
    /// Which devices exist and may be opened.
    pub devices: Devices,
}

impl Default for Security {
    fn default() -> Self {
        Security {
            capabilities: CapSet::DEFAULT,
            no_new_privileges: false,
            seccomp: Seccomp::Default,
            apparmor: None,
            masked_paths: MASKED_PATHS.map(str::to_owned).to_vec(),
            readonly_paths: READONLY_PATHS.map(str::to_owned).to_vec(),
            writable_sys: false,
            devices: Devices::Default,
        }
    }
}

impl Security {
    /// Returns what the entitlement `security.insecure` unlocks: everything the engine may itself.
    pub fn insecure() -> Security {
        Security {
            capabilities: CapSet::ALL,
            no_new_privileges: false,
            seccomp: Seccomp::Unconfined,
            apparmor: None,
            masked_paths: Vec::new(),
            readonly_paths: Vec::new(),
            writable_sys: true,
            devices: Devices::All,
        }
    }
}

/// Paths that show or do more than a step may.
pub const MASKED_PATHS: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/devices/system/cpu/cpu*/thermal_throttle",
];

/// Paths that a step may read only.
pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Which system calls are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// The list docker uses, depending on the capabilities.
    Default,
    /// All.
    Unconfined,
}

/// Which devices exist and may be opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Devices {
    /// null, zero, full, random, urandom, tty and terminals.
    Default,
    /// The default ones and these of the host.
    With(Vec<Device>),
    /// Every device may be opened; nodes for kmsg, fuse, kvm, tun and loop exist where the host has them.
    All,
}

/// A device of the host let into the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    #[serde(with = "paths")]
    pub source: PathBuf,
    /// Path inside, under `/dev`.
    #[serde(with = "paths")]
    pub target: PathBuf,
    /// Any of `r`, `w` and `m`.
    pub access: String,
    /// Permission bits of the node; none are those on the host. Without root, a node is as it is on the host.
    pub mode: Option<u32>,
    /// Owner of the node, as ids inside; none is 0:0.
    pub owner: Option<(u32, u32)>,
}

/// Where standard input comes from and output goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Separate streams.
    Streams {
        /// Standard input.
        stdin: Stream,
        /// Standard output.
        stdout: Stream,
        /// Standard error.
        stderr: Stream,
    },
    /// A terminal of this size, from the sandbox's own devpts.
    Terminal {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

impl Default for Stdio {
    fn default() -> Self {
        Stdio::Streams { stdin: Stream::Null, stdout: Stream::Pipe, stderr: Stream::Pipe }
    }
}

/// One of the three streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// `/dev/null` of the sandbox.
    Null,
    /// A pipe whose other end [`crate::Running`] holds.
    Pipe,
    /// A descriptor of the caller.
    Handle(Handle),
}
