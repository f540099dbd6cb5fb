//! What an init has in its hands while it builds a box.

use std::io;
use std::os::fd::OwnedFd;

use rbuild_sys::mount;
use rbuild_sys::root::Root;
use rbuild_sys::seccomp::Instruction;
use rbuild_sys::tty::Pty;
use rustix::fs::{Mode, OFlags};

use super::failure::Failure;
use super::target::Stubs;
use crate::seccomp;
use crate::step::Plan;
use crate::user::Identity;
use crate::wire::Launch;

/// What an init has in its hands while it builds a box.
#[derive(Debug)]
pub(super) struct World {
    pub(super) groups: Vec<OwnedFd>,
    pub(super) sources: Vec<OwnedFd>,
    pub(super) handles: Vec<OwnedFd>,
    /// The program's ends of the standard streams that are pipes.
    pub(super) pipes: [Option<OwnedFd>; 3],
    pub(super) filter: Vec<Instruction>,
    /// The file system for generated files, and how many there are.
    pub(super) scratch: Option<OwnedFd>,
    pub(super) files: usize,
    pub(super) root: Option<Root>,
    pub(super) root_readonly: bool,
    /// Our directory in the host's procfs.
    process: OwnedFd,
    /// Our own procfs, which nothing inside can replace.
    pub(super) proc: Option<OwnedFd>,
    pub(super) dev: Option<Root>,
    pub(super) pts: Option<OwnedFd>,
    pub(super) terminal: Option<Pty>,
    pub(super) identity: Identity,
    pub(super) stubs: Stubs,
    /// How many steps were begun.
    pub(super) at: usize,
    pub(super) failed: Option<Failure>,
    /// Whether we are process 1 and may kill everybody else.
    pub(super) first: bool,
    /// Whether the box is another's: nothing of it is ours to clean up.
    pub(super) guest: bool,
}

impl World {
    /// Takes the descriptors that `launch` announces.
    pub(super) fn new(launch: Launch, mut next: impl FnMut() -> io::Result<OwnedFd>) -> io::Result<(World, Plan)> {
        let mut take = |count: usize| (0..count).map(|_| next()).collect::<io::Result<Vec<OwnedFd>>>();
        let (groups, sources, handles) = (take(launch.groups)?, take(launch.sources)?, take(launch.handles)?);
        let mut pipes = [None, None, None];
        for (pipe, _) in pipes.iter_mut().zip(launch.pipes).filter(|(_, wanted)| *wanted) {
            *pipe = Some(next()?);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let world = World {
            process: rustix::fs::open(c"/proc/self", flags, Mode::empty())?,
            groups,
            sources,
            handles,
            pipes,
            filter: seccomp::unpack(&launch.filter),
            scratch: None,
            files: 0,
            root: None,
            root_readonly: false,
            proc: None,
            dev: None,
            pts: None,
            terminal: None,
            identity: Identity::default(),
            stubs: Stubs::default(),
            at: 0,
            failed: None,
            first: launch.plan.init,
            guest: launch.plan.guest,
        };
        Ok((world, launch.plan))
    }

    /// Lets go of all mounts, then removes the mount points; returns what could not be done.
    pub(super) fn clean_up(&mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.guest {
            return complaints;
        }
        let mut complain = |what: &str, result: io::Result<()>| {
            complaints.extend(result.err().map(|error| format!("{what}: {error}")));
        };
        if let Some(root) = self.root.as_ref().filter(|_| self.root_readonly) {
            complain("making the root writable", mount::make_writable(std::os::fd::AsFd::as_fd(root)));
        }
        // A mount point cannot be removed while something is mounted on it in our namespace. Without a root there
        // are no mount points, and the mounts may still be tied to those of the host: hands off.
        if self.root.is_some() {
            complain("detaching the mounts", mount::detach_all(std::os::fd::AsFd::as_fd(&self.process)));
        }
        complaints.extend(self.stubs.remove());
        complaints
    }
}

/// Says that an earlier step must have made something.
pub(super) fn missing(what: &str) -> Failure {
    Failure::Plain(format!("the plan has no step before that makes {what}"))
}
