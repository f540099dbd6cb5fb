//! Which devices a group may open: lines for v1, a program for v2.

use rbuild_sys::bpf::Instruction;

/// One rule: devices that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `c` or `b`.
    pub kind: char,
    /// Major number; any if missing.
    pub major: Option<u32>,
    /// Minor number; any if missing.
    pub minor: Option<u32>,
    /// Any of `r`, `w`, `m`.
    pub access: String,
}

/// Which devices a group may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DevicePolicy {
    /// Those of the rules; nothing else.
    Only(Vec<Rule>),
    /// All.
    All,
}

impl DevicePolicy {
    /// Returns the default: any node may be made, but only harmless ones opened.
    pub fn default_with(more: impl IntoIterator<Item = Rule>) -> DevicePolicy {
        let rule = |kind, major, minor, access: &str| Rule { kind, major, minor, access: access.to_owned() };
        let open = |major, minor| rule('c', Some(major), minor, "rwm");
        let mut rules = vec![rule('c', None, None, "m"), rule('b', None, None, "m")];
        // null, zero, full, random, urandom, tty, console, ptmx, pts/*
        rules.extend([3, 5, 7, 8, 9].map(|minor| open(1, Some(minor))));
        rules.extend([0, 1, 2].map(|minor| open(5, Some(minor))));
        rules.push(open(136, None));
        rules.extend(more);
        DevicePolicy::Only(rules)
    }
}

impl Rule {
    /// Returns the line for `devices.allow`.
    pub(crate) fn line(&self) -> String {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        format!("{} {}:{} {}", self.kind, number(self.major), number(self.minor), self.access)
    }
}

/// Returns a program that lets through what the rules allow.
///
/// The kernel hands over `{ access << 16 | kind, major, minor }`: kind 1 is block, 2 is character; access 1 is
/// mknod, 2 read, 4 write.
pub(crate) fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut code = vec![load(2, 0), copy(3, 2), alu(0x54, 2, 0xffff), alu(0x74, 3, 16), load(4, 4), load(5, 8)];
    for rule in rules {
        code.extend(check(rule));
    }
    code.extend([alu(0xb7, 0, 0), exit()]);
    code
}

/// Returns the instructions of one rule: leave with 1 if all matches, else fall through to the next rule.
fn check(rule: &Rule) -> Vec<Instruction> {
    let kind = if rule.kind == 'b' { 1 } else { 2 };
    let access = rule.access.chars().fold(0, |bits, letter| {
        bits | match letter {
            'm' => 1,
            'r' => 2,
            _ => 4,
        }
    });
    let mut tests = vec![vec![(2, kind)]];
    tests.extend(
        [(4, rule.major), (5, rule.minor)]
            .map(|(register, number)| number.map(|number| vec![(register, number as i32)]).unwrap_or_default()),
    );
    let tests: Vec<(u8, i32)> = tests.concat();
    // Asked access must be within the rule's: r1 = access & !allowed must be 0.
    let masked = [copy(1, 3), alu(0x54, 1, !access & 7)];
    let leave = [alu(0xb7, 0, 1), exit()];
    let total = tests.len() + masked.len() + 1 + leave.len();
    let mut code = Vec::with_capacity(total);
    for (register, value) in tests {
        let skip = total - code.len() - 1;
        code.push(jump_unless(register, value, skip));
    }
    code.extend(masked);
    let skip = total - code.len() - 1;
    code.push(jump_unless(1, 0, skip));
    code.extend(leave);
    code
}

fn load(register: u8, offset: i16) -> Instruction {
    // A 32-bit load from the context in register 1.
    Instruction { code: 0x61, registers: register | 1 << 4, offset, immediate: 0 }
}

fn copy(to: u8, from: u8) -> Instruction {
    Instruction { code: 0xbc, registers: to | from << 4, offset: 0, immediate: 0 }
}

fn alu(code: u8, register: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: register, offset: 0, immediate }
}

fn jump_unless(register: u8, value: i32, skip: usize) -> Instruction {
    Instruction { code: 0x56, registers: register, offset: skip as i16, immediate: value }
}

fn exit() -> Instruction {
    Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program of the few instructions we emit.
    fn run(code: &[Instruction], context: [u32; 3]) -> u32 {
        let mut registers = [0_u32; 11];
        let mut at = 0;
        loop {
            let it = code[at];
            let (to, from) = (usize::from(it.registers & 15), usize::from(it.registers >> 4));
            at += 1;
            match it.code {
                0x61 => registers[to] = context[it.offset as usize / 4],
                0xbc => registers[to] = registers[from],
                0x54 => registers[to] &= it.immediate as u32,
                0x74 => registers[to] >>= it.immediate,
                0xb7 => registers[to] = it.immediate as u32,
                0x56 => at += if registers[to] == it.immediate as u32 { 0 } else { it.offset as usize },
                0x95 => return registers[0],
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn the_default_policy_as_a_program() {
        let DevicePolicy::Only(rules) = DevicePolicy::default_with([]) else { unreachable!("it is a list") };
        let code = program(&rules);
        let ask = |kind: char, major, minor, access: &str| {
            let kind = if kind == 'b' { 1 } else { 2 };
            let bits = access
                .chars()
                .map(|c| {
                    if c == 'm' {
                        1
                    } else if c == 'r' {
                        2
                    } else {
                        4
                    }
                })
                .sum::<u32>();
            run(&code, [bits << 16 | kind, major, minor]) == 1
        };
        assert!(ask('c', 1, 3, "rw") && ask('c', 1, 9, "r") && ask('c', 5, 2, "rw") && ask('c', 136, 77, "rw"));
        assert!(ask('b', 8, 0, "m") && ask('c', 10, 229, "m"), "any node may be made");
        assert!(!ask('b', 8, 0, "r") && !ask('c', 10, 229, "rw") && !ask('c', 1, 1, "r"));
        assert!(!ask('b', 8, 0, "rm"), "making and reading is still reading");
        assert!(!ask('b', 1, 3, "r"), "a block device is not a character device");
    }

    #[test]
    fn lines() {
        let DevicePolicy::Only(rules) = DevicePolicy::default_with([]) else { unreachable!("it is a list") };
        let lines: Vec<String> = rules.iter().map(Rule::line).collect();
        assert_eq!(
            lines.join("\n"),
            "c *:* m\nb *:* m\nc 1:3 rwm\nc 1:5 rwm\nc 1:7 rwm\nc 1:8 rwm\nc 1:9 rwm\nc 5:0 rwm\nc 5:1 rwm\nc 5:2 rwm\nc 136:* rwm"
        );
    }
}
