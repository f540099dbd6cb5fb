//! Into a box that runs.
//!
//! Whatever lies in the box may have been changed by its programs: what is opened here is looked at before it is
//! trusted, and nothing of the host but the streams reaches the program.

use std::os::fd::AsFd;
use std::path::Path;

use rbuild_sys::root::Root;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::thread::ThreadNameSpaceType;

use super::failure::Failure;
use super::world::{World, missing};

/// What `statfs` says of devpts.
const DEVPTS: i64 = 0x1cd1;

impl World {
    /// Enters the namespaces of the box with this init. Our own user namespace is that of the box.
    pub(super) fn enter_box(&mut self, init: usize, network: bool) -> Result<(), Failure> {
        let init = self.handles.get(init).ok_or_else(|| missing("the box"))?;
        let mut kinds = ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::PROCESS_ID
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
        if network {
            kinds |= ThreadNameSpaceType::NETWORK;
        }
        rustix::thread::move_into_thread_name_spaces(init.as_fd(), kinds)?;
        self.root = Some(Root::open(Path::new("/"))?);
        self.open_pts()
    }

    /// Comes after joining the group: who sees of cgroups what the box sees could not come from outside.
    pub(super) fn enter_cgroup(&self, init: usize) -> Result<(), Failure> {
        let init = self.handles.get(init).ok_or_else(|| missing("the box"))?;
        Ok(rustix::thread::move_into_thread_name_spaces(init.as_fd(), ThreadNameSpaceType::CONTROL_GROUP)?)
    }

    /// Opens the terminals of the box, if they are where they were.
    fn open_pts(&mut self) -> Result<(), Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::openat2(rustix::fs::CWD, "/dev/pts", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        if let Ok(pts) = open
            && rustix::fs::fstatfs(&pts)?.f_type as i64 == DEVPTS
        {
            self.pts = Some(pts);
        }
        Ok(())
    }
}
