//! A process in its box, seen from the engine.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rbuild_sys::pidfd::{Ended, Process};
use rustix::io::Errno;

use crate::SandboxError;
use crate::cgroup::Leaf;
use crate::wire::{self, Report};

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit status as a shell counts it: 128 + signal for a death by signal.
    pub code: u8,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed something of the group for lack of memory.
    pub oom: bool,
    /// What the group used.
    pub stats: Stats,
    /// What could not be cleaned up, in words.
    pub complaints: Vec<String>,
}

/// What a group used so far, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time.
    pub cpu: Option<Duration>,
    /// Memory now, in bytes.
    pub memory: Option<u64>,
    /// Most memory ever, in bytes.
    pub memory_peak: Option<u64>,
    /// Tasks now, our init among them.
    pub pids: Option<u64>,
}

/// Our ends of the program's streams.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
}

/// A process in its box; dropping it ends the box.
///
/// Everything but taking the streams works from several threads at once.
#[derive(Debug)]
pub struct Running {
    init: Process,
    control: OwnedFd,
    ends: Ends,
    /// For new sizes, after the master was taken.
    terminal: Option<OwnedFd>,
    leaf: Mutex<Option<Leaf>>,
    exit: Mutex<Option<Exit>>,
    warnings: Vec<String>,
    /// Whether it is a further process in another's box.
    guest: bool,
}

impl Running {
    pub(crate) fn new(
        init: Process,
        control: OwnedFd,
        ends: Ends,
        leaf: Option<Leaf>,
        warnings: Vec<String>,
    ) -> Running {
        Running {
            init,
            control,
            ends,
            terminal: None,
            leaf: Mutex::new(leaf),
            exit: Mutex::new(None),
            warnings,
            guest: false,
        }
    }

    /// Says that this is a further process in another's box.
    pub(crate) fn into_guest(mut self) -> Running {
        self.guest = true;
        self
    }

    /// Returns the init, for those who enter the box.
    pub(crate) fn init(&self) -> BorrowedFd<'_> {
        self.init.as_fd()
    }

    /// Returns the group as long as the box is there, and keeps the box from being cleaned up meanwhile.
    pub(crate) fn group(&self) -> MutexGuard<'_, Option<Leaf>> {
        lock(&self.leaf)
    }

    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    pub(crate) fn set_terminal(&mut self, terminal: Option<OwnedFd>) {
        self.terminal = terminal.as_ref().and_then(|fd| fd.try_clone().ok());
        self.ends.terminal = terminal;
    }

    /// Returns the error of an init that ended before its time.
    pub(crate) fn died(&self) -> SandboxError {
        let how = match self.init.watch() {
            Ok(Ended::Killed(signal)) if lock(&self.leaf).as_ref().is_some_and(Leaf::oom) => {
                format!("killed by signal {signal}: the memory limit is too low to start anything")
            }
            Ok(Ended::Killed(signal)) => format!("killed by signal {signal}"),
            Ok(Ended::Exited(code)) => format!("it exited with status {code}"),
            Err(error) => error.to_string(),
        };
        SandboxError::InitDied(how)
    }

    /// Takes the write end of standard input, if it is a pipe.
    pub fn take_stdin(&mut self) -> Option<OwnedFd> {
        self.ends.stdin.take()
    }

    /// Takes the read end of standard output, if it is a pipe.
    pub fn take_stdout(&mut self) -> Option<OwnedFd> {
        self.ends.stdout.take()
    }

    /// Takes the read end of standard error, if it is a pipe.
    pub fn take_stderr(&mut self) -> Option<OwnedFd> {
        self.ends.stderr.take()
    }

    /// Takes the master of the terminal, if there is one; reading gives EIO when the last process is gone.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.ends.terminal.take()
    }

    /// Returns what could not be had and was not insisted on.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Waits until the program has ended and nothing of the box is left; later calls return the same.
    ///
    /// Whoever holds a pipe must read it meanwhile, or the program may never end.
    pub fn wait(&self) -> Result<Exit, SandboxError> {
        let mut exit = lock(&self.exit);
        if let Some(exit) = &*exit {
            return Ok(exit.clone());
        }
        let report = loop {
            match wire::receive(&self.control).map_err(SandboxError::host("listening to the init"))? {
                Some((report @ Report::Ended { .. }, _)) => break Some(report),
                Some(_) => {}
                None => break None,
            }
        };
        let init = self.init.reap().map_err(SandboxError::host("waiting for the init"))?;
        let (code, signal, complaints) = match report {
            Some(Report::Ended { code, signal, complaints }) => (code, signal, complaints),
            // Killed by us, or for lack of memory together with its group.
            _ => match init {
                Ended::Killed(signal) => (init.code(), Some(signal), Vec::new()),
                Ended::Exited(_) => return Err(SandboxError::InitDied("it gave no report".to_owned())),
            },
        };
        let leaf = lock(&self.leaf).take();
        let (oom, stats) = leaf.as_ref().map(|leaf| (leaf.oom(), leaf.stats())).unwrap_or_default();
        let mut ended = Exit { code, signal, oom, stats, complaints };
        if let Some(Err(error)) = leaf.map(|leaf| {
            leaf.kill();
            leaf.remove()
        }) {
            ended.complaints.push(error.to_string());
        }
        *exit = Some(ended.clone());
        Ok(ended)
    }

    /// Sends a signal to the program; a program that has ended already is no error.
    pub fn kill(&self, signal: i32) -> Result<(), SandboxError> {
        let byte = u8::try_from(signal).ok().filter(|signal| (1..=64).contains(signal));
        let byte = byte.ok_or_else(|| SandboxError::host(format!("sending signal {signal}"))(Errno::INVAL.into()))?;
        match rustix::net::send(&self.control, &[byte], rustix::net::SendFlags::NOSIGNAL) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(SandboxError::host(format!("sending signal {signal}"))(errno.into())),
        }
    }

    /// Ends the box at once, without clean-up inside: what lies in the upper directory is to be thrown away.
    pub fn destroy(&self) -> Result<(), SandboxError> {
        if self.guest {
            // Its init stands outside of the box and would leave the program behind.
            return self.kill(rustix::process::Signal::KILL.as_raw());
        }
        if let Some(leaf) = &*lock(&self.leaf) {
            leaf.kill();
        }
        match self.init.kill(rustix::process::Signal::KILL.as_raw()) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => Ok(()),
            result => result.map_err(SandboxError::host("killing the box")),
        }
    }

    /// Tells the terminal its new size.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), SandboxError> {
        match &self.terminal {
            Some(terminal) => {
                rbuild_sys::tty::resize(terminal, rows, columns).map_err(SandboxError::host("resizing the terminal"))
            }
            None => Ok(()),
        }
    }

    /// Returns what the group has used up to now, or in all if it has ended.
    pub fn stats(&self) -> Stats {
        if let Some(leaf) = &*lock(&self.leaf) {
            return leaf.stats();
        }
        self.exit.try_lock().ok().and_then(|exit| exit.as_ref().map(|exit| exit.stats.clone())).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if lock(&self.exit).is_some() {
            return;
        }
        // Best effort: the init notices the closed socket even if this fails.
        let _ = self.destroy();
        let _ = self.init.reap();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
