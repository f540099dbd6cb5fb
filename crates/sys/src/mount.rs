//! The mount API: fsopen, fsmount, move_mount, open_tree, mount_setattr.
//!
//! Every mount is made detached and attached by descriptor, so that no path is looked up twice.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

/// Attributes of one mount (not of its file system).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Writing is refused.
    pub readonly: bool,
    /// Set-user-ID and file capabilities are powerless.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Programs cannot be executed.
    pub noexec: bool,
}

impl Attributes {
    fn flags(self) -> MountAttrFlags {
        let mut flags = MountAttrFlags::empty();
        flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, self.readonly);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, self.nosuid);
        flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, self.nodev);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, self.noexec);
        flags
    }
}

/// A mount call that failed, with what the file system said about it.
#[derive(Debug)]
pub struct MountError {
    /// The kernel's error.
    pub errno: Errno,
    /// The kernel's message, if it left one.
    pub message: Option<String>,
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "{}: {message}", io::Error::from(self.errno)),
            None => write!(f, "{}", io::Error::from(self.errno)),
        }
    }
}

impl std::error::Error for MountError {}

impl From<Errno> for MountError {
    fn from(errno: Errno) -> Self {
        MountError { errno, message: None }
    }
}

/// A file system being configured.
#[derive(Debug)]
pub struct Filesystem(OwnedFd);

impl Filesystem {
    /// Opens a context for the file system `kind`, as `/proc/filesystems` lists it.
    pub fn open(kind: &str) -> Result<Filesystem, MountError> {
        let context = Filesystem(rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?);
        // What the first column of /proc/mounts shows.
        context.set("source", kind)?;
        Ok(context)
    }

    /// Sets `key` to `value`; the kernel takes at most 255 bytes.
    pub fn set(&self, key: &str, value: impl AsRef<OsStr>) -> Result<&Self, MountError> {
        self.told(rustix::mount::fsconfig_set_string(self.0.as_fd(), key, value.as_ref()))?;
        Ok(self)
    }

    /// Sets the flag `key`.
    pub fn flag(&self, key: &str) -> Result<&Self, MountError> {
        self.told(rustix::mount::fsconfig_set_flag(self.0.as_fd(), key))?;
        Ok(self)
    }

    /// Creates the file system and returns a detached mount of it.
    pub fn mount(&self, attributes: Attributes) -> Result<OwnedFd, MountError> {
        self.told(rustix::mount::fsconfig_create(self.0.as_fd()))?;
        self.told(rustix::mount::fsmount(self.0.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes.flags()))
    }

    /// Adds what the kernel wrote into the context's log.
    fn told<T>(&self, result: Result<T, Errno>) -> Result<T, MountError> {
        result.map_err(|errno| {
            let mut message = String::new();
            let mut line = [0_u8; 512];
            while let Ok(length @ 1..) = rustix::io::read(&self.0, &mut line) {
                let text = String::from_utf8_lossy(&line[..length]);
                // Lines begin with their severity: `e overlay: …`.
                let text = text.trim().trim_start_matches(|severity| "ewi".contains(severity)).trim();
                let separator = if message.is_empty() { "" } else { "; " };
                message = format!("{message}{separator}{text}");
            }
            MountError { errno, message: Some(message).filter(|message| !message.is_empty()) }
        })
    }
}

/// How much of a tree of mounts a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// One mount.
    One,
    /// It and all mounts below.
    Tree,
}

/// Returns a detached copy of the mount at an open file or directory (`O_PATH` suffices).
///
/// The descriptor must belong to the mount namespace of the caller.
pub fn clone_mount(of: BorrowedFd<'_>, depth: Depth) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, depth == Depth::Tree);
    Ok(rustix::mount::open_tree(of, c"", flags)?)
}

/// Attaches a detached mount at an open file or directory.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, c"", target, c"", flags)?)
}

/// Stacks a detached mount on top of everything at `/`.
pub fn attach_on_root(mount: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::mount::move_mount(mount, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Adds attributes to a mount or a whole tree, and cuts it off from mounts made elsewhere.
pub fn restrict(mount: BorrowedFd<'_>, depth: Depth, attributes: Attributes) -> io::Result<()> {
    change(mount, depth, attributes, Attributes::default())
}

/// Makes a mount writable again.
pub fn make_writable(mount: BorrowedFd<'_>) -> io::Result<()> {
    change(mount, Depth::One, Attributes::default(), Attributes { readonly: true, ..Attributes::default() })
}

fn change(mount: BorrowedFd<'_>, depth: Depth, set: Attributes, clear: Attributes) -> io::Result<()> {
    let request = libc::mount_attr {
        attr_set: u64::from(set.flags().bits()),
        attr_clr: u64::from(clear.flags().bits()),
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let mut flags = libc::AT_EMPTY_PATH;
    if depth == Depth::Tree {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is an empty NUL-terminated string and `request` is a whole `mount_attr` whose size is
    // passed; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const request,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Cuts all mounts of this namespace off from those of others.
pub fn make_all_private() -> io::Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change(c"/", flags)?)
}

/// How many mounts may be stacked on a root before we give up.
const MAX_STACK: usize = 32;

/// Makes an open mount the root of all processes of the namespace and detaches the old root.
///
/// Afterwards the working directory is the new root.
pub fn pivot_root(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    // With the same path twice the old root ends up stacked on the new one, so no directory is needed for it.
    rustix::process::pivot_root(c".", c".")?;
    // More may be stacked on the old root. As long as something is, `..` of the root leads there.
    for _ in 0..MAX_STACK {
        if mount_id(root, c"")? == mount_id(CWD, c"/..")? {
            return Ok(rustix::process::chdir(c"/")?);
        }
        rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    }
    Err(Errno::BUSY.into())
}

fn mount_id(dir: BorrowedFd<'_>, path: &std::ffi::CStr) -> io::Result<u64> {
    let found = rustix::fs::statx(dir, path, AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(found.stx_mnt_id)
}

/// Detaches the mount at `path`, which the caller made, once nobody uses it any more.
pub fn detach(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW)?)
}

/// Detaches everything from this namespace, root included if that is allowed; open descriptors stay usable.
///
/// Only for a namespace of our own: all is made private before, so that no other one follows. `process` is our
/// directory in a procfs, opened when that could be trusted.
pub fn detach_all(process: BorrowedFd<'_>) -> io::Result<()> {
    make_all_private()?;
    // What is stacked on the root goes first, one by one; when the root itself is gone, it is no mount any more.
    for turn in 0..MAX_STACK {
        match rustix::mount::unmount(c"/", UnmountFlags::DETACH) {
            // In a user namespace the root is locked to its place: what is below goes alone.
            Err(Errno::INVAL) if turn == 0 => return detach_each(process),
            Err(Errno::INVAL) => return Ok(()),
            result => result?,
        }
    }
    Err(Errno::BUSY.into())
}

fn detach_each(process: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::openat(process, c"mountinfo", flags, rustix::fs::Mode::empty())?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut std::fs::File::from(file), &mut text)?;
    // The latest first: it may lie on an earlier one.
    for line in text.split(|byte| *byte == b'\n').rev() {
        let Some(point) = line.split(|byte| *byte == b' ').nth(4).filter(|point| *point != b"/") else { continue };
        match rustix::mount::unmount(unescape(point).as_slice(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // It went with another one.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Undoes the octal escapes of `/proc/self/mountinfo`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                after
            }
            _ => {
                plain.push(*first);
                tail
            }
        };
    }
    plain
}

/// Mounts an overlay with one option string, for kernels that cannot take the layers one by one.
///
/// The data is at most one page.
pub fn mount_overlay_string(target: &Path, data: &str) -> io::Result<()> {
    let flags = rustix::mount::MountFlags::empty();
    let data = std::ffi::CString::new(data)?;
    Ok(rustix::mount::mount("overlay", target, "overlay", flags, Some(data.as_c_str()))?)
}

/// Magic numbers of file systems on which nothing of a user may be mounted.
pub fn is_kernel_filesystem(file: BorrowedFd<'_>) -> io::Result<bool> {
    const PROC: i64 = 0x9fa0;
    const SYSFS: i64 = 0x6265_6572;
    const CGROUP: i64 = 0x27_e0eb;
    const CGROUP2: i64 = 0x6367_7270;
    let kind = rustix::fs::fstatfs(file)?.f_type;
    #[allow(clippy::unnecessary_cast)]
    Ok([PROC, SYSFS, CGROUP, CGROUP2].contains(&(kind as i64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_mountinfo() {
        assert_eq!(unescape(b"/a\\040b\\134\\012c\\9"), b"/a b\\\nc\\9");
        assert_eq!(unescape("/ü".as_bytes()), "/ü".as_bytes());
    }
}
