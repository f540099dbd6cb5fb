//! The other side: our own binary as the init of a box.
//!
//! A single thread carries out the steps of the plan, starts the program, then looks after it: passes signals on,
//! reaps, and in the end kills what is left, removes mount points and reports. If the engine goes away, so does
//! everything in the box.

mod dev;
mod enter;
mod failure;
mod mounts;
mod perform;
mod program;
mod root;
mod supervise;
mod target;
mod world;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rbuild_sys::clone::{self, Namespaces};
use rbuild_sys::pidfd::{self, Process};
use rustix::process::DumpableBehavior;

use crate::spare::WAIT;
use crate::step::{Plan, Step};
use crate::wire::{self, Launch, Report};
use failure::Failure;
use world::World;

/// Is the init of a box: called by `main` before anything else if `argv[0]` is [`crate::INIT_NAME`].
///
/// Returns the exit status of the process.
pub fn init_main() -> u8 {
    // Nobody reads what we would print; everything is reported through the socket.
    std::panic::set_hook(Box::new(|_| {}));
    match std::panic::catch_unwind(run) {
        Ok(Ok(())) => 0,
        Ok(Err(_)) | Err(_) => 125,
    }
}

fn run() -> io::Result<()> {
    prepare_process()?;
    let argument = std::env::args().nth(1).unwrap_or_default();
    let Some((control, descriptors)) = task(&argument)? else { return Ok(()) };
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(|| io::Error::from(rustix::io::Errno::BADF));
    let launch: Launch = serde_json::from_slice(&read_all(next()?)?)?;
    let (mut world, plan) = World::new(launch, next)?;
    let result = start(&mut world, &plan, &control);
    let report = match result {
        Ok(process) => {
            wire::send(&control, &Report::Started, None)?;
            return supervise::supervise(&mut world, process, &control);
        }
        Err(error) => world.failure(&plan, &error),
    };
    world.clean_up();
    wire::send(&control, &report.clipped(), None)
}

/// Returns the control socket and the other descriptors, waiting for them if the argument says so; none if they
/// will not come.
fn task(argument: &str) -> io::Result<Option<(OwnedFd, Vec<OwnedFd>)>> {
    let claim = |text: &str| -> io::Result<Vec<OwnedFd>> {
        let numbers: Option<Vec<i32>> = text.split(',').map(|number| number.parse().ok()).collect();
        clone::claim_inherited(&numbers.ok_or(rustix::io::Errno::INVAL)?)
    };
    let missing = || io::Error::from(rustix::io::Errno::BADF);
    if let Some(number) = argument.strip_prefix(WAIT) {
        let control = claim(number)?.into_iter().next().ok_or_else(missing)?;
        return Ok(wire::take_over(&control)?.map(|descriptors| (control, descriptors)));
    }
    let mut claimed = claim(argument)?;
    if claimed.len() < 2 {
        return Err(missing());
    }
    let control = claimed.remove(1);
    Ok(Some((control, claimed)))
}

/// Makes this process one that nobody inside can reach.
fn prepare_process() -> io::Result<()> {
    pidfd::block_signals()?;
    // Neither ptrace nor /proc/1/{exe,fd,environ} for the program, even as uid 0.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // The terminal's signals are not for us.
    let _ = rustix::process::setsid();
    // The name is for people who look at the process list.
    rustix::thread::set_name(c"rbuild-init")?;
    rustix::process::umask(rustix::fs::Mode::empty());
    let null = rustix::fs::open(c"/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

fn read_all(fd: OwnedFd) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek};
    let mut file = std::fs::File::from(fd);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Carries out all steps and returns the program's process.
///
/// Where the init is process 1 it builds the box itself. Where the program is to be process 1, the program's
/// process does so, in our memory and with our descriptors, because proc shows the namespace of whoever mounts it.
fn start(world: &mut World, plan: &Plan, control: &OwnedFd) -> io::Result<Process> {
    let begin = plan.steps.iter().position(|step| *step == Step::Start).unwrap_or(plan.steps.len());
    let (build, program) = plan.steps.split_at(begin);
    if plan.init || plan.guest {
        if !world.perform(build, control.as_fd()) {
            return Err(io::Error::other("a step failed"));
        }
        // A guest's program is born in the pid namespace of the box, while its init stays outside.
        let shared = if plan.guest { Namespaces::SHARED_DESCRIPTORS } else { Namespaces::NONE };
        return clone::vfork(shared, || {
            world.perform(program, control.as_fd());
            io::Error::other("a step failed")
        });
    }
    clone::vfork(Namespaces::PID | Namespaces::SHARED_DESCRIPTORS, || {
        if world.perform(build, control.as_fd()) {
            world.perform(program, control.as_fd());
        }
        io::Error::other("a step failed")
    })
}

impl World {
    /// Carries out steps until one fails, which is remembered.
    fn perform(&mut self, steps: &[Step], control: std::os::fd::BorrowedFd<'_>) -> bool {
        for step in steps {
            self.at += 1;
            if let Err(failure) = self.step(step, control) {
                self.failed = Some(failure);
                return false;
            }
        }
        true
    }

    /// Returns the report of the step that failed, or of the process that could not be made.
    fn failure(&mut self, plan: &Plan, error: &io::Error) -> Report {
        let at = self.at.saturating_sub(1).min(plan.steps.len().saturating_sub(1));
        match self.failed.take() {
            Some(Failure::Exec { message, code }) => Report::NotExecuted { message, code },
            Some(failure) => {
                let (reason, hint) = failure.words(&plan.steps[at]);
                Report::Failed { step: at, reason, hint }
            }
            None => Report::Failed { step: at, reason: format!("starting the process: {error}"), hint: None },
        }
    }
}
