//! From a process of the box to the program: streams, limits, rights, execution.
//!
//! Runs in a process that shares the init's memory, which sleeps meanwhile.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rbuild_sys::mount::{self, Attributes, Depth, Filesystem};
use rbuild_sys::{caps, clone, nested, pidfd, seccomp, tty};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::{Rlimit as KernelLimit, Signal};

use super::failure::Failure;
use super::world::{World, missing};
use crate::caps::CapSet;
use crate::machine::Handler;
use crate::plan::resource;
use crate::spec::{EMULATOR, Rlimit, Stream};
use crate::step::{Flags, Step};

impl World {
    pub(super) fn program_step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::OwnProc => self.mount_own_proc(),
            Step::Streams(streams) => self.connect_streams(streams),
            Step::TerminalStreams => self.connect_terminal(),
            Step::Rlimits(limits) => {
                limits.iter().try_for_each(|(limit, less_will_do)| set_limit(limit, *less_will_do))
            }
            Step::AppArmor(profile) => self.choose_apparmor(profile),
            Step::Emulate(handler) => self.emulate(handler),
            Step::EnterCwd(path) => enter(path),
            Step::Bounding(set) => Ok(caps::limit_bounding(set.bits())?),
            Step::Filter => Ok(seccomp::install(&self.filter)?),
            Step::BecomeUser { setgroups } => self.become_user(*setgroups),
            Step::Capabilities(set) => {
                let set = if self.identity.uid == 0 { *set } else { CapSet::EMPTY };
                Ok(caps::limit_to(set.bits())?)
            }
            Step::NoNewPrivileges => Ok(rustix::thread::set_no_new_privs(true)?),
            Step::Execute { args, env, interpreted } => Err(self.execute(args, env, *interpreted)),
            _ => Ok(()),
        }
    }

    fn connect_streams(&mut self, streams: &[Stream; 3]) -> Result<(), Failure> {
        begin()?;
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        for (number, stream) in streams.iter().enumerate() {
            let fd = match stream {
                Stream::Null => &null,
                Stream::Pipe => self.pipes[number].as_ref().ok_or_else(|| missing("the pipe"))?,
                Stream::Handle(handle) => self.handles.get(handle.0).ok_or_else(|| missing("the stream"))?,
            };
            if *stream == Stream::Pipe {
                self.give(fd);
            }
            place(fd, number)?;
        }
        Ok(())
    }

    fn connect_terminal(&mut self) -> Result<(), Failure> {
        begin()?;
        let terminal = self.terminal.as_ref().ok_or_else(|| missing("the terminal"))?;
        self.give(&terminal.slave);
        tty::control(terminal.slave.as_fd())?;
        (0..3).try_for_each(|number| place(&terminal.slave, number))
    }

    /// Lets the user open its streams again by `/dev/stdout`.
    fn give(&self, fd: &OwnedFd) {
        if self.identity.uid != 0 {
            // An id that is not mapped cannot own it; then it cannot become the user either.
            let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(self.identity.uid)), None);
        }
    }

    /// Our own procfs: what lies at `/proc` could be anything by now.
    fn choose_apparmor(&self, profile: &str) -> Result<(), Failure> {
        let proc = self.proc.as_ref().ok_or_else(|| missing("proc"))?;
        let open = |path: &str| rustix::fs::openat(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        let file = open("self/attr/apparmor/exec").or_else(|_| open("self/attr/exec"))?;
        rustix::io::write(&file, format!("exec {profile}").as_bytes())?;
        Ok(())
    }

    /// Registers the interpreter in tables that nobody else has: those of a user namespace of the program's own.
    fn emulate(&self, handler: &Handler) -> Result<(), Failure> {
        let proc = self.proc.as_ref().ok_or_else(|| missing("proc"))?;
        nested::enter(proc.as_fd())?;
        let list = Filesystem::open("binfmt_misc")?.mount(Attributes::default())?;
        let register = rustix::fs::openat(&list, "register", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&register, handler.line(EMULATOR).as_bytes())?;
        // Nothing becomes read-only while somebody may write to it.
        drop(register);
        mount::restrict(list.as_fd(), Depth::One, Attributes { readonly: true, ..Attributes::default() })?;
        // The list goes with its last mount. What we held of /proc belongs to the mounts that we have left.
        let place = open_directory("/proc/sys/fs/binfmt_misc")?;
        Ok(mount::attach(list.as_fd(), place.as_fd())?)
    }

    fn become_user(&self, setgroups: bool) -> Result<(), Failure> {
        let (uid, gid) = (Uid::from_raw(self.identity.uid), Gid::from_raw(self.identity.gid));
        if setgroups {
            let groups: Vec<Gid> =
                [self.identity.gid].iter().chain(&self.identity.groups).map(|gid| Gid::from_raw(*gid)).collect();
            rustix::thread::set_thread_groups(&groups)?;
        }
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
    }

    /// Returns only what went wrong.
    fn execute(&self, args: &[String], env: &[String], interpreted: bool) -> Failure {
        if let Err(errno) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
            return errno.into();
        }
        let mut env = env.to_vec();
        if !env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(format!("HOME={}", self.identity.home));
        }
        let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("").to_owned();
        let (Some(mut arguments), Some(environment)) = (strings(args), strings(&env)) else {
            return Failure::Plain("an argument contains a NUL byte".to_owned());
        };
        let program = match find(&args[0], &path) {
            Ok(program) => program,
            Err(failure) => return failure,
        };
        if let Err(error) = pidfd::reset_signals() {
            return error.into();
        }
        // The init makes everything with the modes it asks for; programs expect the usual mask.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        if interpreted {
            let interpreter = CString::new(EMULATOR).expect("the path holds no NUL");
            let name = std::mem::replace(&mut arguments[0], program.clone());
            arguments.splice(0..0, [interpreter.clone(), c"-0".to_owned(), name]);
            return not_executed(&args[0], &interpreter, &clone::execute(&interpreter, &arguments, &environment));
        }
        let error = clone::execute(&program, &arguments, &environment);
        not_executed(&args[0], &program, &error)
    }
}

impl World {
    /// Nothing but the descriptor leads there. The table of descriptors is still that of the init.
    fn mount_own_proc(&mut self) -> Result<(), Failure> {
        self.proc = Some(Filesystem::open("proc")?.mount(Flags::DATA.into())?);
        Ok(())
    }
}

/// Leads a session, and keeps every descriptor but the streams from the program.
fn begin() -> Result<(), Failure> {
    clone::close_on_exec_from(3)?;
    // The leader of a group cannot, and need not: it was begun for us alone.
    let _ = rustix::process::setsid();
    Ok(())
}

/// Opens a directory that the sandbox has mounted, following no links.
fn open_directory(path: &str) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = rustix::fs::ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve)?)
}

fn place(fd: &OwnedFd, number: usize) -> Result<(), Failure> {
    Ok(match number {
        0 => rustix::stdio::dup2_stdin(fd),
        1 => rustix::stdio::dup2_stdout(fd),
        _ => rustix::stdio::dup2_stderr(fd),
    }?)
}

fn set_limit(limit: &Rlimit, less_will_do: bool) -> Result<(), Failure> {
    let resource = resource(&limit.name).ok_or(Errno::INVAL)?;
    let value = |value: u64| Some(value).filter(|value| *value != u64::MAX);
    let wanted = KernelLimit { current: value(limit.soft), maximum: value(limit.hard) };
    match rustix::process::setrlimit(resource, wanted) {
        Err(Errno::PERM) if less_will_do => {
            let own = rustix::process::getrlimit(resource).maximum;
            let lower = |value: Option<u64>| value.into_iter().chain(own).min();
            let limit = KernelLimit { current: lower(wanted.current), maximum: lower(wanted.maximum) };
            Ok(rustix::process::setrlimit(resource, limit)?)
        }
        result => result.map_err(|errno| Failure::on(&limit.name)(errno.into())),
    }
}

fn enter(path: &Path) -> Result<(), Failure> {
    rustix::process::chdir(path)?;
    // A descriptor of the host that leaked into the path would show here.
    let cwd = rustix::process::getcwd(Vec::new())?;
    if cwd.as_bytes().first() == Some(&b'/') {
        return Ok(());
    }
    Err(Failure::Plain("it is outside of the root".to_owned()))
}

fn strings(texts: &[String]) -> Option<Vec<CString>> {
    texts.iter().map(|text| CString::new(text.as_str()).ok()).collect()
}

/// Finds the program as a shell would, with the rights of the user.
fn find(name: &str, path: &str) -> Result<CString, Failure> {
    let c_string = |path: &str| CString::new(path).map_err(|_| Failure::from(Errno::INVAL));
    if name.contains('/') {
        return c_string(name);
    }
    let mut refused = None;
    for dir in path.split(':').filter(|dir| !dir.is_empty()) {
        let candidate = format!("{dir}/{name}");
        match executable(OsStr::new(&candidate)) {
            Ok(()) => return c_string(&candidate),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => refused = Some(errno),
        }
    }
    Err(match refused {
        Some(_) => Failure::Exec { message: format!("exec: \"{name}\": permission denied"), code: 126 },
        None => Failure::Exec { message: format!("exec: \"{name}\": executable file not found in $PATH"), code: 127 },
    })
}

fn executable(path: &OsStr) -> Result<(), Errno> {
    let found = rustix::fs::stat(path)?;
    if rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir() {
        return Err(Errno::ISDIR);
    }
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK)
}

fn not_executed(name: &str, program: &CString, error: &std::io::Error) -> Failure {
    let exists = rustix::fs::stat(program.as_c_str());
    let is_dir = exists.as_ref().is_ok_and(|found| rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir());
    let (message, code) = match Errno::from_io_error(error) {
        Some(Errno::NOENT) if exists.is_err() => {
            (format!("exec: \"{name}\": stat {name}: no such file or directory"), 127)
        }
        Some(Errno::NOENT) => (format!("exec {name}: no such file or directory (its interpreter is missing)"), 127),
        Some(Errno::ACCESS) if is_dir => (format!("exec: \"{name}\": is a directory"), 126),
        Some(Errno::ACCESS) => (format!("exec: \"{name}\": permission denied"), 126),
        Some(Errno::NOEXEC) => (format!("exec {name}: exec format error"), 126),
        _ => (format!("exec {name}: {error}"), 126),
    };
    Failure::Exec { message, code }
}
