//! Processes as file descriptors, and the signals of a process that looks after others.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus};

/// A child process that has not been waited for; its number cannot be reused meanwhile.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    fd: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It called exit with this status.
    Exited(u8),
    /// A signal killed it.
    Killed(i32),
}

impl Ended {
    /// Returns the status as a shell counts it: 128 + signal for a death by signal.
    pub fn code(self) -> u8 {
        match self {
            Ended::Exited(status) => status,
            Ended::Killed(signal) => (128 + signal) as u8,
        }
    }
}

impl Process {
    pub(crate) fn new(pid: Pid, fd: OwnedFd) -> Process {
        Process { pid, fd }
    }

    /// Returns the number of the process in our pid namespace.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal; success if the process is already dead but not waited for.
    pub fn kill(&self, signal: i32) -> io::Result<()> {
        kill(self.fd.as_fd(), signal)
    }

    /// Waits for its end without taking the status away: several threads may wait, and again.
    pub fn watch(&self) -> io::Result<Ended> {
        self.wait_with(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    }

    /// Waits for its end and takes the status away; after that nobody can wait for it.
    pub fn reap(&self) -> io::Result<Ended> {
        self.wait_with(WaitIdOptions::EXITED)
    }

    fn wait_with(&self, options: WaitIdOptions) -> io::Result<Ended> {
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.fd.as_fd()), options) {
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(None) => {}
                Ok(Some(status)) => {
                    return Ok(match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Ended::Exited(code as u8),
                        (None, signal) => Ended::Killed(signal.unwrap_or(libc::SIGKILL)),
                    });
                }
            }
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends a signal to the process of a pidfd.
pub fn kill(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let signal = Signal::from_named_raw(signal).map_or_else(|| realtime(signal), Ok)?;
    Ok(rustix::process::pidfd_send_signal(pidfd, signal)?)
}

fn realtime(number: i32) -> io::Result<Signal> {
    if !(libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the number is a real-time signal that libc leaves to applications.
    Ok(unsafe { Signal::from_raw_unchecked(number) })
}

/// Reaps one dead child, if there is one: its number and end.
pub fn reap_any() -> io::Result<Option<(Pid, Ended)>> {
    reap(WaitOptions::NOHANG)
}

/// Waits for the end of any child; `None` if there are no children left.
pub fn reap_next() -> io::Result<Option<(Pid, Ended)>> {
    reap(WaitOptions::empty())
}

fn reap(options: WaitOptions) -> io::Result<Option<(Pid, Ended)>> {
    loop {
        match rustix::process::wait(options) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(errno) => return Err(errno.into()),
            Ok(found) => return Ok(found.map(|(pid, status)| (pid, ended(status)))),
        }
    }
}

fn ended(status: WaitStatus) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(code as u8),
        (None, signal) => Ended::Killed(signal.unwrap_or(libc::SIGKILL)),
    }
}

/// Kills every process of our pid namespace except ourselves; refused unless we are its process 1.
pub fn kill_all() -> io::Result<()> {
    if !rustix::process::getpid().is_init() {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    // SAFETY: kill takes numbers only.
    match unsafe { libc::kill(-1, libc::SIGKILL) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
    }
}

/// Blocks every signal in the calling thread.
pub fn block_signals() -> io::Result<()> {
    set_mask(&full()).map(drop)
}

/// Gives every signal its default action and lets all through, as a program expects at its start.
pub fn reset_signals() -> io::Result<()> {
    for number in 1..=64 {
        // SAFETY: SIG_DFL installs no handler. SIGKILL, SIGSTOP and libc's own signals refuse, which is fine:
        // they have their default action.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    set_mask(&empty()).map(drop)
}

/// Lets writing beyond the limit for files (`ulimit -f`) fail, instead of ending the process.
pub fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN installs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Returns a descriptor that becomes readable when a child ends; the signals must be blocked.
pub fn child_signals() -> io::Result<OwnedFd> {
    let mut set = empty();
    // SAFETY: `set` is an initialised signal set.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
    // SAFETY: `set` outlives the call; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn full() -> libc::sigset_t {
    let mut set = empty();
    // SAFETY: `set` is an initialised signal set.
    unsafe { libc::sigfillset(&raw mut set) };
    set
}

fn empty() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set it is given, and cannot fail for a valid pointer.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Sets the mask of the calling thread and returns the one before.
pub(crate) fn set_mask(set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut before = empty();
    // SAFETY: both sets are initialised and outlive the call.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, &raw mut before) } {
        0 => Ok(before),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}
