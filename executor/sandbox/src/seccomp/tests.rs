//! The filter is run by an interpreter for every number and compared with the list itself.

use super::*;

/// Runs a filter as the kernel would.
fn run(filter: &[Instruction], number: u32, arch: u32, argument: u64) -> u32 {
    let mut data = [0_u8; 64];
    data[0..4].copy_from_slice(&number.to_le_bytes());
    data[4..8].copy_from_slice(&arch.to_le_bytes());
    data[16..24].copy_from_slice(&argument.to_le_bytes());
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let it = filter[at];
        at += 1;
        match it.code {
            0x20 => {
                let from = it.k as usize;
                accumulator = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
            }
            0x54 => accumulator &= it.k,
            0x05 => at += it.k as usize,
            0x15 => at += usize::from(if accumulator == it.k { it.jt } else { it.jf }),
            0x35 => at += usize::from(if accumulator >= it.k { it.jt } else { it.jf }),
            0x06 => return it.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn expected(verdict: Verdict, argument: u32) -> u32 {
    let allowed = match verdict {
        Verdict::Allow => true,
        Verdict::Deny => false,
        Verdict::Unknown => return ENOSYS,
        Verdict::Socket => ![38, 40].contains(&argument),
        Verdict::Personality => [0, 8, 0x20000, 0x20008, u32::MAX].contains(&argument),
        Verdict::Clone => argument & 0x7e02_0000 == 0,
    };
    if allowed { ALLOW } else { EPERM }
}

fn check(capabilities: CapSet, archs: &[Arch]) {
    let filter = compile(capabilities, archs).unwrap();
    let arguments = [0, 1, 8, 38, 39, 40, 41, 0x20000, 0x20008, 0x0002_0000, 0x1000_0000, 0x11, u32::MAX];
    for arch in archs {
        let list = table::verdicts(*arch, capabilities);
        let newest = *list.keys().next_back().unwrap();
        for number in (0..1200).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            let default = if number > newest { Verdict::Unknown } else { Verdict::Deny };
            let verdict = list.get(&number).copied().unwrap_or(default);
            for argument in arguments {
                // The upper half of an argument cannot change the answer.
                for upper in [0, 1 << 32] {
                    let got = run(&filter, number, arch.audit(), u64::from(argument) | upper);
                    assert_eq!(got, expected(verdict, argument), "{arch:?} {number} ({argument:#x})");
                }
            }
        }
    }
    assert_eq!(run(&filter, 1, 0xdead_beef, 0), 0x8000_0000, "an unknown architecture is fatal");
}

#[test]
fn every_number_gets_the_verdict_of_the_list() {
    let named = |name| CapSet::named(name).unwrap();
    let sets = [CapSet::EMPTY, CapSet::DEFAULT, CapSet::ALL, named("SYS_ADMIN"), CapSet::DEFAULT.with(named("BPF"))];
    for capabilities in sets {
        check(capabilities, &[Arch::X86_64, Arch::I386]);
        check(capabilities, &[Arch::Aarch64]);
        check(capabilities, &[Arch::X86_64, Arch::I386, Arch::Aarch64]);
    }
}

// items: R008
#[test]
fn the_dangerous_ones_are_out() {
    let list = table::verdicts(Arch::X86_64, CapSet::DEFAULT);
    let denied = |number: u32| list.get(&number).copied().unwrap_or(Verdict::Deny) == Verdict::Deny;
    // io_uring_*, userfaultfd, add_key, request_key, keyctl, kexec_load, init_module, pivot_root, swapon, acct,
    // iopl, vhangup, ustat, uselib, mount, bpf, unshare, setns, open_by_handle_at, perf_event_open
    let numbers =
        [425, 426, 427, 323, 248, 249, 250, 246, 175, 155, 167, 163, 172, 153, 136, 134, 165, 321, 272, 308, 304, 298];
    for number in numbers {
        assert!(denied(number), "{number}");
    }
    assert_eq!(list[&435], Verdict::Unknown, "clone3");
    assert_eq!((list[&56], list[&41], list[&135]), (Verdict::Clone, Verdict::Socket, Verdict::Personality));
    assert_eq!((list[&161], list[&101], list[&335]), (Verdict::Allow, Verdict::Allow, Verdict::Allow));
    let admin = table::verdicts(Arch::X86_64, CapSet::named("SYS_ADMIN").unwrap());
    assert_eq!((admin[&56], admin[&435], admin[&165]), (Verdict::Allow, Verdict::Allow, Verdict::Allow));
}

#[test]
fn filters_are_small_and_survive_packing() {
    let filter = compile(CapSet::DEFAULT, &[Arch::X86_64, Arch::I386]).unwrap();
    assert!(filter.len() < 250, "{}", filter.len());
    let same = |a: &Instruction, b: &Instruction| (a.code, a.jt, a.jf, a.k) == (b.code, b.jt, b.jf, b.k);
    assert!(unpack(&pack(&filter)).iter().zip(&filter).all(|(a, b)| same(a, b)));
}
