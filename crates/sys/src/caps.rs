//! Capability sets of the calling thread.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Returns the bounding set as bits.
pub fn bounding() -> u64 {
    (0..64).filter(|bit| in_bounding(*bit)).fold(0, |set, bit| set | 1 << bit)
}

/// Returns the effective set as bits.
pub fn effective() -> io::Result<u64> {
    Ok(rustix::thread::capabilities(None)?.effective.bits())
}

/// Removes everything but `keep` from the bounding set.
pub fn limit_bounding(keep: u64) -> io::Result<()> {
    for bit in (0..64).filter(|bit| keep >> bit & 1 == 0) {
        if in_bounding(bit) {
            drop_bounding(bit)?;
        }
    }
    Ok(())
}

/// Makes `set` the permitted and effective sets; inheritable and ambient become empty.
pub fn limit_to(set: u64) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let set = CapabilitySet::from_bits_retain(set);
    let sets = CapabilitySets { effective: set, permitted: set, inheritable: CapabilitySet::empty() };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

fn in_bounding(bit: u32) -> bool {
    // SAFETY: PR_CAPBSET_READ takes a number and touches no memory.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(bit), 0, 0, 0) == 1 }
}

fn drop_bounding(bit: u32) -> io::Result<()> {
    // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
    match unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(bit), 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_is_within_bounding_for_this_process() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
        assert_eq!(bounding(), u64::from_str_radix(line, 16).unwrap());
    }

    #[test]
    fn root_a_thread_can_only_lose() {
        if effective().unwrap() & 1 << 8 == 0 {
            eprintln!("skipped: needs CAP_SETPCAP");
            return;
        }
        std::thread::spawn(|| {
            limit_bounding(1).unwrap();
            assert_eq!(bounding(), 1);
            limit_to(1).unwrap();
            assert_eq!(effective().unwrap(), 1);
            assert!(limit_to(3).is_err());
        })
        .join()
        .unwrap();
    }
}
