//! What a spec may not ask for.

use std::path::{Component, Path};

use crate::error::SpecError;
use crate::facts::HostFacts;
use crate::spec::{
    BindSource, Devices, Handle, Limits, MountKind, Network, Pids, RootSpec, SandboxSpec, Seccomp, Stdio, Stream,
};

pub(super) fn check(spec: &SandboxSpec, facts: &HostFacts) -> Result<(), SpecError> {
    command(spec)?;
    paths(spec)?;
    if let RootSpec::Overlay { lowers, .. } = &spec.root
        && !(1..=500).contains(&lowers.len())
    {
        return Err(SpecError::Lowers(lowers.len()));
    }
    hostname(&spec.hostname)?;
    devices(&spec.security.devices)?;
    limits(&spec.limits)?;
    rights(spec, facts)
}

/// Checks what counts for a further process in a box.
pub(super) fn guest(spec: &SandboxSpec, facts: &HostFacts) -> Result<(), SpecError> {
    if !spec.init {
        return Err(SpecError::NoInit);
    }
    command(spec)?;
    absolute("the working directory", &spec.cwd)?;
    rights(spec, facts)
}

fn rights(spec: &SandboxSpec, facts: &HostFacts) -> Result<(), SpecError> {
    match &spec.security.apparmor {
        Some(profile) if !facts.apparmor => return Err(SpecError::NoAppArmor(profile.clone())),
        _ => {}
    }
    if spec.security.seccomp == Seccomp::Default && !facts.seccomp {
        return Err(SpecError::NoSeccomp);
    }
    if !spec.extra_groups.is_empty() && !facts.setgroups {
        return Err(SpecError::NeedsRoot("setting supplementary groups"));
    }
    Ok(())
}

fn command(spec: &SandboxSpec) -> Result<(), SpecError> {
    if spec.args.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand);
    }
    let nul = |what: &str, text: &String| match text.contains('\0') {
        true => Err(SpecError::Nul { what: what.to_owned() }),
        false => Ok(()),
    };
    spec.args.iter().try_for_each(|argument| nul("an argument", argument))?;
    for entry in &spec.env {
        nul("an environment entry", entry)?;
        if entry.find('=').is_none_or(|at| at == 0) {
            return Err(SpecError::Env(entry.clone()));
        }
    }
    Ok(())
}

fn paths(spec: &SandboxSpec) -> Result<(), SpecError> {
    absolute("the working directory", &spec.cwd)?;
    for mount in &spec.mounts {
        absolute("mount target", &mount.target)?;
        let plain: std::path::PathBuf = mount.target.components().collect();
        // Writes to /proc decide about us, and a mount on it could fake what we verify.
        if plain == Path::new("/") || ["/proc", "/sys"].iter().any(|taken| plain.starts_with(taken)) {
            return Err(SpecError::Target(mount.target.display().to_string()));
        }
        if let MountKind::Layers { lowers, selector, .. } = &mount.kind {
            if lowers.len() > 500 {
                return Err(SpecError::Lowers(lowers.len()));
            }
            if selector.as_os_str().as_encoded_bytes().contains(&0) {
                return Err(SpecError::Nul { what: "the source of a mount".to_owned() });
            }
        }
    }
    let masks = spec.security.masked_paths.iter().chain(&spec.security.readonly_paths);
    masks.map(Path::new).try_for_each(|path| absolute("a masked or read-only path", path))
}

fn absolute(what: &'static str, path: &Path) -> Result<(), SpecError> {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if climbs || !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(SpecError::NotAbsolute { what, path: path.display().to_string() });
    }
    Ok(())
}

fn hostname(name: &str) -> Result<(), SpecError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fine) {
        return Err(SpecError::Hostname(name.to_owned()));
    }
    Ok(())
}

fn devices(devices: &Devices) -> Result<(), SpecError> {
    let Devices::With(devices) = devices else { return Ok(()) };
    for device in devices {
        absolute("device", &device.source)?;
        absolute("device", &device.target)?;
        if device.target.strip_prefix("/dev").is_ok_and(|rest| rest.as_os_str().is_empty())
            || !device.target.starts_with("/dev")
        {
            return Err(SpecError::Target(device.target.display().to_string()));
        }
        if device.access.is_empty() || !device.access.chars().all(|letter| "rwm".contains(letter)) {
            return Err(SpecError::DeviceAccess(device.access.clone()));
        }
    }
    Ok(())
}

fn limits(limits: &Limits) -> Result<(), SpecError> {
    fn range<T: PartialOrd + ToString>(
        what: &'static str,
        value: Option<T>,
        fine: impl Fn(&T) -> bool,
        range: &'static str,
    ) -> Result<(), SpecError> {
        match value {
            Some(value) if !fine(&value) => Err(SpecError::Limit { what, value: value.to_string(), range }),
            _ => Ok(()),
        }
    }
    range("memory limit", limits.memory, |bytes| *bytes >= 6 << 20, "at least 6 MiB")?;
    let memory = i64::try_from(limits.memory.unwrap_or(0)).unwrap_or(i64::MAX);
    range(
        "swap limit",
        limits.memory_swap,
        |both| *both == -1 || (memory > 0 && *both >= memory),
        "-1 or at least the memory limit, which must be set",
    )?;
    range("CPU shares", limits.cpu_shares, |shares| (2..=262_144).contains(shares), "2 to 262144")?;
    range("CPU period", limits.cpu_period, |period| (1000..=1_000_000).contains(period), "1000 to 1000000")?;
    range("CPU quota", limits.cpu_quota, |quota| *quota == -1 || *quota >= 1000, "-1 or at least 1000")?;
    for (what, set) in [("CPU set", &limits.cpuset_cpus), ("memory node set", &limits.cpuset_mems)] {
        let fine =
            |set: &String| !set.is_empty() && set.bytes().all(|byte| byte.is_ascii_digit() || b",-".contains(&byte));
        range(what, set.clone(), fine, "lists such as 0-3,5")?;
    }
    match limits.pids {
        Pids::Max(0) => range("process limit", Some(0), |_| false, "at least 1"),
        Pids::Max(_) | Pids::Default | Pids::Unlimited => Ok(()),
    }
}

/// Checks that all descriptors that `spec` names were given.
pub(crate) fn handles(spec: &SandboxSpec, count: usize) -> Result<(), SpecError> {
    let check = |what, Handle(index): Handle| match index < count {
        true => Ok(()),
        false => Err(SpecError::Handle { what, index, count }),
    };
    for mount in &spec.mounts {
        match &mount.kind {
            MountKind::Bind { source: BindSource::Handle(handle), .. }
            | MountKind::Scratch { source: BindSource::Handle(handle), .. } => check("a mount", *handle)?,
            MountKind::Bind { .. }
            | MountKind::Scratch { .. }
            | MountKind::Layers { .. }
            | MountKind::Tmpfs { .. }
            | MountKind::Secret { .. } => {}
        }
    }
    if let Network::Join(handle) = spec.network {
        check("the network", handle)?;
    }
    if let Stdio::Streams { stdin, stdout, stderr } = spec.stdio {
        for stream in [stdin, stdout, stderr] {
            if let Stream::Handle(handle) = stream {
                check("a standard stream", handle)?;
            }
        }
    }
    Ok(())
}
