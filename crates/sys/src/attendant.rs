//! Programs that serve this process and die with it.
//!
//! The kernel ties a parent's death to the *thread* that started the child, so each attendant has a
//! thread that starts it, drains what it prints and waits for it.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

/// How much of what an attendant prints is kept, for error messages.
const KEPT_OUTPUT: usize = 4096;

/// A running helper program; dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Attendant {
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// Present until the child has been reaped, so that its pid cannot be another's.
    child: Option<Child>,
    complaint: Vec<u8>,
}

impl Attendant {
    /// Starts `command`, which inherits the descriptors `keep` under their own numbers.
    ///
    /// It gets a process group of its own, so that the terminal's Ctrl-C reaches us first.
    pub fn start(mut command: Command, keep: &[BorrowedFd<'_>]) -> io::Result<Attendant> {
        let keep: Vec<i32> = keep.iter().map(AsRawFd::as_raw_fd).collect();
        let parent = rustix::process::getpid();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock.
        unsafe { command.pre_exec(move || prepare(&keep, parent)) };
        let state = Arc::new(Mutex::new(State::default()));
        let (started, start) = mpsc::sync_channel(1);
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("attendant".to_owned())
            .stack_size(256 << 10)
            .spawn(move || attend(command, &shared, &started))?;
        start.recv().map_err(|_| io::Error::other("its thread ended"))??;
        Ok(Attendant { state, thread: Some(thread) })
    }

    /// Tells whether it has ended.
    pub fn ended(&self) -> bool {
        lock(&self.state).child.is_none()
    }

    /// Returns the beginning of what it has printed to stderr.
    pub fn complaint(&self) -> String {
        String::from_utf8_lossy(&lock(&self.state).complaint).trim().to_owned()
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        if let Some(child) = &mut lock(&self.state).child {
            // Fails only if it has ended, which is what we want.
            let _ = child.kill();
        }
        if let Some(thread) = self.thread.take() {
            // A panic there has left nothing more to wait for.
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs in the child before it executes the program.
fn prepare(keep: &[i32], parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        // The parent died before the line above took effect.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    for fd in keep {
        // SAFETY: the parent holds the descriptors open while it starts us.
        let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    }
    Ok(())
}

/// Starts the program, drains its stderr and reaps it.
fn attend(mut command: Command, state: &Mutex<State>, started: &mpsc::SyncSender<io::Result<()>>) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            // The receiver waits for exactly this message.
            let _ = started.send(Err(error));
            return;
        }
    };
    let stderr = child.stderr.take();
    let pid = Pid::from_child(&child);
    lock(state).child = Some(child);
    let _ = started.send(Ok(()));
    if let Some(mut stderr) = stderr {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut buffer) {
            let complaint = &mut lock(state).complaint;
            let room = KEPT_OUTPUT.saturating_sub(complaint.len()).min(length);
            complaint.extend_from_slice(&buffer[..room]);
        }
    }
    // Waits without reaping: until the lock is held, `drop` may still signal this pid.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let _ = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), options));
    let mut state = lock(state);
    if let Some(mut child) = state.child.take() {
        // It is dead: this reaps at once.
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(10), "waited in vain");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn complaint_is_kept_and_bounded() {
        let attendant = Attendant::start(shell("head -c 100000 /dev/zero >&2; exit 3"), &[]).unwrap();
        wait_until(|| attendant.ended());
        assert_eq!(attendant.complaint().len(), KEPT_OUTPUT);
    }

    #[test]
    fn drop_kills() {
        let start = Instant::now();
        let attendant = Attendant::start(shell("exec sleep 60"), &[]).unwrap();
        assert!(!attendant.ended());
        drop(attendant);
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn descriptors_reach_the_program() {
        let (read, write) = std::io::pipe().unwrap();
        let fd = std::os::fd::AsFd::as_fd(&write);
        let script = format!("echo hello >&{}", fd.as_raw_fd());
        let _attendant = Attendant::start(shell(&script), &[fd]).unwrap();
        let mut line = [0; 6];
        let mut read = read;
        read.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"hello\n");
    }

    #[test]
    fn missing_program() {
        Attendant::start(Command::new("/nonexistent/program"), &[]).unwrap_err();
    }
}
