//! Resource limits by name.

use rustix::process::Resource;

use crate::error::SpecError;
use crate::spec::Rlimit;

/// Returns the kernel's name of a limit.
pub(crate) fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

/// Returns what was asked for, then the defaults, which may also come out lower.
pub(super) fn rlimits(asked: &[Rlimit]) -> Result<Vec<(Rlimit, bool)>, SpecError> {
    for limit in asked {
        if resource(&limit.name).is_none() {
            return Err(SpecError::Rlimit(limit.name.clone()));
        }
        if limit.soft > limit.hard {
            return Err(SpecError::RlimitOrder(limit.name.clone()));
        }
    }
    let missing = Rlimit::defaults().into_iter().filter(|limit| asked.iter().all(|own| own.name != limit.name));
    Ok(asked.iter().map(|limit| (limit.clone(), false)).chain(missing.map(|limit| (limit, true))).collect())
}
