//! What runs a process for another machine than this one: the kernel by itself, or an interpreter of the user's.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rbuild_oci::Platform;

use crate::machine::{Handler, Machine};
use crate::spec::{BindSource, EMULATOR, Handle, Mount, MountKind, SandboxSpec};

/// Where programs are looked for if nobody says.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An interpreter for programs of another machine.
#[derive(Debug)]
pub struct Emulator {
    handler: Handler,
    file: OwnedFd,
}

/// Why there is nothing that runs programs of a platform.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// Nothing here runs it.
    #[error("this host runs {host}, and no emulator for {platform} is known")]
    Unknown {
        /// What was asked.
        platform: Platform,
        /// What this host is.
        host: Platform,
    },
    /// It could be run, but what is needed is not installed.
    #[error(
        "this host runs {host}; for {platform}, install a static `{program}` (Debian: qemu-user-static), or register one with binfmt_misc"
    )]
    Missing {
        /// What was asked.
        platform: Platform,
        /// What this host is.
        host: Platform,
        /// The program.
        program: String,
    },
    /// The kernel could not be asked.
    #[error("trying whether this kernel runs programs for {platform}")]
    Probe {
        /// What was asked.
        platform: Platform,
        /// Why not.
        source: io::Error,
    },
    /// An interpreter cannot be read.
    #[error("opening the emulator `{}`", path.display())]
    Open {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Emulator {
    /// Returns what is needed to run programs for `platform`; none if the kernel runs them by itself.
    ///
    /// `search_path`, in the form of `PATH`, is where `qemu-…-static`, `qemu-…` and `buildkit-qemu-…` are looked for.
    ///
    /// # Errors
    /// If nothing runs them.
    pub fn find(platform: &Platform, search_path: Option<&OsStr>) -> Result<Option<Emulator>, EmulatorError> {
        let host = Platform::host();
        if (&platform.os, &platform.architecture) == (&host.os, &host.architecture) {
            return Ok(None);
        }
        let machine = Machine::find(&platform.architecture).filter(|_| platform.os == host.os);
        let Some(machine) = machine else {
            return Err(EmulatorError::Unknown { platform: platform.clone(), host });
        };
        let probe = |source| EmulatorError::Probe { platform: platform.clone(), source };
        if machine.runs_here().map_err(probe)? {
            return Ok(None);
        }
        let names = ["qemu-?-static", "qemu-?", "buildkit-qemu-?"].map(|name| name.replace('?', machine.qemu));
        let path = search_path.unwrap_or(OsStr::new(SEARCH_PATH));
        let candidates =
            // A relative entry would be whatever lies in the current directory.
            std::env::split_paths(path).filter(|directory| directory.is_absolute()).flat_map(|directory| names.iter().map(move |name| directory.join(name)));
        match candidates.into_iter().find(|candidate| candidate.is_file() && is_static(candidate)) {
            None => {
                let [program, ..] = names;
                Err(EmulatorError::Missing { platform: platform.clone(), host, program })
            }
            Some(path) => {
                let file = File::open(&path).map_err(|source| EmulatorError::Open { path, source })?;
                Ok(Some(Emulator { handler: machine.handler(), file: file.into() }))
            }
        }
    }

    /// Has a box run its programs by this interpreter.
    pub fn install(self, spec: &mut SandboxSpec, handles: &mut Vec<OwnedFd>) {
        handles.push(self.file);
        spec.mounts.push(Mount {
            target: PathBuf::from(EMULATOR),
            kind: MountKind::Bind {
                source: BindSource::Handle(Handle(handles.len() - 1)),
                recursive: false,
                nosuid: false,
            },
            readonly: true,
            exec: true,
        });
        spec.emulated = Some(self.handler);
    }
}

/// Whether a program asks for no dynamic linker: there would be none for it inside.
fn is_static(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut start));
    read.is_ok() && asks_for_linker(&start) == Some(false)
}

/// Looks for a program header of type `PT_INTERP` (elf(5)) in the beginning of a little-endian program of 64 bits,
/// as those of the hosts are.
fn asks_for_linker(start: &[u8]) -> Option<bool> {
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = start.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    if start.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let kinds: Option<Vec<usize>> =
        (0..count).map(|header| number(table.checked_add(header.checked_mul(size)?)?, 4)).collect();
    Some(kinds?.contains(&3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs() {
        let find = |platform: &str| Emulator::find(&Platform::parse(platform).unwrap(), Some(OsStr::new("/none")));
        assert!(find(&Platform::host().to_string()).unwrap().is_none());
        let said = find("windows/amd64").unwrap_err().to_string();
        assert!(said.ends_with("and no emulator for windows/amd64 is known"), "{said}");
        match find("linux/s390x") {
            Ok(None) => eprintln!("skipped: this host runs s390x programs"),
            Ok(Some(_)) => panic!("an emulator was found in a directory that is not there"),
            Err(error) => assert!(error.to_string().contains("install a static `qemu-s390x-static`"), "{error}"),
        }
    }

    #[test]
    fn dynamic_programs_are_told_from_static_ones() {
        let program = Machine::find("amd64").unwrap().program(&[]);
        assert_eq!(asks_for_linker(&program), Some(false));
        let mut dynamic = program.clone();
        dynamic[64] = 3;
        assert_eq!(asks_for_linker(&dynamic), Some(true));
        for cut in [0, 5, 63, 66] {
            assert_eq!(asks_for_linker(&program[..cut]), None, "{cut}");
        }
    }
}
