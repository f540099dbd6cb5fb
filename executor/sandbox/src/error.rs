//! What can go wrong before, while and after a process is put into its box.

use std::io;
use std::path::PathBuf;

use crate::cgroup::CgroupError;

/// Why a process did not start, or could not be waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The spec asks for something impossible or forbidden.
    #[error("{0}")]
    Spec(#[from] SpecError),
    /// Something the engine does itself failed.
    #[error("{what}")]
    Host {
        /// What was attempted, on what.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The source of a mount could not be opened or cloned.
    #[error("opening the source of the mount on `{}`", target.display())]
    Source {
        /// Where it would have been mounted.
        target: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A step of building the box failed.
    #[error("step {index} of {total}, {step}: {reason}{}", hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    Step {
        /// Counted from one.
        index: usize,
        /// How many steps the plan has.
        total: usize,
        /// What was attempted, on what.
        step: String,
        /// The kernel's answer in words.
        reason: String,
        /// What may help.
        hint: Option<String>,
    },
    /// The program could not be executed, or not as its user.
    #[error("{message}")]
    Exec {
        /// As docker says it: `exec: "x": executable file not found in $PATH`.
        message: String,
        /// 127 for not found, 126 for not executable, 125 for an unknown user.
        code: u8,
    },
    /// The init process died while it built the box.
    #[error("the sandbox's init ended before the program started: {0}")]
    InitDied(String),
    /// Cgroups could not be made, joined or limited.
    #[error("{0}")]
    Cgroup(#[from] CgroupError),
}

impl SandboxError {
    pub(crate) fn host(what: impl Into<String>) -> impl FnOnce(io::Error) -> SandboxError {
        let what = what.into();
        move |source| SandboxError::Host { what, source }
    }

    /// Returns the exit code a shell would give, if it is the program that could not be executed.
    pub fn exec_code(&self) -> Option<u8> {
        match self {
            SandboxError::Exec { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A spec that asks for something impossible or forbidden.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// There is no program.
    #[error("no command to run")]
    NoCommand,
    /// NUL cannot be passed to a program.
    #[error("{what} contains a NUL byte")]
    Nul {
        /// Which value.
        what: String,
    },
    /// A variable without a name or `=`.
    #[error("environment entry `{0}` is not NAME=value")]
    Env(String),
    /// A path that is not absolute, or climbs.
    #[error("{what} `{path}` must be absolute and without `..`")]
    NotAbsolute {
        /// Whose path.
        what: &'static str,
        /// The path.
        path: String,
    },
    /// The root, `/proc` and `/sys` belong to the sandbox.
    #[error("invalid mount target `{0}`")]
    Target(String),
    /// Overlayfs takes 1 to 500 lowers.
    #[error("{0} layers, but overlayfs takes 1 to 500 at once")]
    Lowers(usize),
    /// A descriptor index beyond the list.
    #[error("{what} names descriptor {index}, but only {count} were given")]
    Handle {
        /// Which value.
        what: &'static str,
        /// The index.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A limit that the kernel does not know.
    #[error("unknown ulimit `{0}`")]
    Rlimit(String),
    /// A soft limit above the hard one.
    #[error("ulimit `{0}`: the soft limit is above the hard limit")]
    RlimitOrder(String),
    /// A host name that the kernel refuses.
    #[error("host name `{0}` is not 1 to 64 bytes of letters, digits, `-`, `.` and `_`")]
    Hostname(String),
    /// Device access beyond `rwm`.
    #[error("device access `{0}` is not made of r, w and m")]
    DeviceAccess(String),
    /// A limit out of the kernel's range.
    #[error("{what} {value} is out of range ({range})")]
    Limit {
        /// Which limit.
        what: &'static str,
        /// What was asked.
        value: String,
        /// What is possible.
        range: &'static str,
    },
    /// AppArmor was asked for by name where there is none.
    #[error("AppArmor profile `{0}` was asked for, but AppArmor is not enabled on this host")]
    NoAppArmor(String),
    /// A right that a user namespace cannot give.
    #[error("{0} is not possible without root")]
    NeedsRoot(&'static str),
    /// Nobody would look after a further process.
    #[error("a box whose program is process 1 takes no further processes")]
    NoInit,
    /// The filter is not made for this processor.
    #[error("the default seccomp profile is not available for this architecture")]
    NoSeccomp,
}
