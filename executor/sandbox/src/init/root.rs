//! Stacks of layers, and the root file system.
//!
//! Every stack is attached in the scratch space, which lies on the old root and goes away with that.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbuild_sys::mount::{self, Attributes, Depth, Filesystem};
use rbuild_sys::root::Root;
use rustix::fs::{Mode, OFlags};

use super::failure::Failure;
use super::world::{World, missing};
use crate::spec::Upper;
use crate::step::Step;

/// What an overlay is made of.
pub(super) struct Stack<'a> {
    /// The topmost first.
    pub(super) lowers: Vec<Lower<'a>>,
    /// Upper, work, and whether syncing is skipped.
    pub(super) upper: Option<(OwnedFd, OwnedFd, bool)>,
    pub(super) userxattr: bool,
    /// Whether the kernel takes layers one by one.
    pub(super) one_by_one: bool,
}

/// One layer.
pub(super) enum Lower<'a> {
    /// A directory of the store.
    Path(&'a Path),
    /// An open directory whose mount is attached in our namespace.
    Open(&'a OwnedFd),
}

impl<'a> Stack<'a> {
    pub(super) fn new(
        lowers: &'a [PathBuf],
        upper: Option<&Upper>,
        userxattr: bool,
        one_by_one: bool,
    ) -> Result<Self, Failure> {
        let open = |upper: &Upper| Ok::<_, Failure>((open_dir(&upper.upper)?, open_dir(&upper.work)?, upper.volatile));
        let lowers = lowers.iter().map(|path| Lower::Path(path)).collect();
        Ok(Stack { lowers, upper: upper.map(open).transpose()?, userxattr, one_by_one })
    }
}

impl World {
    pub(super) fn mount_root(&mut self, step: &Step) -> Result<(), Failure> {
        let fd = match step {
            Step::RootDir { path, nodev } => {
                let clone = mount::clone_mount(open_dir(path)?.as_fd(), Depth::One)?;
                mount::restrict(clone.as_fd(), Depth::One, Attributes { nodev: *nodev, ..Attributes::default() })?;
                let place = self.new_place()?;
                mount::attach(clone.as_fd(), open_place(&place)?.as_fd())?;
                clone
            }
            Step::RootOverlay { lowers, upper, userxattr, one_by_one, nodev } => {
                let stack = Stack::new(lowers, upper.as_ref(), *userxattr, *one_by_one)?;
                self.mount_stack(&stack, Attributes { nodev: *nodev, ..Attributes::default() })?
            }
            _ => return Err(missing("a root")),
        };
        self.root = Some(Root::from(fd));
        Ok(())
    }

    /// Mounts a stack out of sight and returns its root directory.
    pub(super) fn mount_stack(&mut self, stack: &Stack<'_>, attributes: Attributes) -> Result<OwnedFd, Failure> {
        let place = self.new_place()?;
        // Overlayfs wants an upper or two layers, and only overlayfs hides whiteouts; an empty layer changes nothing.
        let padding = match stack.lowers.len() {
            0 => true,
            1 => stack.upper.is_none(),
            _ => false,
        };
        let padding: Vec<OwnedFd> = if padding { vec![self.empty()?] } else { Vec::new() };
        if stack.one_by_one {
            let overlay = one_by_one(stack, &padding, attributes)?;
            mount::attach(overlay.as_fd(), open_place(&place)?.as_fd())?;
            return Ok(overlay);
        }
        by_string(stack, &padding, &place)?;
        let root = open_place(&place)?;
        mount::restrict(root.as_fd(), Depth::One, attributes)?;
        Ok(root)
    }

    /// Makes a directory of the scratch space to mount something on.
    fn new_place(&mut self) -> Result<String, Failure> {
        let scratch = self.scratch.as_ref().ok_or_else(|| missing("the scratch space"))?;
        let name = format!("mount-{}", self.files);
        self.files += 1;
        rustix::fs::mkdirat(scratch, &name, Mode::from_raw_mode(0o700))?;
        Ok(format!("{}/{name}", path_of(scratch)))
    }

    /// Opens the empty directory of the scratch space.
    pub(super) fn empty(&self) -> Result<OwnedFd, Failure> {
        let scratch = self.scratch.as_ref().ok_or_else(|| missing("the scratch space"))?;
        Ok(rustix::fs::openat(scratch, c"empty", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
    }
}

fn open_place(place: &str) -> Result<OwnedFd, Failure> {
    Ok(rustix::fs::open(place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn one_by_one(stack: &Stack<'_>, padding: &[OwnedFd], attributes: Attributes) -> Result<OwnedFd, Failure> {
    let overlay = Filesystem::open("overlay")?;
    // What lands in the upper must be whole files and plain whiteouts, whatever the kernel's defaults are.
    if stack.userxattr {
        // This turns the others off by itself, and refuses to be told.
        overlay.flag("userxattr")?;
    } else {
        overlay.set("redirect_dir", "off")?.set("metacopy", "off")?.set("index", "off")?;
    }
    for lower in &stack.lowers {
        match lower {
            Lower::Path(path) => {
                // One at a time: 500 of them would not fit into every limit on descriptors.
                let lower = open_dir(path)?;
                overlay.set("lowerdir+", path_of(&lower)).map_err(|error| on_layer(path, error))?;
            }
            Lower::Open(lower) => drop(overlay.set("lowerdir+", path_of(lower))?),
        }
    }
    for lower in padding {
        overlay.set("lowerdir+", path_of(lower))?;
    }
    if let Some((upper, work, volatile)) = &stack.upper {
        overlay.set("upperdir", path_of(upper))?.set("workdir", path_of(work))?;
        if *volatile {
            overlay.flag("volatile")?;
        }
    }
    Ok(overlay.mount(attributes)?)
}

/// For kernels before 6.8: all options in one page, mounted by path.
fn by_string(stack: &Stack<'_>, padding: &[OwnedFd], place: &str) -> Result<(), Failure> {
    let mut opened = Vec::new();
    for lower in &stack.lowers {
        opened.push(match lower {
            Lower::Path(path) => open_dir(path)?,
            Lower::Open(fd) => fd.try_clone()?,
        });
    }
    let names: Vec<String> = opened.iter().chain(padding).map(path_of).collect();
    let mut data = format!("lowerdir={}", names.join(":"));
    if let Some((upper, work, volatile)) = &stack.upper {
        data += &format!(",upperdir={},workdir={}", path_of(upper), path_of(work));
        data += if *volatile { ",volatile" } else { "" };
    }
    data += if stack.userxattr { ",userxattr" } else { ",redirect_dir=off,metacopy=off,index=off" };
    if data.len() >= 4096 {
        return Err(Failure::Plain(format!("{} layers are too many for kernels before 6.8", names.len())));
    }
    Ok(mount::mount_overlay_string(Path::new(place), &data)?)
}

fn on_layer(path: &Path, error: mount::MountError) -> Failure {
    match Failure::from(error) {
        Failure::Errno { errno, text } => Failure::Errno { errno, text: format!("layer {}: {text}", path.display()) },
        other => other,
    }
}

/// Opens a directory of the store; its last component is not followed.
fn open_dir(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Failure::on(path.display())(errno.into()))
}

/// Returns a path for an open directory that holds no separator, is short, and shows nothing of the host.
fn path_of(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
