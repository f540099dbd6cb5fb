//! Programs that serve this process and die with it.
//!
//! The kernel ties a parent's death to the *thread* that started the child, so each attendant has a
//! thread that starts it, drains what it prints and waits for it.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

/// How much of what an attendant prints is kept, for error messages.
const KEPT_OUTPUT: usize = 4096;

/// A running helper program; dropping it kills it.
#[derive(Debug)]
pub struct Attendant {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Present until the child has been reaped, so that its pid cannot be another's.
    child: Option<Child>,
    complaint: Vec<u8>,
}

impl Attendant {
    /// Starts `command` with `stdin`, the one descriptor by which something can be handed to it:
    /// careful programs close all that they did not expect.
    ///
    /// It gets a process group of its own, so that the terminal's Ctrl-C reaches us first.
    pub fn start(mut command: Command, stdin: Stdio) -> io::Result<Attendant> {
        let parent = rustix::process::getpid();
        command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock.
        unsafe { command.pre_exec(move || prepare(parent)) };
        let state = Arc::new(Mutex::new(State::default()));
        let (started, start) = mpsc::sync_channel(1);
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name("attendant".to_owned())
            .stack_size(256 << 10)
            .spawn(move || attend(command, &shared, &started))?;
        start.recv().map_err(|_| io::Error::other("its thread ended"))??;
        Ok(Attendant { state })
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
        // Its thread goes on to reap it: a dying network stack takes tens of milliseconds.
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs in the child before it executes the program.
fn prepare(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        // The parent died before the line above took effect.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
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
        let attendant = Attendant::start(shell("head -c 100000 /dev/zero >&2; exit 3"), Stdio::null()).unwrap();
        wait_until(|| attendant.ended());
        assert_eq!(attendant.complaint().len(), KEPT_OUTPUT);
    }

    #[test]
    fn drop_kills() {
        let attendant = Attendant::start(shell("exec sleep 60"), Stdio::null()).unwrap();
        assert!(!attendant.ended());
        let state = Arc::clone(&attendant.state);
        drop(attendant);
        wait_until(|| lock(&state).child.is_none());
    }

    #[test]
    fn stdin_reaches_the_program() {
        let (read, write) = std::io::pipe().unwrap();
        let attendant = Attendant::start(shell("cat >&2"), Stdio::from(read)).unwrap();
        std::io::Write::write_all(&mut { write }, b"hello").unwrap();
        wait_until(|| attendant.ended());
        assert_eq!(attendant.complaint(), "hello");
    }

    #[test]
    fn missing_program() {
        Attendant::start(Command::new("/nonexistent/program"), Stdio::null()).unwrap_err();
    }
}
