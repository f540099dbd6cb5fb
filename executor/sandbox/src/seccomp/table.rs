//! The list of system calls and what decides about each.

use std::collections::BTreeMap;

use super::{Arch, Verdict};
use crate::caps::CapSet;

/// Name, numbers on x86-64, i386 and aarch64, and the capabilities of which one is needed.
///
/// The facts are those of moby's default profile and of the kernel's headers.
const TABLE: &str = include_str!("syscalls.txt");

/// First number of a range and what happens from there on.
pub(super) type Range = (u32, Verdict);

struct Row<'a> {
    name: &'a str,
    number: u32,
    needs: &'a str,
}

fn rows(arch: Arch) -> impl Iterator<Item = Row<'static>> {
    let column = match arch {
        Arch::X86_64 => 0,
        Arch::I386 => 1,
        Arch::Aarch64 => 2,
    };
    TABLE.lines().filter_map(move |line| {
        let mut fields = line.split(' ');
        let name = fields.next()?;
        let number = fields.clone().nth(column)?.parse().ok()?;
        Some(Row { name, number, needs: fields.nth(3)? })
    })
}

/// Returns what happens to every listed call, by number.
pub(super) fn verdicts(arch: Arch, capabilities: CapSet) -> BTreeMap<u32, Verdict> {
    rows(arch).map(|row| (row.number, verdict(&row, capabilities))).collect()
}

fn verdict(row: &Row<'_>, capabilities: CapSet) -> Verdict {
    let has = |name: &str| CapSet::named(name).is_some_and(|needed| capabilities.contains(needed));
    match row.name {
        "socket" => Verdict::Socket,
        "personality" => Verdict::Personality,
        "clone" if !has("SYS_ADMIN") => Verdict::Clone,
        "clone3" if !has("SYS_ADMIN") => Verdict::Unknown,
        _ if row.needs == "-" || row.needs.split(',').any(has) => Verdict::Allow,
        _ => Verdict::Deny,
    }
}

/// Returns what happens to every number, as ranges from 0 on, neighbours being different.
pub(super) fn ranges(arch: Arch, capabilities: CapSet) -> Vec<Range> {
    let verdicts = verdicts(arch, capabilities);
    let newest = verdicts.keys().next_back().copied().unwrap_or(0);
    let mut ranges: Vec<Range> = Vec::new();
    for number in 0..=newest {
        let verdict = verdicts.get(&number).copied().unwrap_or(Verdict::Deny);
        if ranges.last().is_none_or(|(_, last)| *last != verdict) {
            ranges.push((number, verdict));
        }
    }
    ranges.push((newest + 1, Verdict::Unknown));
    ranges
}
