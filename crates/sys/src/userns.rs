//! User namespaces: how an ordinary user becomes the root of a world of their own.
//!
//! [`Plan::new`] decides from texts alone; [`enter`] acts. The process does not start a second
//! one: it unshares in place while it still has a single thread, two short-lived children outside
//! of the new namespace run newuidmap and newgidmap on it, and it goes on as uid 0. So signals,
//! terminal, process id and exit status stay those of the process the user started.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, WaitOptions};
use rustix::thread::{Gid, Uid, UnshareFlags};

use crate::host::Tools;
use crate::subid::{IdMap, Mapping, subid_ranges};

/// Who is entering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Effective user id outside.
    pub uid: u32,
    /// Effective group id outside.
    pub gid: u32,
    /// Login name, if the user database has one.
    pub name: Option<String>,
}

/// How the ids of the new namespace will be mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Ranges, written by programs that the administrator trusts.
    Ranges {
        /// The maps.
        mapping: Mapping,
        /// Path of newuidmap.
        newuidmap: PathBuf,
        /// Path of newgidmap.
        newgidmap: PathBuf,
    },
    /// Our own id only.
    Single {
        /// The maps.
        mapping: Mapping,
        /// Why there is no range, and what would give one.
        why: String,
    },
}

/// What [`enter`] reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// The maps in force.
    pub mapping: Mapping,
    /// Why there is a single id only, for a warning.
    pub single: Option<String>,
}

/// Why there is no user namespace for us.
#[derive(Debug, thiserror::Error)]
pub enum UserNsError {
    /// The kernel refused.
    #[error("creating a user namespace{hint}")]
    Unshare {
        /// What on this host forbids it, as far as one can see.
        hint: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A step of the preparation failed.
    #[error("{what}{hint}")]
    Step {
        /// What was attempted.
        what: &'static str,
        /// What on this host forbids it, as far as one can see.
        hint: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// One of the two maps was written and the other was not.
    #[error("mapping ids by `{program}`, when the other kind of ids was mapped already: {output}")]
    HalfMapped {
        /// The program that failed.
        program: PathBuf,
        /// What it printed.
        output: String,
    },
}

impl Caller {
    /// Returns the effective ids of this process and their name in `passwd`, the text of
    /// `/etc/passwd`.
    pub fn of_process(passwd: &str) -> Caller {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        Caller { uid, gid, name: login_name(passwd, uid) }
    }
}

fn login_name(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

impl Plan {
    /// Decides from the texts of `/etc/subuid` and `/etc/subgid` and from what is installed.
    pub fn new(caller: &Caller, subuid: &str, subgid: &str, tools: &Tools) -> Plan {
        let single = |why: String| Plan::Single { mapping: Mapping::single(caller), why };
        let ranges = |text| subid_ranges(text, caller.uid, caller.name.as_deref());
        let (uids, gids) = (ranges(subuid), ranges(subgid));
        let missing = match (uids.is_empty(), gids.is_empty()) {
            (false, false) => None,
            (true, true) => Some("/etc/subuid and /etc/subgid have"),
            (true, false) => Some("/etc/subuid has"),
            (false, true) => Some("/etc/subgid has"),
        };
        if let Some(files) = missing {
            let who = caller.name.clone().unwrap_or_else(|| caller.uid.to_string());
            return single(format!("{files} no range for {who}"));
        }
        let (Some(newuidmap), Some(newgidmap)) = (&tools.newuidmap, &tools.newgidmap) else {
            return single("newuidmap and newgidmap are not installed (package uidmap)".to_owned());
        };
        Plan::Ranges {
            mapping: Mapping {
                uids: IdMap::with_ranges(caller.uid, &uids),
                gids: IdMap::with_ranges(caller.gid, &gids),
            },
            newuidmap: newuidmap.clone(),
            newgidmap: newgidmap.clone(),
        }
    }

    /// Decides for the user that runs this process, from the files of this host.
    ///
    /// `login` is a name to go by if `/etc/passwd` has none for us (the user may be known to a
    /// directory service only). It need not be true: newuidmap asks for itself.
    pub fn of_process(tools: &Tools, login: Option<&str>) -> Plan {
        // A file that cannot be read gives no range; the plan then says so.
        let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = |path| read(path).unwrap_or_default();
        let mut caller = Caller::of_process(&text("/etc/passwd"));
        caller.name = caller.name.or_else(|| login.map(str::to_owned));
        Plan::new(&caller, &text("/etc/subuid"), &text("/etc/subgid"), tools)
    }
}

impl Mapping {
    fn single(caller: &Caller) -> Mapping {
        Mapping { uids: IdMap::single(caller.uid), gids: IdMap::single(caller.gid) }
    }
}

/// Moves this process into a new user and mount namespace as its uid 0, in place.
///
/// Must be called while the process has a single thread, the kernel refuses otherwise. Ranges that
/// newuidmap will not map leave a single id, and [`Entered::single`] says why. Mounts made from
/// here on stay in the new namespace, unmounts of the host come in.
pub fn enter(plan: &Plan) -> Result<Entered, UserNsError> {
    let (mapping, programs) = match plan {
        Plan::Single { mapping, .. } => (mapping, None),
        Plan::Ranges { mapping, newuidmap, newgidmap } => (mapping, Some((newuidmap, newgidmap))),
    };
    let own = Mapping {
        uids: IdMap::single(rustix::process::geteuid().as_raw()),
        gids: IdMap::single(rustix::process::getegid().as_raw()),
    };
    let pid = rustix::process::getpid();
    // Started before, since a setuid program gains nothing inside of the new namespace.
    let mappers = match programs {
        None => None,
        Some((newuidmap, newgidmap)) => {
            Some((Mapper::start(newuidmap, pid, &mapping.uids)?, Mapper::start(newgidmap, pid, &mapping.gids)?))
        }
    };
    // SAFETY: the file descriptor table is not unshared; ids and mounts change for the process as
    // a whole, since a process with more than one thread is refused.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
        .map_err(|errno| UserNsError::Unshare { hint: hint(), source: errno.into() })?;
    let entered = match mappers {
        None => Entered { mapping: own.clone(), single: single_reason(plan) },
        Some((uids, gids)) => match finish_both(uids, gids) {
            (Ok(()), Ok(())) => Entered { mapping: mapping.clone(), single: None },
            (Err(failed), Err(_)) => {
                let why = format!("`{}` failed: {}", failed.program.display(), failed.output);
                Entered { mapping: own.clone(), single: Some(why) }
            }
            (Ok(()), Err(failed)) | (Err(failed), Ok(())) => {
                let Failed { program, output } = failed;
                return Err(UserNsError::HalfMapped { program, output });
            }
        },
    };
    if entered.single.is_some() {
        map_self(&own)?;
    }
    become_root()?;
    Ok(entered)
}

fn single_reason(plan: &Plan) -> Option<String> {
    match plan {
        Plan::Single { why, .. } => Some(why.clone()),
        Plan::Ranges { .. } => None,
    }
}

/// Writes the maps of one id each, which needs no privilege outside.
fn map_self(mapping: &Mapping) -> Result<(), UserNsError> {
    let write = |path, what, text: String| {
        fs::write(path, text).map_err(|source| UserNsError::Step { what, hint: hint(), source })
    };
    let line = |map: &IdMap| {
        let range = map.ranges()[0];
        format!("{} {} {}\n", range.inside, range.outside, range.count)
    };
    write("/proc/self/setgroups", "giving up supplementary groups", "deny".to_owned())?;
    write("/proc/self/uid_map", "mapping our user id", line(&mapping.uids))?;
    write("/proc/self/gid_map", "mapping our group id", line(&mapping.gids))
}

fn become_root() -> Result<(), UserNsError> {
    let step = |what| move |errno: rustix::io::Errno| UserNsError::Step { what, hint: hint(), source: errno.into() };
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        .map_err(step("becoming group 0 of the user namespace"))?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
        .map_err(step("becoming user 0 of the user namespace"))?;
    // The change of ids gave /proc/self to the host's root; attendants such as pasta open our
    // namespaces and descriptors through it.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .map_err(step("making /proc/self our own again"))?;
    let flags = rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).map_err(step("keeping our mounts from the host"))
}

/// Names the switch of this host that forbids user namespaces, if one does.
fn hint() -> &'static str {
    let is = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        ": this host forbids it to ordinary users (sysctl kernel.unprivileged_userns_clone=0)"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        ": this host allows none (sysctl user.max_user_namespaces=0)"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        ": AppArmor forbids it to programs without a profile (sysctl kernel.apparmor_restrict_unprivileged_userns=1)"
    } else if !Path::new("/proc/self/ns/user").exists() {
        ": the kernel was built without user namespaces"
    } else {
        ""
    }
}

/// Lets both go before waiting for either.
fn finish_both(uids: Mapper, gids: Mapper) -> (Result<(), Failed>, Result<(), Failed>) {
    let (first, second) = (uids.release(), gids.release());
    (uids.finish(first), gids.finish(second))
}

/// A child outside of the namespace that waits for it to exist, then maps ids.
struct Mapper {
    program: PathBuf,
    pid: Pid,
    go: OwnedFd,
    output: OwnedFd,
}

struct Failed {
    program: PathBuf,
    output: String,
}

impl Mapper {
    fn start(program: &Path, target: Pid, map: &IdMap) -> Result<Mapper, UserNsError> {
        let step = |what| move |source: io::Error| UserNsError::Step { what, hint: "", source };
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(io::Error::from);
        let (wait, go) = pipe().map_err(step("making a pipe"))?;
        let (output, print) = pipe().map_err(step("making a pipe"))?;
        let arguments = arguments(program, target, map);
        let pid = fork_exec(&arguments, &wait, go.as_raw_fd(), &print).map_err(step("starting newuidmap"))?;
        Ok(Mapper { program: program.to_owned(), pid, go, output })
    }

    /// Tells the child that the namespace exists.
    fn release(&self) -> rustix::io::Result<usize> {
        rustix::io::write(&self.go, b"1")
    }

    /// Waits for the end of the child, which was released with result `go`.
    fn finish(self, go: rustix::io::Result<usize>) -> Result<(), Failed> {
        let Mapper { program, pid, output, .. } = self;
        let mut text = Vec::new();
        // Bounded: the program's complaint is one line.
        let read = fs::File::from(output).take(4096).read_to_end(&mut text);
        let status = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()));
        let failed = |output: String| Failed { program: program.clone(), output };
        match status {
            Ok(Some((_, status))) if status.exit_status() == Some(0) && go.is_ok() && read.is_ok() => Ok(()),
            Ok(Some((_, status))) => {
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                Err(failed(if text.is_empty() { format!("{status:?}") } else { text }))
            }
            Ok(None) => Err(failed("did not end".to_owned())),
            Err(errno) => Err(failed(io::Error::from(errno).to_string())),
        }
    }
}

fn arguments(program: &Path, target: Pid, map: &IdMap) -> Vec<CString> {
    let mut arguments = vec![program.as_os_str().as_bytes().to_vec()];
    arguments.push(target.as_raw_nonzero().to_string().into_bytes());
    for range in map.ranges() {
        for number in [range.inside, range.outside, range.count] {
            arguments.push(number.to_string().into_bytes());
        }
    }
    let whole = |bytes| CString::new(bytes).expect("program paths and numbers hold no NUL");
    arguments.into_iter().map(whole).collect()
}

/// Forks a child that executes `arguments` with an empty environment once a byte arrives on
/// `wait`; if the pipe closes instead (we died, or gave up) it exits.
fn fork_exec(arguments: &[CString], wait: &OwnedFd, go: i32, print: &OwnedFd) -> io::Result<Pid> {
    let mut pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let environment = [std::ptr::null()];
    let (wait, print) = (wait.as_raw_fd(), print.as_raw_fd());
    // SAFETY: between fork and exec the child makes system calls on memory prepared above only; it
    // neither allocates nor takes a lock.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let mut byte = 0_u8;
        // SAFETY: the descriptors are open, `byte` is one writable byte, both pointer arrays are
        // terminated by null and their strings outlive the call.
        unsafe {
            // Our own copy of the writing end would keep the read from ever seeing the end.
            libc::close(go);
            if libc::read(wait, (&raw mut byte).cast(), 1) == 1
                && libc::dup2(print, 1) == 1
                && libc::dup2(print, 2) == 2
            {
                libc::execve(pointers[0], pointers.as_ptr(), environment.as_ptr());
            }
            libc::_exit(127);
        }
    }
    match Pid::from_raw(pid) {
        Some(pid) if pid.as_raw_nonzero().get() > 0 => Ok(pid),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(subuid: &str, subgid: &str, installed: bool, expect: Result<&str, &str>) {
        let caller = Caller { uid: 1000, gid: 100, name: Some("ann".to_owned()) };
        let program = || installed.then(|| PathBuf::from("/usr/bin/map"));
        let tools = Tools { newuidmap: program(), newgidmap: program(), ..Tools::default() };
        let result = match Plan::new(&caller, subuid, subgid, &tools) {
            Plan::Ranges { mapping, .. } => {
                assert_eq!(mapping.gids.to_outside(0), Some(100));
                Ok(mapping.uids)
            }
            Plan::Single { why, .. } => Err(why),
        };
        assert_eq!(result, expect.map(IdMap::parse).map_err(str::to_owned));
    }

    #[test]
    fn plans() {
        let line = "ann:100000:65536\n";
        check(line, line, true, Ok("0 1000 1\n1 100000 65536"));
        check("1000:5:1", line, true, Ok("0 1000 1\n1 5 1"));
        check("", "", true, Err("/etc/subuid and /etc/subgid have no range for ann"));
        check("", line, true, Err("/etc/subuid has no range for ann"));
        check(line, "bob:1:1", true, Err("/etc/subgid has no range for ann"));
        check(line, line, false, Err("newuidmap and newgidmap are not installed (package uidmap)"));
    }

    #[test]
    fn login_names() {
        let passwd = "root:x:0:0::/:/bin/sh\nbroken\n:x:1000:1::/:\nann:x:1000:100::/:\n";
        assert_eq!(login_name(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(login_name(passwd, 100), None);
    }

    #[test]
    fn mapper_arguments() {
        let map = IdMap::with_ranges(1000, &[(100000, 65536)]);
        let pid = Pid::from_raw(42).expect("not zero");
        let arguments = arguments(Path::new("/usr/bin/newuidmap"), pid, &map);
        let words: Vec<_> = arguments.iter().map(|word| word.to_str().expect("ASCII")).collect();
        assert_eq!(words.join(" "), "/usr/bin/newuidmap 42 0 1000 1 1 100000 65536");
    }
}
