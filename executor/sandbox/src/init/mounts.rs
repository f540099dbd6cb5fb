//! Mounts below the root: the kernel's file systems, binds, generated files, masks.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbuild_sys::mount::{self, Attributes, Depth, Filesystem};
use rbuild_sys::root::{Last, Root};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::failure::Failure;
use super::root::{Lower, Stack};
use super::target::Kind;
use super::world::{World, missing};
use crate::step::{Flags, Step};

impl World {
    /// Attaches `mount` where the engine itself decides; a link there is refused.
    pub(super) fn attach_own(&mut self, mount: &OwnedFd, path: &str) -> Result<(), Failure> {
        let root = self.root.as_ref().ok_or_else(|| missing("the root"))?;
        let path = Path::new(path);
        if let Ok(found) = root.lookup(path, Last::Keep) {
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
            if !kind.is_dir() {
                return Err(Failure::Plain(format!("{} of the image is not a directory", path.display())));
            }
        }
        let target = self.stubs.ensure(root, path, Kind::Directory)?;
        Ok(mount::attach(mount.as_fd(), target.as_fd())?)
    }

    /// Attaches `mount` where a spec wants it.
    fn attach_at(&mut self, mount: &OwnedFd, path: &Path, kind: Kind) -> Result<OwnedFd, Failure> {
        let root = self.root.as_ref().ok_or_else(|| missing("the root"))?;
        let target = self.stubs.ensure(root, path, kind)?;
        // A link of the image may lead there even if the path does not.
        if mount::is_kernel_filesystem(target.as_fd())? {
            return Err(Failure::Plain(format!("{} leads into a file system of the kernel", path.display())));
        }
        mount::attach(mount.as_fd(), target.as_fd())?;
        Ok(target)
    }

    pub(super) fn mount_proc(&mut self) -> Result<(), Failure> {
        let proc = Filesystem::open("proc")?.mount(Flags::DATA.into())?;
        self.attach_own(&proc, "/proc")?;
        self.proc = Some(proc);
        Ok(())
    }

    pub(super) fn mount_sys(&mut self, readonly: bool, bind_fallback: bool) -> Result<(), Failure> {
        let attributes = Attributes { readonly, ..Flags::DATA.into() };
        let own = Filesystem::open("sysfs").and_then(|sysfs| sysfs.mount(attributes));
        let sys = match own {
            // A user namespace may mount sysfs only with a network namespace of its own.
            Err(error) if bind_fallback && error.errno == Errno::PERM => {
                let host = open_path(Path::new("/sys"))?;
                let clone = mount::clone_mount(host.as_fd(), Depth::Tree)?;
                mount::restrict(clone.as_fd(), Depth::Tree, attributes)?;
                clone
            }
            own => own?,
        };
        self.attach_own(&sys, "/sys")
    }

    pub(super) fn show_cgroup(&mut self, groups: &[(String, PathBuf)], readonly: bool) -> Result<(), Failure> {
        const PLACE: &str = "/sys/fs/cgroup";
        let attributes = Attributes { readonly, ..Flags::DATA.into() };
        let view = |dir: &Path| -> Result<OwnedFd, Failure> {
            let clone = mount::clone_mount(open_path(dir)?.as_fd(), Depth::One)?;
            mount::restrict(clone.as_fd(), Depth::One, attributes)?;
            Ok(clone)
        };
        if let [(name, dir)] = groups
            && name.is_empty()
        {
            let view = view(dir)?;
            return self.attach_own(&view, PLACE);
        }
        let tmpfs = Filesystem::open("tmpfs")?;
        let base = tmpfs.set("mode", "0755")?.set("size", "64k")?.mount(Flags::DATA.into())?;
        self.attach_own(&base, PLACE)?;
        for (name, dir) in groups {
            rustix::fs::mkdirat(&base, name.as_str(), Mode::from_raw_mode(0o555))?;
            let target = rustix::fs::openat(&base, name.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            mount::attach(view(dir)?.as_fd(), target.as_fd())?;
        }
        Ok(mount::restrict(base.as_fd(), Depth::One, Attributes { readonly: true, ..Attributes::default() })?)
    }

    pub(super) fn bind(&mut self, source: usize, path: &Path, flags: Flags, depth: Depth) -> Result<(), Failure> {
        let clone = self.take_source(source)?;
        mount::restrict(clone.as_fd(), depth, flags.into())?;
        let kind = Kind::of(&clone)?;
        self.attach_at(&clone, path, kind).map(drop)
    }

    fn take_source(&mut self, source: usize) -> Result<OwnedFd, Failure> {
        let fd = self.sources.get(source).ok_or_else(|| missing("the source"))?;
        Ok(fd.try_clone()?)
    }

    pub(super) fn mount_tmpfs(
        &mut self,
        path: &Path,
        size: Option<u64>,
        mode: u32,
        (uid, gid): (u32, u32),
        flags: Flags,
    ) -> Result<(), Failure> {
        let tmpfs = Filesystem::open("tmpfs")?;
        tmpfs.set("mode", format!("{mode:o}"))?;
        if let Some(size) = size {
            tmpfs.set("size", size.to_string())?;
        }
        if (uid, gid) != (0, 0) {
            tmpfs.set("uid", uid.to_string())?.set("gid", gid.to_string())?;
        }
        let mount = tmpfs.mount(flags.into())?;
        self.attach_at(&mount, path, Kind::Directory).map(drop)
    }

    /// Binds what a stack of layers shows at a path.
    pub(super) fn bind_layers(&mut self, step: &Step) -> Result<(), Failure> {
        let Step::Layers { lowers, selector, upper, userxattr, one_by_one, target, flags } = step else {
            return Err(missing("layers"));
        };
        let stack = Root::from(if lowers.is_empty() && upper.is_none() {
            self.empty()?
        } else {
            let stack = Stack::new(lowers, upper.as_ref(), *userxattr, *one_by_one)?;
            self.mount_stack(&stack, Attributes::default())?
        });
        let found = stack.lookup(selector, Last::Follow).map_err(Failure::on(selector.display()))?;
        let clone = mount::clone_mount(found.as_fd(), Depth::One)?;
        mount::restrict(clone.as_fd(), Depth::One, (*flags).into())?;
        let kind = Kind::of(&clone)?;
        self.attach_at(&clone, target, kind).map(drop)
    }

    /// Binds a directory, then lays an overlay on it whose upper is thrown away.
    pub(super) fn mount_forgetful(&mut self, step: &Step) -> Result<(), Failure> {
        let Step::Forgetful { source, target: path, scratch, userxattr, one_by_one, flags } = step else {
            return Err(missing("a source"));
        };
        let clone = self.take_source(*source)?;
        if Kind::of(&clone)? != Kind::Directory {
            return Err(Failure::Plain("only writes to directories can be forgotten, not to a single file".to_owned()));
        }
        mount::restrict(clone.as_fd(), Depth::One, Attributes { readonly: true, ..(*flags).into() })?;
        // Attached first: overlayfs takes layers of mounts in our namespace only.
        let target = self.attach_at(&clone, path, Kind::Directory)?;
        let (upper, work) = make_upper(scratch, &clone)?;
        let upper = Some((upper, work, true));
        let stack = Stack { lowers: vec![Lower::Open(&clone)], upper, userxattr: *userxattr, one_by_one: *one_by_one };
        let overlay = self.mount_stack(&stack, (*flags).into())?;
        let overlay = mount::clone_mount(overlay.as_fd(), Depth::One)?;
        mount::restrict(overlay.as_fd(), Depth::One, (*flags).into())?;
        Ok(mount::attach(overlay.as_fd(), target.as_fd())?)
    }

    pub(super) fn bind_file(
        &mut self,
        path: &Path,
        content: &[u8],
        mode: u32,
        (uid, gid): (u32, u32),
        flags: Flags,
    ) -> Result<(), Failure> {
        let scratch = self.scratch.as_ref().ok_or_else(|| missing("the scratch space"))?;
        let name = format!("file-{}", self.files);
        self.files += 1;
        let open = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = std::fs::File::from(rustix::fs::openat(scratch, &name, open, Mode::from_raw_mode(0o600))?);
        file.write_all(content)?;
        if (uid, gid) != (0, 0) {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
        let clone = mount::clone_mount(file.as_fd(), Depth::One)?;
        mount::restrict(clone.as_fd(), Depth::One, flags.into())?;
        self.attach_at(&clone, path, Kind::File).map(drop)
    }

    /// Hides a path, or each that a pattern stands for, if it is there.
    pub(super) fn mask(&mut self, path: &str) -> Result<(), Failure> {
        for target in self.masked(path)? {
            let source = match Kind::of(&target)? {
                Kind::Directory => self.empty()?,
                Kind::File => self.null()?,
            };
            let clone = mount::clone_mount(source.as_fd(), Depth::One)?;
            mount::restrict(clone.as_fd(), Depth::One, Attributes { readonly: true, ..Attributes::default() })?;
            mount::attach(clone.as_fd(), target.as_fd())?;
        }
        Ok(())
    }

    /// Returns what a path with at most one `*` in a component stands for.
    fn masked(&self, pattern: &str) -> Result<Vec<OwnedFd>, Failure> {
        let root = self.root()?;
        let Some((before, after)) = pattern.split_once('*') else {
            return Ok(found(root, Path::new(pattern))?.into_iter().collect());
        };
        let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
        let (suffix, rest) = after.split_once('/').map_or((after, ""), |(suffix, rest)| (suffix, rest));
        let Ok(dir) = root.open_dir(Path::new(parent)) else { return Ok(Vec::new()) };
        let mut targets = Vec::new();
        for (name, _) in dir.names()? {
            let Some(name) = name.to_str().filter(|name| name.starts_with(prefix) && name.ends_with(suffix)) else {
                continue;
            };
            targets.extend(found(root, &Path::new(parent).join(name).join(rest))?);
        }
        Ok(targets)
    }

    pub(super) fn make_readonly(&mut self, path: &str) -> Result<(), Failure> {
        let Some(target) = found(self.root()?, Path::new(path))? else { return Ok(()) };
        let clone = mount::clone_mount(target.as_fd(), Depth::Tree)?;
        // What the mount forbids already stays forbidden.
        mount::restrict(clone.as_fd(), Depth::Tree, Attributes { readonly: true, ..Attributes::default() })?;
        Ok(mount::attach(clone.as_fd(), target.as_fd())?)
    }

    /// Returns our own `/dev/null`, after a look whether it is that.
    fn null(&self) -> Result<OwnedFd, Failure> {
        let dev = self.dev.as_ref().ok_or_else(|| missing("/dev"))?;
        let null = dev.lookup(Path::new("null"), Last::Keep)?;
        let stat = rustix::fs::statat(&null, c"", AtFlags::EMPTY_PATH)?;
        let right = FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == rustix::fs::makedev(1, 3);
        if right { Ok(null) } else { Err(Failure::Plain("/dev/null is not the null device".to_owned())) }
    }
}

/// Makes upper and work directory in `scratch`; a merged directory shows mode and owner of its upper.
fn make_upper(scratch: &Path, like: &OwnedFd) -> Result<(OwnedFd, OwnedFd), Failure> {
    let scratch = open_path(scratch)?;
    let make = |name: &str| -> Result<OwnedFd, Errno> {
        rustix::fs::mkdirat(&scratch, name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&scratch, name, flags, Mode::empty())
    };
    let (upper, work) = (make("upper")?, make("work")?);
    let owner = rustix::fs::fstat(like)?;
    rustix::fs::fchown(&upper, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)))?;
    rustix::fs::fchmod(&upper, Mode::from_raw_mode(owner.st_mode & 0o7777))?;
    Ok((upper, work))
}

/// Returns what is at `path`, if there is something; a name below a file is nothing.
fn found(root: &Root, path: &Path) -> Result<Option<OwnedFd>, Failure> {
    match root.lookup(path, Last::Follow) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        found => found.map(Some).map_err(Failure::on(path.display())),
    }
}

/// Opens a path of the host without following its last component.
pub(super) fn open_path(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Failure::on(path.display())(errno.into()))
}
