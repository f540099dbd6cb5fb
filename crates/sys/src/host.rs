//! What this host offers and who we are on it.
//!
//! Decided once, at start; strategies are then chosen by value and no code below asks again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::subid::{IdMap, Mapping};

/// What this process may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Privilege {
    /// Uid 0 with every id of the host.
    Root,
    /// Uid 0 of a user namespace that holds a range of ids.
    UserNs(Mapping),
    /// Uid 0 of a user namespace in which no other id exists.
    SingleId(Mapping),
    /// An ordinary user in no namespace of its own: [`crate::userns::enter`] has not been called.
    Ordinary,
}

/// The kernel's version and the features that depend on its build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Major and minor number, `(6, 1)`.
    pub version: (u32, u32),
    /// Release as `uname -r` prints it.
    pub release: String,
    /// Whether overlayfs is there.
    pub overlay: bool,
    /// Whether overlayfs can be mounted from a user namespace (5.11, with `userxattr`).
    pub overlay_in_userns: bool,
    /// Whether fsopen, fsmount, move_mount and open_tree are there.
    pub mount_api: bool,
    /// Whether `/dev/fuse` is there.
    pub fuse: bool,
}

/// Programs that we use where they are installed; absolute paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tools {
    /// Maps ranges of user ids.
    pub newuidmap: Option<PathBuf>,
    /// Maps ranges of group ids.
    pub newgidmap: Option<PathBuf>,
    /// User-mode network of the passt project.
    pub pasta: Option<PathBuf>,
    /// Older user-mode network.
    pub slirp4netns: Option<PathBuf>,
    /// Overlay file system in user space.
    pub fuse_overlayfs: Option<PathBuf>,
}

/// The host and our place on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What this process may do.
    pub privilege: Privilege,
    /// Effective user id, as seen in our user namespace.
    pub uid: u32,
    /// Effective group id, as seen in our user namespace.
    pub gid: u32,
    /// The kernel.
    pub kernel: Kernel,
    /// Installed programs.
    pub tools: Tools,
}

impl Host {
    /// Looks once at everything; costs well under a millisecond.
    pub fn detect() -> io::Result<Host> {
        let uid = rustix::process::geteuid().as_raw();
        Ok(Host {
            privilege: privilege(uid)?,
            uid,
            gid: rustix::process::getegid().as_raw(),
            kernel: Kernel::detect(),
            tools: Tools::find(),
        })
    }
}

impl Privilege {
    /// Decides from the effective uid and the maps of our namespace.
    pub fn of(uid: u32, mapping: Mapping) -> Privilege {
        if uid != 0 {
            Privilege::Ordinary
        } else if mapping.uids.is_identity() {
            Privilege::Root
        } else if mapping.uids.count() > 1 {
            Privilege::UserNs(mapping)
        } else {
            Privilege::SingleId(mapping)
        }
    }

    /// Tells whether the ids and devices of the whole host are ours.
    pub fn is_root(&self) -> bool {
        matches!(self, Privilege::Root)
    }
}

fn privilege(uid: u32) -> io::Result<Privilege> {
    let map = |name| match fs::read_to_string(Path::new("/proc/self").join(name)) {
        Ok(text) => Ok(IdMap::parse(&text)),
        // A kernel without user namespaces: every id is what it is.
        Err(error) if error.kind() == io::ErrorKind::NotFound && Path::new("/proc/self").exists() => {
            Ok(IdMap::parse("0 0 4294967295"))
        }
        Err(error) => Err(error),
    };
    Ok(Privilege::of(uid, Mapping { uids: map("uid_map")?, gids: map("gid_map")? }))
}

impl Kernel {
    fn detect() -> Kernel {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy().into_owned();
        let version = version(&release);
        let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let listed = filesystems.lines().any(|line| line.split('\t').next_back() == Some("overlay"));
        // Opening the file system also loads its module; only root may, and only with the new API.
        let opened = rustix::mount::fsopen("overlay", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC);
        // Without privilege both calls are refused; ENOSYS alone says that there is no such call.
        let mount_api = !matches!(opened, Err(rustix::io::Errno::NOSYS)) && version >= (5, 2);
        let overlay = listed || opened.is_ok();
        Kernel {
            version,
            release,
            overlay,
            overlay_in_userns: overlay && version >= (5, 11),
            mount_api,
            fuse: Path::new("/dev/fuse").exists(),
        }
    }
}

/// Reads the first two numbers of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers =
        release.split(|character: char| !character.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Fixed directories, not `PATH`: some of these programs carry privilege.
const PROGRAM_DIRS: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"];

impl Tools {
    /// Looks for the programs in the system's directories.
    pub fn find() -> Tools {
        let find = |name: &str| {
            let mut paths = PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join(name));
            paths.find(|path| rustix::fs::access(path.as_path(), rustix::fs::Access::EXEC_OK).is_ok())
        };
        Tools {
            newuidmap: find("newuidmap"),
            newgidmap: find("newgidmap"),
            pasta: find("pasta"),
            slirp4netns: find("slirp4netns"),
            fuse_overlayfs: find("fuse-overlayfs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (release, expect) in
            [("6.1.0-18-amd64", (6, 1)), ("5.15", (5, 15)), ("6", (6, 0)), ("", (0, 0)), ("5.10.0+", (5, 10))]
        {
            assert_eq!(version(release), expect, "{release:?}");
        }
    }

    #[test]
    fn privileges() {
        let maps = |text: &str| Mapping { uids: IdMap::parse(text), gids: IdMap::parse(text) };
        let identity = maps("0 0 4294967295");
        assert_eq!(Privilege::of(0, identity.clone()), Privilege::Root);
        assert_eq!(Privilege::of(1000, identity), Privilege::Ordinary);
        let (range, single) = (maps("0 1000 1\n1 100000 65536"), maps("0 1000 1"));
        assert_eq!(Privilege::of(0, range.clone()), Privilege::UserNs(range));
        assert_eq!(Privilege::of(0, single.clone()), Privilege::SingleId(single));
    }

    #[test]
    fn this_host_can_be_described() {
        let host = Host::detect().unwrap();
        assert!(host.kernel.version > (3, 0), "{host:?}");
        assert_eq!(host.uid == 0, host.privilege != Privilege::Ordinary);
    }
}
