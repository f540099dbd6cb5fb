//! The steps that build a box, in the order of a [`Plan`].

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::caps::CapSet;
use crate::machine::Handler;
use crate::paths;
use crate::spec::{BindSource, Handle, Rlimit, Sensitive, Stream};

/// What is to be done, in order, by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps; those after [`Step::Start`] are the program's own process.
    pub steps: Vec<Step>,
    /// Sources that the engine opens and clones before; steps name them by index.
    pub sources: Vec<Source>,
    /// Whether the init is process 1 of the box, rather than the program.
    pub init: bool,
    /// Whether there is a box already, in which only a further process is started.
    pub guest: bool,
    /// Whether the box gets a network namespace of its own.
    pub new_network: bool,
    /// Capabilities that the seccomp filter is made for, if there is one.
    pub filter: Option<CapSet>,
}

/// The source of a bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it comes from.
    pub from: BindSource,
    /// Whether mounts below come along.
    pub recursive: bool,
    /// Where it will be mounted, for messages.
    #[serde(with = "paths")]
    pub target: PathBuf,
}

/// Restrictions of one mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// Writing is refused.
    pub readonly: bool,
    /// Set-user-ID is powerless.
    pub nosuid: bool,
    /// Device nodes are powerless.
    pub nodev: bool,
    /// Programs cannot be executed.
    pub noexec: bool,
}

impl Flags {
    /// Set-user-ID, devices and programs are powerless.
    pub const DATA: Flags = Flags { readonly: false, nosuid: true, nodev: true, noexec: true };
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Path on the host, for user namespaces, which cannot make nodes.
    #[serde(with = "paths")]
    pub source: PathBuf,
    /// Path below `/dev`.
    #[serde(with = "paths")]
    pub target: PathBuf,
    /// Whether it is a block device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner, as ids inside, if it is not 0:0.
    pub owner: Option<(u32, u32)>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Move into the cgroup.
    JoinCgroup,
    /// Enter the namespaces of a box that runs; children are born in its pid namespace.
    Enter {
        /// The init of the box.
        process: Handle,
        /// Whether its network is another than ours.
        network: bool,
    },
    /// See of cgroups what the box sees, whose init this is.
    EnterCgroup(Handle),
    /// Make our cgroup the root of what is seen of cgroups.
    UnshareCgroup,
    /// Enter a network namespace.
    JoinNetwork(Handle),
    /// Bring up the loopback interface of a new network namespace.
    LoopbackUp,
    /// Cut the mounts off from those of the host.
    PrivateMounts,
    /// Mount a small file system in memory for generated files.
    Scratch {
        /// Its size.
        size: u64,
    },
    /// Mount layers as the root.
    RootOverlay {
        /// Layers, topmost first.
        #[serde(with = "paths::list")]
        lowers: Vec<PathBuf>,
        /// Upper and work directory.
        upper: Option<crate::spec::Upper>,
        /// Attributes in `user.overlay.*`.
        userxattr: bool,
        /// Whether the kernel takes layers one by one.
        one_by_one: bool,
        /// Whether devices on it are powerless.
        nodev: bool,
    },
    /// Use a directory as the root.
    RootDir {
        /// The directory.
        #[serde(with = "paths")]
        path: PathBuf,
        /// Whether devices on it are powerless.
        nodev: bool,
    },
    /// Look up the user in the root's passwd and group files.
    ResolveUser {
        /// As the spec names it.
        user: String,
        /// Further groups.
        groups: Vec<String>,
        /// Whether the kernel lets us set groups.
        setgroups: bool,
    },
    /// Mount proc.
    Proc,
    /// Mount sysfs.
    Sys {
        /// Whether writing is refused.
        readonly: bool,
        /// Whether the host's may be bound where a new one is refused.
        bind_fallback: bool,
    },
    /// Mount `/dev`.
    Dev,
    /// Make a device node.
    Node(DeviceNode),
    /// Bind a device node of the host.
    BindNode(DeviceNode),
    /// Make the links in `/dev`.
    DevLinks,
    /// Mount devpts.
    Pts {
        /// Group of terminals, where it is mapped.
        gid: Option<u32>,
    },
    /// Mount message queues.
    Mqueue,
    /// Show our cgroup.
    CgroupView {
        /// Controller and directory on the host; an empty name is v2.
        groups: Vec<(String, PathBuf)>,
        /// Whether writing is refused.
        readonly: bool,
    },
    /// Bind a source.
    Bind {
        /// Index into [`Plan::sources`].
        source: usize,
        /// Where.
        #[serde(with = "paths")]
        target: PathBuf,
        /// Restrictions.
        flags: Flags,
        /// Whether mounts below are restricted as well.
        recursive: bool,
    },
    /// Mount a file system in memory.
    Tmpfs {
        /// Where.
        #[serde(with = "paths")]
        target: PathBuf,
        /// Upper bound in bytes.
        size: Option<u64>,
        /// Mode of its root.
        mode: u32,
        /// Owner of its root.
        owner: (u32, u32),
        /// Restrictions.
        flags: Flags,
    },
    /// Bind a source under an overlay that forgets writes.
    Forgetful {
        /// Index into [`Plan::sources`].
        source: usize,
        /// Where.
        #[serde(with = "paths")]
        target: PathBuf,
        /// Where upper and work directories are made.
        #[serde(with = "paths")]
        scratch: PathBuf,
        /// Attributes in `user.overlay.*`.
        userxattr: bool,
        /// Whether the kernel takes layers one by one.
        one_by_one: bool,
        /// Restrictions.
        flags: Flags,
    },
    /// Bind what a stack of layers shows at a path.
    Layers {
        /// Layers, topmost first.
        #[serde(with = "paths::list")]
        lowers: Vec<PathBuf>,
        /// Path inside the stack.
        #[serde(with = "paths")]
        selector: PathBuf,
        /// Upper and work directory.
        upper: Option<crate::spec::Upper>,
        /// Attributes in `user.overlay.*`.
        userxattr: bool,
        /// Whether the kernel takes layers one by one.
        one_by_one: bool,
        /// Where.
        #[serde(with = "paths")]
        target: PathBuf,
        /// Restrictions.
        flags: Flags,
    },
    /// Bind a generated file.
    File {
        /// Where.
        #[serde(with = "paths")]
        target: PathBuf,
        /// Content.
        content: Sensitive,
        /// Permission bits.
        mode: u32,
        /// Owner.
        owner: (u32, u32),
        /// Restrictions.
        flags: Flags,
    },
    /// Hide a path.
    Mask(String),
    /// Make a path read-only.
    ReadonlyPath(String),
    /// Make the working directory.
    MakeCwd(#[serde(with = "paths")] PathBuf),
    /// Open a terminal and hand its master over.
    Terminal {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Make the root read-only.
    ReadonlyRoot,
    /// Make the root ours and let go of the host's.
    Pivot,
    /// Set the host name.
    Hostname(String),
    /// Begin the process of the program: what follows happens there.
    Start,
    /// Mount a procfs that shows the box for our own use only.
    OwnProc,
    /// Lead a session, connect standard streams or the terminal.
    Streams([Stream; 3]),
    /// Lead a session on the terminal.
    TerminalStreams,
    /// Set resource limits; the flag tells whether a lower value will do.
    Rlimits(Vec<(Rlimit, bool)>),
    /// Have an AppArmor profile take effect at execution.
    AppArmor(String),
    /// Have the kernel hand programs of another machine to an interpreter, in a user namespace of their own.
    Emulate(Handler),
    /// Enter the working directory.
    EnterCwd(#[serde(with = "paths")] PathBuf),
    /// Drop everything else from the bounding set.
    Bounding(CapSet),
    /// Install the seccomp filter.
    Filter,
    /// Become the user.
    BecomeUser {
        /// Whether the kernel lets us set groups.
        setgroups: bool,
    },
    /// Make these the permitted and effective capabilities of uid 0; others keep none.
    Capabilities(CapSet),
    /// Give up gaining privileges by execution.
    NoNewPrivileges,
    /// Execute the program.
    Execute {
        /// Program and arguments.
        args: Vec<String>,
        /// Environment.
        env: Vec<String>,
        /// Whether the interpreter for programs of another machine is executed upon the program, because this kernel
        /// would not do so.
        interpreted: bool,
    },
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.readonly { "ro" } else { "rw" })?;
        let words = [(self.nosuid, ",nosuid"), (self.nodev, ",nodev"), (self.noexec, ",noexec")];
        words.into_iter().filter(|(set, _)| *set).try_for_each(|(_, word)| f.write_str(word))
    }
}

impl fmt::Display for DeviceNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.block { 'b' } else { 'c' };
        write!(f, "{} {kind} {}:{} {:04o}", self.target.display(), self.major, self.minor, self.mode)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::JoinCgroup => write!(f, "join the cgroup"),
            Step::Enter { network, .. } => {
                let network = if *network { " and its network" } else { "" };
                write!(f, "enter the namespaces of the box{network}")
            }
            Step::EnterCgroup(_) => write!(f, "enter the cgroup namespace of the box"),
            Step::UnshareCgroup => write!(f, "make a cgroup namespace"),
            Step::JoinNetwork(_) => write!(f, "join the network namespace"),
            Step::LoopbackUp => write!(f, "bring up the loopback interface"),
            Step::PrivateMounts => write!(f, "make all mounts private"),
            Step::Scratch { size } => write!(f, "mount a tmpfs of {size} bytes for generated files"),
            Step::RootOverlay { lowers, upper, nodev, userxattr, .. } => {
                let upper = match upper {
                    Some(upper) if upper.volatile => ", volatile upper",
                    Some(_) => ", upper",
                    None => ", read-only",
                };
                let (userxattr, nodev) =
                    (if *userxattr { ", userxattr" } else { "" }, if *nodev { ", nodev" } else { "" });
                write!(f, "mount an overlay of {} layers as root{upper}{userxattr}{nodev}", lowers.len())
            }
            Step::RootDir { path, nodev } => {
                let flags = Flags { nodev: *nodev, ..Flags::default() };
                write!(f, "bind `{}` as root ({flags})", path.display())
            }
            Step::ResolveUser { user, .. } => write!(f, "look up user `{user}`"),
            Step::Proc => write!(f, "mount proc on /proc"),
            Step::Sys { readonly, bind_fallback } => {
                let (ro, or) =
                    (if *readonly { " (ro)" } else { "" }, if *bind_fallback { ", or bind the host's" } else { "" });
                write!(f, "mount sysfs on /sys{ro}{or}")
            }
            Step::Dev => write!(f, "mount a tmpfs on /dev"),
            Step::Node(node) => write!(f, "make device {node}"),
            Step::BindNode(node) => write!(f, "bind device {} from {}", node.target.display(), node.source.display()),
            Step::DevLinks => write!(f, "make the links in /dev"),
            Step::Pts { .. } => write!(f, "mount devpts on /dev/pts"),
            Step::Mqueue => write!(f, "mount mqueue on /dev/mqueue"),
            Step::CgroupView { groups, readonly } => {
                let names: Vec<&str> =
                    groups.iter().map(|(name, _)| if name.is_empty() { "unified" } else { name }).collect();
                write!(
                    f,
                    "show the cgroup on /sys/fs/cgroup ({}; {})",
                    if *readonly { "ro" } else { "rw" },
                    names.join(" ")
                )
            }
            Step::Bind { target, flags, .. } => write!(f, "bind a mount on {} ({flags})", target.display()),
            Step::Tmpfs { target, flags, mode, .. } => {
                write!(f, "mount a tmpfs on {} ({flags}, {mode:04o})", target.display())
            }
            Step::Forgetful { target, flags, .. } => {
                write!(f, "bind a mount on {} that forgets writes ({flags})", target.display())
            }
            Step::Layers { lowers, selector, target, flags, .. } => {
                let (count, from, target) = (lowers.len(), selector.display(), target.display());
                write!(f, "bind `{from}` of {count} layers on {target} ({flags})")
            }
            Step::File { target, flags, mode, .. } => {
                write!(f, "bind a generated file on {} ({flags}, {mode:04o})", target.display())
            }
            Step::Mask(path) => write!(f, "mask {path}"),
            Step::ReadonlyPath(path) => write!(f, "make {path} read-only"),
            Step::MakeCwd(path) => write!(f, "make the working directory {}", path.display()),
            Step::Terminal { rows, columns } => write!(f, "open a terminal of {rows} x {columns}"),
            Step::ReadonlyRoot => write!(f, "make the root read-only"),
            Step::Pivot => write!(f, "change the root"),
            Step::Hostname(name) => write!(f, "set the host name to `{name}`"),
            Step::Start => write!(f, "start the program's process"),
            Step::OwnProc => write!(f, "mount proc for ourselves"),
            Step::Streams(_) => write!(f, "connect the standard streams"),
            Step::TerminalStreams => write!(f, "connect the terminal"),
            Step::Rlimits(limits) => {
                let text: Vec<String> =
                    limits.iter().map(|(limit, _)| format!("{}={}:{}", limit.name, limit.soft, limit.hard)).collect();
                write!(f, "set resource limits {}", text.join(" "))
            }
            Step::AppArmor(profile) => write!(f, "choose the AppArmor profile `{profile}`"),
            Step::Emulate(handler) => write!(f, "register the interpreter `{}`", handler.name),
            Step::EnterCwd(path) => write!(f, "enter the working directory {}", path.display()),
            Step::Bounding(set) => write!(f, "limit the bounding set to {:016x}", set.bits()),
            Step::Filter => write!(f, "install the seccomp filter"),
            Step::BecomeUser { .. } => write!(f, "become the user"),
            Step::Capabilities(set) => write!(f, "limit capabilities to {:016x}", set.bits()),
            Step::NoNewPrivileges => write!(f, "set no_new_privs"),
            Step::Execute { args, interpreted, .. } => {
                let through = if *interpreted { " by its interpreter" } else { "" };
                write!(f, "execute `{}`{through}", args.first().map_or("", String::as_str))
            }
        }
    }
}
