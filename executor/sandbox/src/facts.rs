//! What the host offers, as far as plans depend on it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rbuild_sys::host::{Host, Privilege};

use crate::caps::CapSet;
use crate::error::SandboxError;
use crate::spec::Devices;
use crate::step::DeviceNode;

/// What the host offers, as far as plans depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Whether we are uid 0 of a user namespace only.
    pub rootless: bool,
    /// Whether supplementary groups can be set.
    pub setgroups: bool,
    /// The group terminals belong to, if it is mapped.
    pub tty_group: Option<u32>,
    /// Whether overlayfs takes layers one by one (6.8).
    pub lowers_one_by_one: bool,
    /// Whether a user namespace may have handlers for programs of other machines (6.7).
    pub own_handlers: bool,
    /// Capabilities we can pass on.
    pub capabilities: CapSet,
    /// Whether the kernel filters system calls, and we have a list for this processor.
    pub seccomp: bool,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// What this box has in addition to the host.
    pub group: GroupFacts,
    /// Devices beyond the default ones, as found on the host.
    pub devices: Vec<DeviceNode>,
}

/// The cgroup of one box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupFacts {
    /// Controller (empty for v2) and directory on the host; empty if there is no cgroup.
    pub directories: Vec<(String, PathBuf)>,
    /// Whether it decides which devices can be opened.
    pub controls_devices: bool,
}

impl HostFacts {
    /// Reads what is needed beyond what `host` says.
    pub fn detect(host: &Host) -> io::Result<HostFacts> {
        let rootless = !host.privilege.is_root();
        let tty_group = match &host.privilege {
            Privilege::UserNs(mapping) | Privilege::SingleId(mapping) => mapping.gids.to_outside(5).map(|_| 5),
            Privilege::Root | Privilege::Ordinary => Some(5),
        };
        let setgroups = fs::read_to_string("/proc/self/setgroups").map_or(true, |text| text.trim() != "deny");
        let own = CapSet::from_bits(rbuild_sys::caps::bounding() & rbuild_sys::caps::effective()?);
        let apparmor = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        Ok(HostFacts {
            rootless,
            setgroups,
            tty_group,
            lowers_one_by_one: host.kernel.version >= (6, 8),
            own_handlers: host.kernel.version >= (6, 7) && namespaces_left(),
            capabilities: own,
            seccomp: rbuild_sys::seccomp::available() && crate::seccomp::default_filter(CapSet::DEFAULT).is_some(),
            apparmor: apparmor.is_ok_and(|text| text.trim() == "Y"),
            group: GroupFacts::default(),
            devices: Vec::new(),
        })
    }
}

/// Whether the administrator lets anybody make user namespaces.
fn namespaces_left() -> bool {
    fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|text| text.trim() != "0")
}

/// Nodes that the entitlement `security.insecure` adds where the host has them.
const INSECURE: [&str; 4] = ["/dev/kmsg", "/dev/fuse", "/dev/kvm", "/dev/net/tun"];

/// Finds the devices that a spec adds to the default ones.
pub(crate) fn devices(asked: &Devices, rootless: bool) -> Result<Vec<DeviceNode>, SandboxError> {
    match asked {
        Devices::Default => Ok(Vec::new()),
        Devices::With(devices) => devices
            .iter()
            .map(|device| {
                let what = format!("looking at device `{}`", device.source.display());
                let found = node(&device.source, &device.target).map_err(SandboxError::host(what))?;
                Ok(DeviceNode {
                    mode: device.mode.map_or(found.mode, |mode| mode & 0o777),
                    owner: device.owner,
                    ..found
                })
            })
            .collect(),
        // Without root there are no rights that nodes would be good for, beyond what their modes give.
        Devices::All if rootless => Ok(Vec::new()),
        Devices::All => {
            let loops = ["/dev/loop-control".to_owned()].into_iter().chain((0..8).map(|n| format!("/dev/loop{n}")));
            let all = INSECURE.map(str::to_owned).into_iter().chain(loops);
            Ok(all.filter_map(|path| node(Path::new(&path), Path::new(&path)).ok()).collect())
        }
    }
}

fn node(source: &Path, target: &Path) -> io::Result<DeviceNode> {
    let found = fs::symlink_metadata(source)?;
    let kind = found.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a device"));
    }
    Ok(DeviceNode {
        source: source.to_owned(),
        target: target.to_owned(),
        block: kind.is_block_device(),
        major: rustix::fs::major(found.rdev()),
        minor: rustix::fs::minor(found.rdev()),
        mode: found.mode() & 0o7777,
        owner: None,
    })
}
