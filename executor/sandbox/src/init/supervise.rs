//! After the start: signals in, reaping, and the end of the box.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rbuild_sys::pidfd::{self, Ended, Process};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::world::World;
use crate::wire::{self, Report};

/// Looks after the program until it ends, then ends everything else and reports.
pub(super) fn supervise(world: &mut World, program: Process, control: &OwnedFd) -> io::Result<()> {
    // What was needed to build the box only.
    world.sources.clear();
    world.handles.clear();
    world.groups.clear();
    world.pipes = [None, None, None];
    world.terminal = None;
    let ended = watch(&program, control)?;
    if world.first {
        pidfd::kill_all()?;
        while pidfd::reap_next()?.is_some() {}
    }
    let complaints = world.clean_up();
    let signal = match ended {
        Ended::Killed(signal) => Some(signal),
        Ended::Exited(_) => None,
    };
    let report = Report::Ended { code: ended.code(), signal, complaints };
    match wire::send(control, &report.clipped(), None) {
        // Nobody is interested any more.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PIPE) => Ok(()),
        result => result,
    }
}

fn watch(program: &Process, control: &OwnedFd) -> io::Result<Ended> {
    let children = pidfd::child_signals()?;
    let mut engine = true;
    loop {
        // Children that ended before the descriptor was there have left no signal.
        if let Some(ended) = reap(program)? {
            return Ok(ended);
        }
        let mut ready = vec![PollFd::new(&children, PollFlags::IN)];
        if engine {
            ready.push(PollFd::new(control, PollFlags::IN));
        }
        match rustix::event::poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        let (child, message) =
            (!ready[0].revents().is_empty(), ready.get(1).is_some_and(|it| !it.revents().is_empty()));
        if child {
            let mut signals = [0_u8; 1024];
            // Only wakes us; what happened is found by reaping.
            let _ = rustix::io::read(&children, &mut signals);
        }
        if message {
            engine = pass_on(program, control)?;
        }
    }
}

/// Takes all dead children away; the end of the program, if it is among them.
fn reap(program: &Process) -> io::Result<Option<Ended>> {
    let mut found = None;
    while let Some((pid, ended)) = pidfd::reap_any()? {
        if pid == program.pid() {
            found = Some(ended);
        }
    }
    Ok(found)
}

/// Passes a signal of the engine on; without the engine nobody is left to wait for the program.
fn pass_on(program: &Process, control: &OwnedFd) -> io::Result<bool> {
    let mut signal = [0_u8; 1];
    let length = match rustix::net::recv(control.as_fd(), &mut signal, rustix::net::RecvFlags::empty()) {
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        Err(Errno::CONNRESET) => 0,
        result => result?.0,
    };
    let alive = length > 0;
    let signal = if alive { i32::from(signal[0]) } else { rustix::process::Signal::KILL.as_raw() };
    match program.kill(signal) {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::SRCH | Errno::INVAL)) => Ok(alive),
        result => result.map(|()| alive),
    }
}
