//! Limits of steps: of each process, of the memory they share, of their control group.

use std::collections::BTreeMap;

use rbuild_graph::pb;

use super::{Resources, fields};

/// The limits of processes there are.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// The largest number of a processor or memory node.
const MAX_CPU: u32 = 8192;

/// Reads `name=soft[:hard],…`.
pub(super) fn ulimits(text: &str) -> Result<Vec<pb::Ulimit>, String> {
    fields(text)?.iter().map(|field| ulimit(field)).collect()
}

fn ulimit(text: &str) -> Result<pb::Ulimit, String> {
    let (name, values) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| text.parse::<i64>().map_err(|_| format!("invalid number {text:?} in ulimit {name}"));
    let parts: Vec<&str> = values.split(':').collect();
    let (soft, hard) = match parts[..] {
        [both] => (number(both)?, number(both)?),
        [soft, hard] => (number(soft)?, number(hard)?),
        _ => {
            return Err(format!("too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"));
        }
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(pb::Ulimit { name: name.to_owned(), soft, hard })
}

/// Reads bytes.
pub(super) fn shm_size(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    // Nobody can have more than a signed number holds, and ops have it signed.
    let size = text.parse::<u64>().ok().filter(|size| i64::try_from(*size).is_ok());
    size.ok_or_else(|| format!("{text:?} is not a number of bytes"))
}

/// Reads the limits of control groups; none if there are none.
pub(super) fn resources(given: &BTreeMap<String, String>) -> Result<Option<Resources>, String> {
    let resources = Resources {
        memory: number(given, "memory", |memory| memory > 0, "must be > 0")?,
        memory_swap: number(given, "memswap", |swap| swap > 0 || swap == -1, "must be -1 (unlimited) or > 0")?,
        cpu_shares: number(given, "cpushares", |shares: u64| shares > 0, "must be > 0")?,
        cpu_period: number(given, "cpuperiod", |period: u64| period > 0, "must be > 0")?,
        cpu_quota: number(given, "cpuquota", |quota| quota > 0, "must be > 0")?,
        cpuset_cpus: set(given, "cpusetcpus")?,
        cpuset_mems: set(given, "cpusetmems")?,
    };
    Ok(Some(resources).filter(|resources| *resources != Resources::default()))
}

fn number<T: std::str::FromStr + Copy + Default>(
    given: &BTreeMap<String, String>,
    name: &str,
    is_valid: impl Fn(T) -> bool,
    rule: &str,
) -> Result<T, String> {
    let Some(text) = given.get(name).filter(|text| !text.is_empty()) else { return Ok(T::default()) };
    let number: T = text.parse().map_err(|_| format!("invalid {name} value: {text}: not a number"))?;
    if is_valid(number) { Ok(number) } else { Err(format!("invalid {name} value: {text}: {rule}")) }
}

/// Reads `0-3,5`.
fn set(given: &BTreeMap<String, String>, name: &str) -> Result<String, String> {
    let text = given.get(name).map_or("", String::as_str);
    let wrong = |part: &str, reason: &str| Err(format!("invalid {name} value: {text}: {part:?} {reason}"));
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (Some(low), Some(high)) =
            (low.parse::<u32>().ok().filter(|_| digits(low)), high.parse::<u32>().ok().filter(|_| digits(high)))
        else {
            return wrong(part, "is not a number or a range");
        };
        if low > high {
            return wrong(part, "ends before it begins");
        }
        if high > MAX_CPU {
            return wrong(part, &format!("exceeds the maximum {MAX_CPU}"));
        }
    }
    Ok(text.to_owned())
}
