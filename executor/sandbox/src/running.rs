//! A process in its box, seen from the engine.

use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::SandboxError;

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
    /// Tasks now.
    pub pids: Option<u64>,
}

/// A process in its box; dropping it ends the box.
#[derive(Debug)]
pub struct Running {
    #[allow(dead_code)]
    pidfd: OwnedFd,
}

impl Running {
    /// Takes the write end of standard input, if it is a pipe.
    pub fn take_stdin(&mut self) -> Option<OwnedFd> { None }
    /// Takes the read end of standard output, if it is a pipe.
    pub fn take_stdout(&mut self) -> Option<OwnedFd> { None }
    /// Takes the read end of standard error, if it is a pipe.
    pub fn take_stderr(&mut self) -> Option<OwnedFd> { None }
    /// Takes the master of the terminal, if there is one.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> { None }
    /// Waits until the program has ended and nothing of the box is left.
    pub fn wait(&self) -> Result<Exit, SandboxError> { Err(SandboxError::InitDied(String::new())) }
    /// Sends a signal to the program; SIGKILL also works while the box is still being built.
    pub fn kill(&self, _signal: i32) -> Result<(), SandboxError> { Ok(()) }
    /// Tells the terminal its new size.
    pub fn resize(&self, _rows: u16, _columns: u16) -> Result<(), SandboxError> { Ok(()) }
    /// Returns what the group has used up to now.
    pub fn stats(&self) -> Stats { Stats::default() }
    /// Returns what could not be had and was not insisted on.
    pub fn warnings(&self) -> &[String] { &[] }
}
