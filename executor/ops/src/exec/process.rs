//! The process of a step, to be killed from elsewhere.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rbuild_sandbox::Running;

/// How long a killed box may take to go: beyond that, the kernel holds it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The process of a step, between the thread that runs it and whoever gives it up.
#[derive(Default)]
pub(crate) struct Process {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// There is, or will be, something on the host that must be cleaned up.
    busy: bool,
    running: Option<Arc<Running>>,
    killed: bool,
}

impl Process {
    /// Begins what must be waited for, unless the step was given up before.
    pub(crate) fn begin(&self) -> Option<Busy<'_>> {
        let mut state = self.state();
        state.busy = !state.killed;
        // Lazily: dropping one takes the lock.
        state.busy.then(|| Busy(self))
    }

    /// Takes note of a started process; returns whether it may go on.
    pub(crate) fn started(&self, running: &Arc<Running>) -> bool {
        let mut state = self.state();
        state.running = Some(running.clone());
        !state.killed
    }

    /// Returns whether nobody wants the step any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.state().killed
    }

    fn kill(&self) {
        let mut state = self.state();
        state.killed = true;
        let running = state.running.clone();
        drop(state);
        if let Some(running) = running {
            let _ = running.destroy();
        }
    }

    /// Waits until nothing of the step is left on the host.
    fn wait(&self) {
        let state = self.state();
        let waited = self.ended.wait_timeout_while(state, PATIENCE, |state| state.busy);
        drop(waited.expect("no holder of this lock panics"));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// Says at its end that nothing of the step is left.
pub(crate) struct Busy<'a>(&'a Process);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy = false;
        state.running = None;
        self.0.ended.notify_all();
    }
}

/// Kills the process when the future that wants it is dropped, and waits for its end: whoever gave the step up may
/// end next, and nobody would clean up then.
pub(crate) struct KillGuard(pub(crate) Arc<Process>);

impl Drop for KillGuard {
    fn drop(&mut self) {
        self.0.kill();
        self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_given_up_does_not_begin() {
        let process = Arc::new(Process::default());
        drop(KillGuard(process.clone()));
        assert!(process.begin().is_none());
    }

    #[test]
    fn whoever_gives_a_step_up_waits_for_its_end() {
        let process = Arc::new(Process::default());
        let cleaned = std::sync::atomic::AtomicBool::new(false);
        let (begun, wait) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let busy = process.begin().expect("nobody has given it up");
                begun.send(()).expect("the other waits");
                while !process.state().killed {
                    std::thread::yield_now();
                }
                cleaned.store(true, std::sync::atomic::Ordering::SeqCst);
                drop(busy);
            });
            wait.recv().expect("the step begins");
            drop(KillGuard(process.clone()));
            assert!(cleaned.load(std::sync::atomic::Ordering::SeqCst));
        });
    }
}
