//! Ranges of system call numbers to a classic BPF program: a balanced search tree.
//!
//! Written from its end: jumps go forward only, so that every target is placed before the jump to it. A call costs
//! about seven comparisons where a chain of tests would cost hundreds.

use rbuild_sys::seccomp::Instruction;

use super::Verdict;
use super::table::Range;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Offsets in `struct seccomp_data`; little-endian, so an argument's low half comes first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// Flags of clone that make namespaces, without CLONE_NEWTIME, which clone cannot make.
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Returns a program that finds the verdict among the ranges of the calling architecture.
pub(super) fn assemble(archs: &[(u32, Vec<Range>)]) -> Vec<Instruction> {
    let mut program = Program { reversed: Vec::new(), leaves: Vec::new() };
    let mut next = program.give(KILL_PROCESS);
    for (arch, ranges) in archs.iter().rev() {
        let tree = program.tree(ranges);
        let tree = program.step(LOAD, NUMBER, tree);
        next = program.branch(EQUAL, *arch, tree, next);
    }
    program.step(LOAD, ARCH, next);
    program.reversed.reverse();
    program.reversed
}

/// Position counted from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label(usize);

struct Program {
    reversed: Vec<Instruction>,
    leaves: Vec<(Verdict, Label)>,
}

impl Program {
    fn put(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }

    fn give(&mut self, value: u32) -> Label {
        self.put(RETURN, 0, 0, value)
    }

    fn distance(&self, to: Label) -> usize {
        self.reversed.len() - 1 - to.0
    }

    /// Returns a label that a conditional jump placed next (or soon) can reach.
    fn near(&mut self, to: Label) -> Label {
        match self.distance(to) {
            0..=250 => to,
            far => self.put(JUMP, 0, 0, far as u32),
        }
    }

    /// Puts an instruction that falls through to `next`.
    fn step(&mut self, code: u16, k: u32, next: Label) -> Label {
        if self.distance(next) > 0 {
            let distance = self.distance(next) as u32;
            self.put(JUMP, 0, 0, distance);
        }
        self.put(code, 0, 0, k)
    }

    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        let (yes, no) = (self.near(yes), self.near(no));
        let (jt, jf) = (self.distance(yes), self.distance(no));
        self.put(code, jt as u8, jf as u8, k)
    }

    fn tree(&mut self, ranges: &[Range]) -> Label {
        match ranges {
            [] => self.give(ERRNO | EPERM),
            [(_, verdict)] => self.leaf(*verdict),
            _ => {
                let (left, right) = ranges.split_at(ranges.len() / 2);
                let first = right[0].0;
                let (right, left) = (self.tree(right), self.tree(left));
                self.branch(AT_LEAST, first, right, left)
            }
        }
    }

    /// Returns the place of a verdict: one in reach, or a new one.
    fn leaf(&mut self, verdict: Verdict) -> Label {
        let known = self.leaves.iter().rev().find(|(known, _)| *known == verdict).map(|(_, label)| *label);
        if let Some(label) = known.filter(|label| self.distance(*label) < 200) {
            return label;
        }
        let label = match verdict {
            Verdict::Allow => self.give(ALLOW),
            Verdict::Deny => self.give(ERRNO | EPERM),
            Verdict::Unknown => self.give(ERRNO | ENOSYS),
            Verdict::Socket => self.unless_one_of(&[AF_ALG, AF_VSOCK]),
            Verdict::Personality => self.only_one_of(&PERSONALITIES),
            Verdict::Clone => {
                let (allow, deny) = (self.leaf(Verdict::Allow), self.leaf(Verdict::Deny));
                let test = self.branch(EQUAL, 0, allow, deny);
                let mask = self.step(AND, NAMESPACE_FLAGS, test);
                self.step(LOAD, FIRST_ARGUMENT, mask)
            }
        };
        self.leaves.push((verdict, label));
        label
    }

    fn only_one_of(&mut self, values: &[u32]) -> Label {
        let (allow, deny) = (self.leaf(Verdict::Allow), self.leaf(Verdict::Deny));
        self.argument_in(values, allow, deny)
    }

    fn unless_one_of(&mut self, values: &[u32]) -> Label {
        let (allow, deny) = (self.leaf(Verdict::Allow), self.leaf(Verdict::Deny));
        self.argument_in(values, deny, allow)
    }

    /// Looks at the low half of the first argument: the kernel takes no more of these.
    fn argument_in(&mut self, values: &[u32], found: Label, other: Label) -> Label {
        let tests = values.iter().rev().fold(other, |next, value| self.branch(EQUAL, *value, found, next));
        self.step(LOAD, FIRST_ARGUMENT, tests)
    }
}
