//! Starting a process in new namespaces.
//!
//! Both ways share the caller's memory until the child executes or exits (as posix_spawn does): nothing is
//! copied, and the calling thread sleeps meanwhile.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::ops::BitOr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Pid;

use crate::pidfd::{self, Process};

/// Namespaces a child gets of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespaces(c_int);

impl Namespaces {
    /// None.
    pub const NONE: Namespaces = Namespaces(0);
    /// Mounts.
    pub const MOUNT: Namespaces = Namespaces(libc::CLONE_NEWNS);
    /// Process numbers; the child is process 1.
    pub const PID: Namespaces = Namespaces(libc::CLONE_NEWPID);
    /// Interfaces, addresses, abstract sockets.
    pub const NETWORK: Namespaces = Namespaces(libc::CLONE_NEWNET);
    /// System V IPC and message queues.
    pub const IPC: Namespaces = Namespaces(libc::CLONE_NEWIPC);
    /// Host name.
    pub const UTS: Namespaces = Namespaces(libc::CLONE_NEWUTS);
    /// Not a namespace: the table of descriptors stays common with the parent until the child executes.
    pub const SHARED_DESCRIPTORS: Namespaces = Namespaces(libc::CLONE_FILES);
}

impl BitOr for Namespaces {
    type Output = Namespaces;

    fn bitor(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 | other.0)
    }
}

/// Moves the calling thread into a cgroup namespace whose root is its present cgroup.
pub fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: only the view of cgroups changes; no memory or descriptor is shared differently.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }?)
}

/// Marks all descriptors from `first` on to be closed on execution, in a table of our own.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC | libc::CLOSE_RANGE_UNSHARE;
    // SAFETY: the call takes numbers only, and no descriptor is closed before an exec.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    if result == 0 {
        return Ok(());
    }
    // Kernels before 5.11 lack the flag: mark what /proc lists.
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        if let Some(number) = number.filter(|number| *number >= first) {
            // SAFETY: F_SETFD touches the flags of a number only; a number that is closed gives EBADF.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Takes over descriptors that this process was started with; works once in a process, at its beginning.
///
/// All of them get the close-on-exec flag.
pub fn claim_inherited(numbers: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    static CLAIMED: AtomicBool = AtomicBool::new(false);
    let distinct: BTreeSet<RawFd> = numbers.iter().copied().filter(|number| *number > 2).collect();
    if distinct.len() != numbers.len() || CLAIMED.swap(true, Ordering::SeqCst) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    for number in numbers {
        // SAFETY: F_SETFD touches the flags of a number only; a number that is closed gives EBADF.
        if unsafe { libc::fcntl(*number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: the numbers are open, distinct and not standard streams, they were named by whoever started
    // this process, and they are claimed only once: nothing in this process owns them yet.
    Ok(numbers.iter().map(|number| unsafe { OwnedFd::from_raw_fd(*number) }).collect())
}

/// A program to start: an open file, its arguments and environment, and what it inherits.
#[derive(Debug)]
pub struct Program<'a> {
    /// The executable, open by `O_PATH` or for reading.
    pub image: BorrowedFd<'a>,
    /// Arguments, the name first.
    pub arguments: &'a [CString],
    /// Environment.
    pub environment: &'a [CString],
    /// Descriptors that stay open under their numbers, besides the standard three.
    pub inherit: &'a [BorrowedFd<'a>],
}

/// Starts `program` in new namespaces with all signals blocked; standard streams are inherited.
///
/// With `group`, the open directory of a cgroup of v2, it is born there: joining later would wait for a lock on all
/// forks of the system. ENOSYS says that this cannot be had (before 5.7, or behind a filter without clone3).
pub fn start(program: &Program<'_>, namespaces: Namespaces, group: Option<BorrowedFd<'_>>) -> io::Result<Process> {
    let arguments = pointers(program.arguments);
    let environment = pointers(program.environment);
    vfork_into(namespaces, group, || {
        // What other code opened without the flag must not get in. Before 5.11 there is no such call; then the
        // program closes what it does not know.
        // SAFETY: the call takes numbers only, and changes flags in the child's own table.
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        for fd in program.inherit {
            // SAFETY: the child has a descriptor table of its own, in which the number is open; clearing a
            // flag touches no memory.
            if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } != 0 {
                return io::Error::last_os_error();
            }
        }
        // SAFETY: both arrays end with NULL and point at strings that the sleeping parent keeps alive.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                program.image.as_raw_fd(),
                c"".as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        io::Error::last_os_error()
    })
}

/// Replaces the calling process by the program at `path`; returns only what went wrong.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: the path is NUL-terminated, both arrays end with NULL and point at living strings.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// CLONE_INTO_CGROUP, which does not fit into the type libc gives it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const INTO_CGROUP: u64 = 0x2_0000_0000;

const STACK: usize = 512 << 10;

/// Runs `child` in a new process that shares our memory while this thread sleeps.
///
/// `child` returns only if it could not execute a program; its error is then returned here and the process is
/// gone. It has its own descriptors, working directory and root, and all signals blocked.
pub fn vfork<F: FnOnce() -> io::Error>(namespaces: Namespaces, child: F) -> io::Result<Process> {
    vfork_into(namespaces, None, child)
}

fn vfork_into<F: FnOnce() -> io::Error>(
    namespaces: Namespaces,
    group: Option<BorrowedFd<'_>>,
    child: F,
) -> io::Result<Process> {
    struct Shared<F> {
        child: Option<F>,
        error: Option<io::Error>,
    }
    extern "C" fn enter<F: FnOnce() -> io::Error>(shared: *mut c_void) -> c_int {
        // SAFETY: `shared` is the parent's `Shared<F>`; the parent sleeps until we exec or exit, so this is
        // the only reference.
        let shared = unsafe { &mut *shared.cast::<Shared<F>>() };
        if let Some(child) = shared.child.take() {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            shared.error = Some(result.unwrap_or_else(|_| io::Error::other("the child panicked")));
        }
        // SAFETY: _exit ends only the child and runs no destructors of the shared memory.
        unsafe { libc::_exit(127) }
    }

    let stack = Stack::new()?;
    let mut shared = Shared { child: Some(child), error: None };
    let mut pidfd: c_int = -1;
    let before = pidfd::set_mask(&pidfd::full())?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD | namespaces.0;
    // SAFETY: the child runs `enter` on a stack of its own while this thread is suspended (CLONE_VFORK), so
    // `shared` and the thread's local data have one user at a time. Signals are blocked, so no handler runs
    // in the child. `pidfd` receives the descriptor.
    let result = unsafe {
        match group {
            None => match libc::clone(enter::<F>, stack.top(), flags, (&raw mut shared).cast(), &raw mut pidfd) {
                -1 => Err(io::Error::last_os_error()),
                pid => Ok(pid),
            },
            Some(group) => clone_into(group, enter::<F>, &stack, flags, (&raw mut shared).cast(), &raw mut pidfd),
        }
    };
    pidfd::set_mask(&before)?;
    let pid = result?;
    // SAFETY: clone stored a new descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = Pid::from_raw(pid).expect("clone returned a positive number");
    let process = Process::new(pid, fd);
    match shared.error.take() {
        None => Ok(process),
        Some(error) => {
            process.reap()?;
            Err(error)
        }
    }
}

/// Does what libc's clone does, into a cgroup.
///
/// # Safety
/// As for clone: `flags` suspend the caller until the child is done with `argument` and the stack, and `enter` does
/// not return.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn clone_into(
    group: BorrowedFd<'_>,
    enter: extern "C" fn(*mut c_void) -> c_int,
    stack: &Stack,
    flags: c_int,
    argument: *mut c_void,
    pidfd: *mut c_int,
) -> io::Result<c_int> {
    // The exit signal has a field of its own.
    let signal = flags & 0xff;
    let args = libc::clone_args {
        flags: (flags & !0xff) as u32 as u64 | INTO_CGROUP,
        pidfd: pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: signal as u64,
        stack: stack.0 as u64,
        stack_size: STACK as u64,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.as_raw_fd() as u64,
    };
    let result: i64;
    // SAFETY: the kernel reads `args` for its whole size. The parent goes on behind the label with its registers
    // as the system call leaves them. The child begins with the top of its own stack, aligned as a call needs
    // it, and only calls `enter`, which does not return.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") argument,
            in("r13") enter,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            inlateout("x0") &raw const args => result,
            in("x1") size_of::<libc::clone_args>(),
            in("x8") libc::SYS_clone3,
            in("x20") argument,
            in("x21") enter,
        );
    }
    match c_int::try_from(result) {
        Ok(pid @ 1..) => Ok(pid),
        Ok(errno) => Err(io::Error::from_raw_os_error(-errno)),
        Err(_) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

/// # Safety
/// None is needed: it does nothing.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone_into(
    _group: BorrowedFd<'_>,
    _enter: extern "C" fn(*mut c_void) -> c_int,
    _stack: &Stack,
    _flags: c_int,
    _argument: *mut c_void,
    _pidfd: *mut c_int,
) -> io::Result<c_int> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Memory for a child's stack, with a guard page below.
struct Stack(*mut c_void);

impl Stack {
    fn new() -> io::Result<Stack> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), STACK, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Stack(start);
        // SAFETY: the first 4096 bytes are the lowest page of the mapping just made.
        match unsafe { libc::mprotect(start, 4096, libc::PROT_NONE) } {
            0 => Ok(stack),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping, aligned to its page; stacks grow down from there.
        unsafe { self.0.cast::<u8>().add(STACK).cast() }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and the child that used it has executed or exited.
        unsafe { libc::munmap(self.0, STACK) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pidfd::Ended;

    #[test]
    fn a_failing_child_gives_its_error_and_leaves_no_zombie() {
        let error = vfork(Namespaces::NONE, || io::Error::from_raw_os_error(libc::ENOENT)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        let error = execute_in_child(c"/does/not/exist", &[]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn status_and_signal_come_back() {
        let shell = |script: &str| {
            let arguments = ["sh", "-c", script].map(|text| CString::new(text).unwrap());
            execute_in_child(c"/bin/sh", &arguments).unwrap()
        };
        assert_eq!(shell("exit 7").reap().unwrap(), Ended::Exited(7));
        let sleeping = shell("sleep 100");
        sleeping.kill(libc::SIGTERM).unwrap();
        assert_eq!(sleeping.watch().unwrap(), Ended::Killed(libc::SIGTERM));
        assert_eq!(sleeping.reap().unwrap().code(), 143);
    }

    fn execute_in_child(path: &CStr, arguments: &[CString]) -> io::Result<Process> {
        vfork(Namespaces::NONE, || {
            if let Err(error) = pidfd::reset_signals() {
                return error;
            }
            execute(path, arguments, &[])
        })
    }
}
