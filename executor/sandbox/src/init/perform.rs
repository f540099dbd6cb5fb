//! One step each.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rbuild_sys::mount::{self, Attributes, Depth, Filesystem};
use rbuild_sys::root::Root;
use rustix::fs::Mode;

use super::failure::Failure;
use super::world::{World, missing};
use crate::step::{Flags, Step};
use crate::wire::{self, Report};

impl From<Flags> for Attributes {
    fn from(flags: Flags) -> Self {
        let Flags { readonly, nosuid, nodev, noexec } = flags;
        Attributes { readonly, nosuid, nodev, noexec }
    }
}

impl World {
    pub(super) fn step(&mut self, step: &Step, control: BorrowedFd<'_>) -> Result<(), Failure> {
        match step {
            Step::JoinCgroup => self.join_cgroup(),
            Step::Enter { process, network } => self.enter_box(process.0, *network),
            Step::EnterCgroup(process) => self.enter_cgroup(process.0),
            Step::UnshareCgroup => Ok(rbuild_sys::clone::unshare_cgroup()?),
            Step::JoinNetwork(handle) => self.join_network(handle.0),
            Step::LoopbackUp => Ok(rbuild_sys::netns::loopback_up()?),
            Step::PrivateMounts => Ok(mount::make_all_private()?),
            Step::Scratch { size } => self.make_scratch(*size),
            Step::RootOverlay { .. } | Step::RootDir { .. } => self.mount_root(step),
            Step::ResolveUser { user, groups, setgroups } => self.resolve_user(user, groups, *setgroups),
            Step::Proc => self.mount_proc(),
            Step::Sys { readonly, bind_fallback } => self.mount_sys(*readonly, *bind_fallback),
            Step::CgroupView { groups, readonly } => self.show_cgroup(groups, *readonly),
            Step::Dev => self.mount_dev(),
            Step::Node(node) => self.make_node(node),
            Step::BindNode(node) => self.bind_node(node),
            Step::DevLinks => self.make_links(),
            Step::Pts { gid } => self.mount_pts(*gid),
            Step::Mqueue => self.mount_mqueue(),
            Step::Bind { source, target, flags, recursive } => {
                let depth = if *recursive { Depth::Tree } else { Depth::One };
                self.bind(*source, target, *flags, depth)
            }
            Step::Tmpfs { target, size, mode, owner, flags } => self.mount_tmpfs(target, *size, *mode, *owner, *flags),
            Step::Forgetful { .. } => self.mount_forgetful(step),
            Step::Layers { .. } => self.bind_layers(step),
            Step::File { target, content, mode, owner, flags } => {
                self.bind_file(target, &content.0, *mode, *owner, *flags)
            }
            Step::Mask(path) => self.mask(path),
            Step::ReadonlyPath(path) => self.make_readonly(path),
            Step::MakeCwd(path) => self.root()?.mkdir_all(path, 0o755).map(drop).map_err(Failure::from),
            Step::Terminal { rows, columns } => self.open_terminal(*rows, *columns, control),
            Step::ReadonlyRoot => self.make_root_readonly(),
            Step::Pivot => self.pivot(),
            Step::Hostname(name) => Ok(rustix::system::sethostname(name.as_bytes())?),
            Step::Start
            | Step::OwnProc
            | Step::Streams(_)
            | Step::TerminalStreams
            | Step::Rlimits(_)
            | Step::AppArmor(_)
            | Step::Emulate(_)
            | Step::EnterCwd(_)
            | Step::Bounding(_)
            | Step::Filter
            | Step::BecomeUser { .. }
            | Step::Capabilities(_)
            | Step::NoNewPrivileges
            | Step::Execute { .. } => self.program_step(step),
        }
    }

    pub(super) fn root(&self) -> Result<&Root, Failure> {
        self.root.as_ref().ok_or_else(|| missing("the root"))
    }

    fn join_cgroup(&self) -> Result<(), Failure> {
        for group in &self.groups {
            rustix::io::write(group, b"0")?;
        }
        Ok(())
    }

    fn join_network(&self, handle: usize) -> Result<(), Failure> {
        let namespace = self.handles.get(handle).ok_or_else(|| missing("the network namespace"))?;
        let kind = rustix::thread::LinkNameSpaceType::Network;
        Ok(rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?)
    }

    /// The scratch space lies under the new root on the old one and goes away with that.
    fn make_scratch(&mut self, size: u64) -> Result<(), Failure> {
        let tmpfs = Filesystem::open("tmpfs")?;
        tmpfs.set("size", size.to_string())?.set("mode", "0700")?;
        let scratch = tmpfs.mount(Attributes { nosuid: true, nodev: true, ..Attributes::default() })?;
        mount::attach_on_root(scratch.as_fd())?;
        rustix::fs::mkdirat(&scratch, c"empty", Mode::from_raw_mode(0o555))?;
        self.scratch = Some(scratch);
        Ok(())
    }

    fn resolve_user(&mut self, user: &str, groups: &[String], setgroups: bool) -> Result<(), Failure> {
        let read = |path: &str| read_database(self.root()?, Path::new(path));
        let (passwd, group) = (read("/etc/passwd")?, read("/etc/group")?);
        // The user's name is the person's affair as the program's is: no word of steps.
        let unknown = |message| Failure::Exec { message, code: 125 };
        let mut identity = crate::user::resolve(user, groups, &passwd, &group).map_err(unknown)?;
        if !setgroups {
            // The user namespace has a single group: membership in others cannot be had, and is not asked for.
            identity.groups.clear();
        }
        self.identity = identity;
        Ok(())
    }

    fn make_root_readonly(&mut self) -> Result<(), Failure> {
        let attributes = Attributes { readonly: true, ..Attributes::default() };
        mount::restrict(self.root()?.as_fd(), Depth::One, attributes)?;
        self.root_readonly = true;
        Ok(())
    }

    fn pivot(&mut self) -> Result<(), Failure> {
        mount::pivot_root(self.root()?.as_fd())?;
        self.scratch = None;
        Ok(())
    }

    fn open_terminal(&mut self, rows: u16, columns: u16, control: BorrowedFd<'_>) -> Result<(), Failure> {
        let pts = self.pts.as_ref().ok_or_else(|| missing("devpts"))?;
        let pty = rbuild_sys::tty::open_pty(pts.as_fd())?;
        rbuild_sys::tty::resize(&pty.master, rows, columns)?;
        if !self.guest {
            self.bind_console(pty.slave.as_fd())?;
        }
        wire::send(control, &Report::Terminal, Some(pty.master.as_fd()))?;
        self.terminal = Some(pty);
        Ok(())
    }
}

/// Largest passwd or group file that is read.
const MAX_DATABASE: u64 = 10 << 20;

/// Reads a file of the root; a missing one is empty.
fn read_database(root: &Root, path: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let file = match root.open_file(path) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        file => file.map_err(Failure::on(path.display()))?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_DATABASE + 1).read_to_end(&mut bytes).map_err(Failure::on(path.display()))?;
    if bytes.len() as u64 > MAX_DATABASE {
        return Err(Failure::Plain(format!("{} is larger than {MAX_DATABASE} bytes", path.display())));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
