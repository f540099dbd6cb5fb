//! Why a step failed, in words.

use std::io;

use rbuild_sys::mount::MountError;
use rustix::io::Errno;

use crate::step::Step;

/// Why a step failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The kernel refused.
    Errno { errno: Option<i32>, text: String },
    /// Something that a hint would not make clearer.
    Plain(String),
    /// The program cannot be executed, or not as its user.
    Exec { message: String, code: u8 },
}

impl Failure {
    /// Returns what the engine is told about `step`.
    pub(super) fn words(&self, step: &Step) -> (String, Option<String>) {
        match self {
            Failure::Errno { errno, text } => {
                (text.clone(), errno.and_then(|errno| hint(step, errno)).map(str::to_owned))
            }
            Failure::Plain(text) => (text.clone(), None),
            Failure::Exec { message, .. } => (message.clone(), None),
        }
    }

    /// Says on what the kernel refused.
    pub(super) fn on(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Failure {
        let what = what.to_string();
        move |error| match Failure::from(error) {
            Failure::Errno { errno, text } => Failure::Errno { errno, text: format!("{what}: {text}") },
            other => other,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let errno = error.raw_os_error();
        Failure::Errno { errno, text: text(errno, &error) }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure::from(io::Error::from(errno))
    }
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        let Failure::Errno { errno, text } = Failure::from(error.errno) else { unreachable!("errno stays errno") };
        let message = error.message.map(|message| format!(" ({message})")).unwrap_or_default();
        Failure::Errno { errno, text: format!("{text}{message}") }
    }
}

/// Returns `EPERM: Operation not permitted`.
fn text(errno: Option<i32>, error: &io::Error) -> String {
    let full = error.to_string();
    let Some(number) = errno else { return full };
    let plain = full.split(" (os error").next().unwrap_or(&full);
    match NAMES.iter().find(|(errno, _)| errno.raw_os_error() == number) {
        Some((_, name)) => format!("{name}: {plain}"),
        None => format!("errno {number}: {plain}"),
    }
}

const NAMES: [(Errno, &str); 24] = [
    (Errno::PERM, "EPERM"),
    (Errno::NOENT, "ENOENT"),
    (Errno::IO, "EIO"),
    (Errno::BADF, "EBADF"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::NOMEM, "ENOMEM"),
    (Errno::ACCESS, "EACCES"),
    (Errno::BUSY, "EBUSY"),
    (Errno::EXIST, "EEXIST"),
    (Errno::NODEV, "ENODEV"),
    (Errno::NOTDIR, "ENOTDIR"),
    (Errno::ISDIR, "EISDIR"),
    (Errno::INVAL, "EINVAL"),
    (Errno::NFILE, "ENFILE"),
    (Errno::MFILE, "EMFILE"),
    (Errno::NOSPC, "ENOSPC"),
    (Errno::ROFS, "EROFS"),
    (Errno::LOOP, "ELOOP"),
    (Errno::NAMETOOLONG, "ENAMETOOLONG"),
    (Errno::NOSYS, "ENOSYS"),
    (Errno::NOEXEC, "ENOEXEC"),
    (Errno::DQUOT, "EDQUOT"),
    (Errno::STALE, "ESTALE"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
];

/// Returns what may help, where the errno alone does not tell.
fn hint(step: &Step, errno: i32) -> Option<&'static str> {
    let is = |candidate: Errno| candidate.raw_os_error() == errno;
    match step {
        Step::Proc if is(Errno::PERM) => Some(
            "a container that hides parts of its own /proc may not mount another; let it run with an unmasked /proc",
        ),
        Step::RootOverlay { .. } if is(Errno::NODEV) => Some("this kernel has no overlayfs"),
        Step::RootOverlay { .. } if is(Errno::PERM) => {
            Some("this kernel does not let a user namespace mount overlayfs; 5.11 and later do")
        }
        Step::RootOverlay { .. } if is(Errno::INVAL) => {
            Some("are upper and work directory on one file system that overlayfs can write to?")
        }
        Step::Bind { .. } | Step::Tmpfs { .. } | Step::File { .. } if is(Errno::ROFS) => {
            Some("the root is read-only and lacks the mount point")
        }
        Step::Bind { .. } if is(Errno::NOTDIR) => Some("a file cannot be mounted on a directory, nor the reverse"),
        Step::BecomeUser { .. } | Step::File { .. } if is(Errno::INVAL) => {
            Some("the id is not mapped into this user namespace; more ids come from /etc/subuid and /etc/subgid")
        }
        Step::BecomeUser { .. } if is(Errno::AGAIN) => Some("the user has too many processes"),
        Step::Rlimits(_) if is(Errno::PERM) => Some("the limit is above our own hard limit"),
        Step::EnterCwd(_) if is(Errno::NOENT) => Some("the working directory does not exist"),
        Step::Emulate(_) => {
            Some("register the interpreter on this host instead, for instance by Debian's binfmt-support")
        }
        Step::Enter { .. } if is(Errno::SRCH) => Some("the box has ended"),
        Step::Enter { .. } if is(Errno::INVAL) => Some("this needs Linux 5.8"),
        Step::JoinCgroup if is(Errno::NODEV) => Some("the box has ended"),
        Step::JoinCgroup if is(Errno::BUSY) => Some("the cgroup has controllers enabled for its children"),
        Step::JoinCgroup if is(Errno::NOSPC) => Some("the cpuset of the group is empty"),
        _ => None,
    }
}
