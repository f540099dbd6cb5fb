//! Programs of other machines: which there are, how their files begin, whether this kernel runs them.
//!
//! A kernel runs them by itself (32 bit), by a handler that somebody registered with binfmt_misc, or not at all.
//! Asking binfmt_misc's file system says nothing where it is not mounted, as in most containers; executing a
//! program that does nothing does.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rbuild_sys::clone::{self, Namespaces, Program};
use rbuild_sys::pidfd::Ended;
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// A kind of processor, as executables name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// As Go, and so images, call it.
    pub name: &'static str,
    /// As qemu calls it.
    pub qemu: &'static str,
    /// Whether addresses have 64 bits.
    wide: bool,
    big_endian: bool,
    /// `e_machine` and `e_flags` of elf(5).
    number: u16,
    flags: u32,
    /// Instructions of `exit(0)`.
    exit: &'static [u8],
}

/// What is known. Instructions are in the order of their bytes in memory.
const MACHINES: [Machine; 10] = [
    Machine {
        name: "amd64",
        qemu: "x86_64",
        wide: true,
        big_endian: false,
        number: 62,
        flags: 0,
        // xor edi, edi; mov eax, 60; syscall
        exit: &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05],
    },
    Machine {
        name: "386",
        qemu: "i386",
        wide: false,
        big_endian: false,
        number: 3,
        flags: 0,
        // xor ebx, ebx; mov eax, 1; int 0x80
        exit: &[0x31, 0xdb, 0xb8, 1, 0, 0, 0, 0xcd, 0x80],
    },
    Machine {
        name: "arm64",
        qemu: "aarch64",
        wide: true,
        big_endian: false,
        number: 183,
        flags: 0,
        // mov x0, 0; mov x8, 93; svc 0
        exit: &[0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0, 0, 0xd4],
    },
    Machine {
        name: "arm",
        qemu: "arm",
        wide: false,
        big_endian: false,
        number: 40,
        flags: 0x0500_0000,
        // mov r0, 0; mov r7, 1; svc 0
        exit: &[0, 0, 0xa0, 0xe3, 0x01, 0x70, 0xa0, 0xe3, 0, 0, 0, 0xef],
    },
    Machine {
        name: "riscv64",
        qemu: "riscv64",
        wide: true,
        big_endian: false,
        number: 243,
        flags: 0,
        // li a0, 0; li a7, 93; ecall
        exit: &[0x13, 0x05, 0, 0, 0x93, 0x08, 0xd0, 0x05, 0x73, 0, 0, 0],
    },
    Machine {
        name: "ppc64le",
        qemu: "ppc64le",
        wide: true,
        big_endian: false,
        number: 21,
        flags: 2,
        // li r3, 0; li r0, 1; sc
        exit: &[0, 0, 0x60, 0x38, 0x01, 0, 0, 0x38, 0x02, 0, 0, 0x44],
    },
    Machine {
        name: "s390x",
        qemu: "s390x",
        wide: true,
        big_endian: true,
        number: 22,
        flags: 0,
        // lghi r2, 0; svc 1
        exit: &[0xa7, 0x29, 0, 0, 0x0a, 0x01],
    },
    Machine {
        name: "mips64le",
        qemu: "mips64el",
        wide: true,
        big_endian: false,
        number: 8,
        flags: 0x8000_0000,
        // li a0, 0; li v0, 5058; syscall
        exit: &[0, 0, 0x04, 0x24, 0xc2, 0x13, 0x02, 0x24, 0x0c, 0, 0, 0],
    },
    Machine {
        name: "mips64",
        qemu: "mips64",
        wide: true,
        big_endian: true,
        number: 8,
        flags: 0x8000_0000,
        exit: &[0x24, 0x04, 0, 0, 0x24, 0x02, 0x13, 0xc2, 0, 0, 0, 0x0c],
    },
    Machine {
        name: "loong64",
        qemu: "loongarch64",
        wide: true,
        big_endian: false,
        number: 258,
        flags: 0x43,
        // li.w a0, 0; li.w a7, 93; syscall 0
        exit: &[0x04, 0, 0x80, 0x02, 0x0b, 0x74, 0x81, 0x02, 0, 0, 0x2b, 0],
    },
];

/// How a kernel knows a program of a machine by its first bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handler {
    /// What it is called in the list of handlers.
    pub name: String,
    /// The first bytes.
    pub magic: Vec<u8>,
    /// Which bits of them count.
    pub mask: Vec<u8>,
}

impl Handler {
    /// Returns the line that registers `interpreter`, as binfmt_misc takes it: opened at once (F), with the rights
    /// of set-user-ID programs (C), and told the name that the program is called by (P; qemu 6.0 understands).
    pub(crate) fn line(&self, interpreter: &str) -> String {
        let escaped =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>() };
        format!(":{}:M::{}:{}:{interpreter}:CFP", self.name, escaped(&self.magic), escaped(&self.mask))
    }
}

impl Machine {
    /// Returns the machine that images call `name`.
    pub fn find(name: &str) -> Option<Machine> {
        MACHINES.into_iter().find(|machine| machine.name == name)
    }

    /// Returns how programs of this machine begin, whatever their ABI, whether at a fixed address or not.
    pub fn handler(&self) -> Handler {
        let mut mask = vec![0xff; 20];
        mask[7] = 0;
        // ET_EXEC is 2 and ET_DYN is 3.
        mask[if self.big_endian { 17 } else { 16 }] = 0xfe;
        Handler { name: format!("rbuild-{}", self.qemu), magic: self.header()[..20].to_vec(), mask }
    }

    /// Asks this kernel for whether programs of this machine run.
    ///
    /// # Errors
    /// If the program that tries cannot be made.
    pub fn runs_here(&self) -> io::Result<bool> {
        let image = executable(&self.program(self.exit))?;
        let name = [CString::new("true").expect("the text holds no NUL")];
        // Inherited, because an interpreter opens the program by the path of its descriptor.
        let program = Program { image: image.as_fd(), arguments: &name, environment: &[], inherit: &[image.as_fd()] };
        match clone::start(&program, Namespaces::NONE, None) {
            Ok(process) => Ok(process.reap()? == Ended::Exited(0)),
            // Nobody knows such programs, or the interpreter that was registered for them is gone.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOEXEC | Errno::NOENT)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns a whole executable of these instructions: elf(5) header, one program header, code.
    pub fn program(&self, code: &[u8]) -> Vec<u8> {
        let mut bytes = self.header();
        let whole = (bytes.len() + self.program_header_size() + code.len()) as u64;
        let readable_and_executable = 5;
        let fields: &[Field] = if self.wide {
            &[Four(1), Four(readable_and_executable), Word(0), Word(BASE), Word(BASE), Word(whole), Word(whole)]
        } else {
            &[Four(1), Word(0), Word(BASE), Word(BASE), Word(whole), Word(whole), Four(readable_and_executable)]
        };
        self.put(&mut bytes, fields);
        self.put(&mut bytes, &[Word(PAGE)]);
        bytes.extend_from_slice(code);
        bytes
    }

    fn header_size(&self) -> usize {
        if self.wide { 64 } else { 52 }
    }

    fn program_header_size(&self) -> usize {
        if self.wide { 56 } else { 32 }
    }

    fn header(&self) -> Vec<u8> {
        let class = if self.wide { 2 } else { 1 };
        let order = if self.big_endian { 2 } else { 1 };
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, order, 1];
        bytes.resize(16, 0);
        let (own, program) = (self.header_size(), self.program_header_size());
        let entry = BASE + (own + program) as u64;
        // ET_EXEC, the machine, the version, entry, program headers, no section headers.
        self.put(&mut bytes, &[Two(2), Two(self.number), Four(1), Word(entry), Word(own as u64), Word(0)]);
        self.put(&mut bytes, &[Four(self.flags), Two(own as u16), Two(program as u16), Two(1), Two(0), Two(0), Two(0)]);
        bytes
    }

    fn put(&self, bytes: &mut Vec<u8>, fields: &[Field]) {
        for field in fields {
            let (value, size) = match *field {
                Two(value) => (u64::from(value), 2),
                Four(value) => (u64::from(value), 4),
                Word(value) => (value, if self.wide { 8 } else { 4 }),
            };
            match self.big_endian {
                true => bytes.extend_from_slice(&value.to_be_bytes()[8 - size..]),
                false => bytes.extend_from_slice(&value.to_le_bytes()[..size]),
            }
        }
    }
}

/// Where the program lies in memory, and how its segment is aligned there: the largest page there is.
const BASE: u64 = 0x40_0000;
const PAGE: u64 = 0x1_0000;

/// A number in a header; a word is as wide as an address.
enum Field {
    Two(u16),
    Four(u32),
    Word(u64),
}

use Field::{Four, Two, Word};

/// Puts a program into memory. A descriptor open for writing cannot be executed, so it is opened again.
fn executable(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("rbuild-probe", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_know_their_programs() {
        for machine in MACHINES {
            let (handler, program) = (machine.handler(), machine.program(machine.exit));
            let known = |bytes: &[u8]| {
                let pairs = bytes.iter().zip(&handler.magic).zip(&handler.mask);
                pairs.into_iter().all(|((byte, magic), mask)| byte & mask == magic & mask)
            };
            assert!(known(&program), "{}", machine.name);
            assert_eq!(MACHINES.iter().filter(|other| known(&other.program(other.exit))).count(), 1);
        }
    }

    #[test]
    fn lines_are_those_of_binfmt_misc() {
        let line = Machine::find("arm64").unwrap().handler().line("/q");
        let magic = r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
        let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
        assert_eq!(line, format!(":rbuild-aarch64:M::{magic}:{mask}:/q:CFP"));
        // The kernel takes 1920 bytes.
        assert!(line.len() < 300);
    }

    #[test]
    fn this_machine_runs_its_own_programs() {
        let own = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => return eprintln!("skipped: no program of {other}"),
        };
        assert!(Machine::find(own).unwrap().runs_here().unwrap());
    }
}
