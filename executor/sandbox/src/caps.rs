//! Sets of capabilities as values.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A set of Linux capabilities, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CapSet(u64);

const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl CapSet {
    /// None at all.
    pub const EMPTY: CapSet = CapSet(0);
    /// The fourteen that docker and BuildKit give.
    pub const DEFAULT: CapSet = CapSet(0x0000_0000_a804_25fb);
    /// Every one that is known here.
    pub const ALL: CapSet = CapSet((1 << NAMES.len()) - 1);

    /// Returns the set with these bits; bits that have no name are dropped.
    pub fn from_bits(bits: u64) -> CapSet {
        CapSet(bits & Self::ALL.0)
    }

    /// Returns one bit for each capability.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Returns the capability called `name`, with or without `CAP_`, in any case; `ALL` is all.
    pub fn named(name: &str) -> Option<CapSet> {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if short == "ALL" {
            return Some(Self::ALL);
        }
        NAMES.iter().position(|known| *known == short).map(|bit| CapSet(1 << bit))
    }

    /// Returns both together.
    pub fn with(self, other: CapSet) -> CapSet {
        CapSet(self.0 | other.0)
    }

    /// Returns those that are not in `other`.
    pub fn without(self, other: CapSet) -> CapSet {
        CapSet(self.0 & !other.0)
    }

    /// Returns those that are in both.
    pub fn intersection(self, other: CapSet) -> CapSet {
        CapSet(self.0 & other.0)
    }

    /// Tells whether all of `other` are in this set.
    pub fn contains(self, other: CapSet) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the names in the order of their numbers.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| *name)
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CapSet({:016x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // items: R008
    #[test]
    fn the_default_mask_is_the_fourteen() {
        let names = [
            "CHOWN",
            "DAC_OVERRIDE",
            "FSETID",
            "FOWNER",
            "MKNOD",
            "NET_RAW",
            "SETGID",
            "SETUID",
            "SETFCAP",
            "SETPCAP",
            "NET_BIND_SERVICE",
            "SYS_CHROOT",
            "KILL",
            "AUDIT_WRITE",
        ];
        let all = names.iter().map(|name| CapSet::named(name).unwrap());
        assert_eq!(all.fold(CapSet::EMPTY, CapSet::with), CapSet::DEFAULT);
        assert_eq!(CapSet::DEFAULT.names().count(), 14);
    }

    #[test]
    fn names_are_lenient_and_closed() {
        assert_eq!(CapSet::named("cap_sys_admin"), CapSet::named("SYS_ADMIN"));
        assert_eq!(CapSet::named("SYS_ADMIN").unwrap().bits(), 1 << 21);
        assert_eq!(CapSet::named("ALL"), Some(CapSet::ALL));
        assert_eq!(CapSet::named("SYS_ROOT"), None);
    }
}
