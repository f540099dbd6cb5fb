//! `/dev`: nodes, links, terminals.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rbuild_sys::mount::{self, Attributes, Depth, Filesystem};
use rbuild_sys::root::{Last, Root};
use rustix::fs::{FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::failure::Failure;
use super::mounts::open_path;
use super::world::{World, missing};
use crate::step::{DeviceNode, Flags};

impl World {
    pub(super) fn mount_dev(&mut self) -> Result<(), Failure> {
        let tmpfs = Filesystem::open("tmpfs")?;
        tmpfs.set("mode", "0755")?.set("size", "64m")?;
        let dev = tmpfs.mount(Attributes { nosuid: true, ..Attributes::default() })?;
        self.attach_own(&dev, "/dev")?;
        for dir in ["pts", "shm", "mqueue"] {
            rustix::fs::mkdirat(&dev, dir, Mode::from_raw_mode(0o755))?;
        }
        self.dev = Some(Root::from(dev));
        Ok(())
    }

    fn dev(&self) -> Result<&Root, Failure> {
        self.dev.as_ref().ok_or_else(|| missing("/dev"))
    }

    /// Returns the directory in `/dev` and the name for a node, making directories as needed.
    fn place<'a>(&self, target: &'a Path) -> Result<(rbuild_sys::root::Dir, &'a std::ffi::OsStr), Failure> {
        let inside = target.strip_prefix("/dev").unwrap_or(target);
        let name = inside.file_name().ok_or(Errno::INVAL)?;
        let parent = inside.parent().unwrap_or(Path::new(""));
        Ok((self.dev()?.mkdir_all(parent, 0o755)?, name))
    }

    pub(super) fn make_node(&mut self, node: &DeviceNode) -> Result<(), Failure> {
        let (parent, name) = self.place(&node.target)?;
        let kind = if node.block { FileType::BlockDevice } else { FileType::CharacterDevice };
        let device = rustix::fs::makedev(node.major, node.minor);
        match rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(node.mode), device) {
            // Root of a container that may not make nodes.
            Err(Errno::PERM) => return self.bind_node(node),
            result => result?,
        }
        if let Some((uid, gid)) = node.owner {
            let owner = (Uid::from_raw(uid), Gid::from_raw(gid));
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&parent, name, Some(owner.0), Some(owner.1), flags)?;
        }
        Ok(())
    }

    pub(super) fn bind_node(&mut self, node: &DeviceNode) -> Result<(), Failure> {
        let source = open_path(&node.source)?;
        let found = rustix::fs::fstat(&source)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let right = if node.block { kind.is_block_device() } else { kind.is_char_device() };
        if !right || found.st_rdev != rustix::fs::makedev(node.major, node.minor) {
            return Err(Failure::Plain(format!(
                "{} is not the device {}:{}",
                node.source.display(),
                node.major,
                node.minor
            )));
        }
        self.bind_in_dev(source.as_fd(), &node.target)
    }

    /// Binds an open device at a new file in `/dev`.
    fn bind_in_dev(&self, source: BorrowedFd<'_>, target: &Path) -> Result<(), Failure> {
        let (parent, name) = self.place(target)?;
        rustix::fs::mknodat(&parent, name, FileType::RegularFile, Mode::from_raw_mode(0o600), 0)?;
        let clone = mount::clone_mount(source, Depth::One)?;
        let attributes = Attributes { nosuid: true, noexec: true, ..Attributes::default() };
        mount::restrict(clone.as_fd(), Depth::One, attributes)?;
        Ok(mount::attach(clone.as_fd(), parent.open_path(name)?.as_fd())?)
    }

    pub(super) fn bind_console(&self, slave: BorrowedFd<'_>) -> Result<(), Failure> {
        self.bind_in_dev(slave, Path::new("/dev/console"))
    }

    pub(super) fn make_links(&mut self) -> Result<(), Failure> {
        let links = [
            ("/proc/self/fd", "fd"),
            ("/proc/self/fd/0", "stdin"),
            ("/proc/self/fd/1", "stdout"),
            ("/proc/self/fd/2", "stderr"),
            ("pts/ptmx", "ptmx"),
        ];
        for (target, name) in links {
            rustix::fs::symlinkat(target, self.dev()?, name)?;
        }
        Ok(())
    }

    pub(super) fn mount_pts(&mut self, gid: Option<u32>) -> Result<(), Failure> {
        let devpts = Filesystem::open("devpts")?;
        devpts.flag("newinstance")?.set("ptmxmode", "0666")?.set("mode", "0620")?;
        if let Some(gid) = gid {
            devpts.set("gid", gid.to_string())?;
        }
        let pts = devpts.mount(Attributes { nosuid: true, noexec: true, ..Attributes::default() })?;
        self.attach_in_dev(&pts, "pts")?;
        self.pts = Some(pts);
        Ok(())
    }

    pub(super) fn mount_mqueue(&mut self) -> Result<(), Failure> {
        let mqueue = match Filesystem::open("mqueue") {
            // A kernel without POSIX message queues has nothing to show.
            Err(error) if error.errno == Errno::NODEV => return Ok(()),
            mqueue => mqueue?.mount(Flags::DATA.into())?,
        };
        self.attach_in_dev(&mqueue, "mqueue")
    }

    fn attach_in_dev(&self, mount: &OwnedFd, name: &str) -> Result<(), Failure> {
        let target = self.dev()?.lookup(Path::new(name), Last::Keep)?;
        Ok(mount::attach(mount.as_fd(), target.as_fd())?)
    }
}
