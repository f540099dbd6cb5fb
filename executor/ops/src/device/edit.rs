//! From a device's description to a box.

use std::path::Path;

use rbuild_graph::pb;
use rbuild_sandbox::{BindSource, Device, Devices, Mount, MountKind, SandboxSpec};

use super::spec::{self, Edits};
use super::{DeviceError, Registry};

impl Registry {
    /// Gives a box the devices: what their files say for all of their devices once, then what is said of each.
    pub(crate) fn edit(&self, spec: &mut SandboxSpec, devices: &[pb::CdiDevice]) -> Result<(), DeviceError> {
        let mut applied = Vec::new();
        for pb::CdiDevice { name, .. } in devices {
            let unknown = || DeviceError::Unknown { name: name.clone(), broken: Vec::new() };
            let device = self.get(name).ok_or_else(unknown)?;
            if !applied.contains(&std::sync::Arc::as_ptr(&device.spec)) {
                applied.push(std::sync::Arc::as_ptr(&device.spec));
                apply(&device.spec.container_edits, spec, name)?;
            }
            apply(&device.described().container_edits, spec, name)?;
        }
        Ok(())
    }
}

fn apply(edits: &Edits, spec: &mut SandboxSpec, name: &str) -> Result<(), DeviceError> {
    let refuse = |what: &str| Err(DeviceError::Unsupported { name: name.to_owned(), what: what.to_owned() });
    if !edits.hooks.is_empty() {
        return refuse("hooks (programs that are run on the host)");
    }
    if !edits.net_devices.is_empty() {
        return refuse("network devices");
    }
    if edits.intel_rdt.is_some() {
        return refuse("Intel RDT");
    }
    spec.env.extend(edits.env.iter().cloned());
    spec.extra_groups.extend(edits.additional_gids.iter().filter(|gid| **gid != 0).map(ToString::to_string));
    for node in &edits.device_nodes {
        let device = device(node, name)?;
        match &mut spec.security.devices {
            Devices::With(devices) => devices.push(device),
            Devices::Default => spec.security.devices = Devices::With(vec![device]),
            Devices::All => return refuse("a device node, together with --security=insecure"),
        }
    }
    for mount in &edits.mounts {
        spec.mounts.push(bind(mount, name)?);
    }
    Ok(())
}

fn device(node: &spec::DeviceNode, name: &str) -> Result<Device, DeviceError> {
    let source = node.host_path.as_ref().unwrap_or(&node.path);
    let refuse = |what: String| Err(DeviceError::Unsupported { name: name.to_owned(), what });
    match node.kind.as_deref() {
        None | Some("b" | "c" | "u" | "") => {}
        Some(kind) => return refuse(format!("a node of type `{kind}`")),
    }
    if !is_device(source, node) {
        return refuse(format!("`{}`, which is not the device that it describes on this host", source.display()));
    }
    Ok(Device {
        source: source.clone(),
        target: node.path.clone(),
        access: node.permissions.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| "rwm".to_owned()),
        mode: node.file_mode,
        owner: (node.uid.is_some() || node.gid.is_some()).then(|| (node.uid.unwrap_or(0), node.gid.unwrap_or(0))),
    })
}

/// Whether the host has a device there, of the type and numbers that the description gives, if it gives any.
fn is_device(path: &Path, node: &spec::DeviceNode) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let Ok(found) = std::fs::symlink_metadata(path) else { return false };
    let kind = found.file_type();
    let wanted = match node.kind.as_deref() {
        Some("b") => kind.is_block_device(),
        Some("c" | "u") => kind.is_char_device(),
        _ => kind.is_block_device() || kind.is_char_device(),
    };
    // Descriptions leave the numbers out, or zero, to have the host's.
    let agrees = |given: Option<u32>, has: u32| given.is_none_or(|given| given == 0 || given == has);
    wanted && agrees(node.major, rustix::fs::major(found.rdev())) && agrees(node.minor, rustix::fs::minor(found.rdev()))
}

fn bind(mount: &spec::Mount, name: &str) -> Result<Mount, DeviceError> {
    let refuse = |what: String| Err(DeviceError::Unsupported { name: name.to_owned(), what });
    match mount.kind.as_deref() {
        None | Some("" | "bind" | "none") => {}
        Some(kind) => return refuse(format!("a mount of type `{kind}`")),
    }
    let (mut readonly, mut exec, mut recursive, mut nosuid) = (false, true, false, false);
    for option in &mount.options {
        match option.as_str() {
            "ro" => readonly = true,
            "rw" => readonly = false,
            "noexec" => exec = false,
            "rbind" => recursive = true,
            "nosuid" => nosuid = true,
            // So it is anyway: mounts of steps are private, and devices on them powerless.
            "bind" | "exec" | "suid" | "nodev" | "private" | "rprivate" | "relatime" => {}
            other => return refuse(format!("the mount option `{other}`")),
        }
    }
    Ok(Mount {
        target: mount.container_path.clone(),
        kind: MountKind::Bind { source: BindSource::Path(mount.host_path.clone()), recursive, nosuid },
        readonly,
        exec,
    })
}
