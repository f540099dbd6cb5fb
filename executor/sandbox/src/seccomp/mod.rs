//! The default seccomp profile as a filter, depending on the capabilities only.
//!
//! Semantics are docker's: a closed list answers EPERM for the rest, ENOSYS for calls newer than the list (so that
//! programs fall back), and looks at arguments of `socket`, `personality` and `clone`. Calls by the x32 numbers
//! do not exist; those of i386 go by the same list, where `socketcall` hides the address family from any filter.

mod bpf;
mod table;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_sys::seccomp::Instruction;

use crate::caps::CapSet;

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// It fails with EPERM.
    Deny,
    /// It fails with ENOSYS, as if the kernel did not know it.
    Unknown,
    /// Allowed for all address families but AF_ALG and AF_VSOCK.
    Socket,
    /// Allowed for the harmless personalities.
    Personality,
    /// Allowed without new namespaces.
    Clone,
}

/// An architecture whose system calls the filter knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arch {
    X86_64,
    I386,
    Aarch64,
}

impl Arch {
    /// Returns those that programs on this machine can use.
    fn native() -> &'static [Arch] {
        if cfg!(target_arch = "x86_64") {
            &[Arch::X86_64, Arch::I386]
        } else if cfg!(target_arch = "aarch64") {
            &[Arch::Aarch64]
        } else {
            &[]
        }
    }

    /// Returns the kernel's name for it (`AUDIT_ARCH_*`).
    fn audit(self) -> u32 {
        match self {
            Arch::X86_64 => 0xc000_003e,
            Arch::I386 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
        }
    }
}

/// Returns the filter for processes with at most `capabilities`; `None` on architectures it is not made for.
pub fn default_filter(capabilities: CapSet) -> Option<Arc<[Instruction]>> {
    static FILTERS: Mutex<Option<HashMap<CapSet, Arc<[Instruction]>>>> = Mutex::new(None);
    let mut filters = FILTERS.lock().unwrap_or_else(PoisonError::into_inner);
    let filters = filters.get_or_insert_default();
    if let Some(filter) = filters.get(&capabilities) {
        return Some(Arc::clone(filter));
    }
    let filter: Arc<[Instruction]> = compile(capabilities, Arch::native())?.into();
    filters.insert(capabilities, Arc::clone(&filter));
    Some(filter)
}

fn compile(capabilities: CapSet, archs: &[Arch]) -> Option<Vec<Instruction>> {
    if archs.is_empty() {
        return None;
    }
    let ranges: Vec<_> = archs.iter().map(|arch| (arch.audit(), table::ranges(*arch, capabilities))).collect();
    Some(bpf::assemble(&ranges))
}

/// Packs instructions into numbers for the way to the init.
pub(crate) fn pack(filter: &[Instruction]) -> Vec<u64> {
    let pack =
        |it: &Instruction| u64::from(it.code) << 48 | u64::from(it.jt) << 40 | u64::from(it.jf) << 32 | u64::from(it.k);
    filter.iter().map(pack).collect()
}

/// Undoes [`pack`].
pub(crate) fn unpack(numbers: &[u64]) -> Vec<Instruction> {
    let unpack = |number: &u64| Instruction {
        code: (number >> 48) as u16,
        jt: (number >> 40) as u8,
        jf: (number >> 32) as u8,
        k: *number as u32,
    };
    numbers.iter().map(unpack).collect()
}

#[cfg(test)]
mod tests;
