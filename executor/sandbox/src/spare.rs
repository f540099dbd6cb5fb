//! An init that is born before it is needed.
//!
//! Starting an init (new namespaces, our binary executed anew) takes longer than all of the mounts it makes.
//! While a program runs, the next init can be started beside it: it waits at its control socket for its
//! plan and descriptors, and ends when the engine's side of the socket closes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rbuild_sys::pidfd::Process;

use crate::spec::{RootSpec, SandboxSpec};
use crate::step::Plan;
use crate::wire;

/// What an init's first argument begins with if it is to wait for its task.
pub(crate) const WAIT: &str = "wait:";

/// An init that waits for its task; dropped without one, it ends.
#[derive(Debug)]
pub(crate) struct Spare {
    process: Option<Process>,
    control: Option<OwnedFd>,
}

impl Spare {
    pub(crate) fn new(process: Process, control: OwnedFd) -> Spare {
        Spare { process: Some(process), control: Some(control) }
    }

    /// Gives the init its task: the plan, then the descriptors in the order of [`crate::wire`], without
    /// the control socket. None if it is gone; then another one must be born.
    pub(crate) fn employ(mut self, descriptors: &[BorrowedFd<'_>]) -> Option<(Process, OwnedFd)> {
        let control = self.control.take()?;
        match wire::hand_over(control.as_fd(), descriptors) {
            Ok(()) => Some((self.process.take()?, control)),
            Err(_) => None,
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.control = None;
        if let Some(process) = self.process.take() {
            let _ = process.kill(rustix::process::Signal::KILL.as_raw());
            let _ = process.reap();
        }
    }
}

/// Whether an init that was born before the spec was known will do: one that has the usual namespaces, and opens
/// nothing that may have been mounted since.
pub(crate) fn suits(spec: &SandboxSpec, plan: &Plan) -> bool {
    !plan.guest && spec.init && !plan.new_network && matches!(spec.root, RootSpec::Overlay { .. })
}
