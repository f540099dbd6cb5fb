//! The `rbuild` binary: arguments, configuration, exit codes.

mod args;
mod command;
mod exchange;
mod limits;
mod signals;
mod ui;
mod value;
mod world;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::ui::Failure;
use crate::world::World;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.first().is_some_and(|name| name.as_bytes() == rbuild_sandbox::INIT_NAME.as_bytes()) {
        return ExitCode::from(rbuild_sandbox::init_main());
    }
    rbuild_sys::pidfd::ignore_file_size_signal();
    if let Some(arguments) = args::called_as(&arguments, "buildkitd") {
        return command::buildkitd::main(arguments);
    }
    if let Some(arguments) = args::called_as(&arguments, "buildctl") {
        return command::buildctl::main(arguments);
    }
    let arguments = args::with_default_command(arguments);
    let is_run = args::command(&arguments).is_some_and(|word| word == "run");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return clap_exit(&error, if is_run { 125 } else { 2 }),
    };
    let global = cli.global.clone();
    let done = run(cli);
    if done.is_err() && global.debug {
        ui::say(&circumstances(&global));
    }
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // What `run` itself could not do has a code of its own, apart from its program's.
        Err(Failure::User(message) | Failure::Usage(message)) if is_run => Failure::Engine(message).exit(),
        Err(failure) => failure.exit(),
    }
}

/// Returns what somebody who is told of a failure will ask for.
fn circumstances(global: &args::Global) -> String {
    let host = match rbuild_sys::host::Host::detect() {
        Ok(host) => {
            format!("{:?} on Linux {}, {:?}, {:?}", host.privilege, host.kernel.release, host.kernel, host.tools)
        }
        Err(error) => format!("unknown host: {error}"),
    };
    let store = global.root.as_ref().map_or("the default store".to_owned(), |root| format!("store {}", root.display()));
    format!("DEBUG: rbuild {}, {store}, {host}", env!("CARGO_PKG_VERSION"))
}

/// Help and version go to standard output and are no failure.
fn clap_exit(error: &clap::Error, failure: u8) -> ExitCode {
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { failure } else { 0 })
}

fn run(cli: Cli) -> Result<(), Failure> {
    // Commands that touch no store need no user namespace either.
    match cli.command {
        Command::Completion(args) => command::completion::run(&args),
        Command::Version(args) => command::version::run(&args),
        Command::DialStdio(args) => command::dial_stdio::run(&args),
        // The daemon takes over sockets before it enters.
        Command::Serve(args) => command::serve::run(*args, &cli.global),
        command => in_world(command, &cli.global),
    }
}

fn in_world(command: Command, global: &args::Global) -> Result<(), Failure> {
    let world = World::enter(global)?;
    let done = match command {
        Command::Build(args) => command::build::run(*args, &world),
        Command::Check(args) => command::check::run(&args, &world),
        Command::Explain(args) => command::explain::run(&args, &world),
        Command::Run(args) => command::run::run(*args, &world),
        Command::Images(args) => command::images::run(&args, &world),
        Command::Rmi(args) => command::rmi::run(&args, &world),
        Command::Tag(args) => command::tag::run(&args, &world),
        Command::Pull(args) => command::pull::run(&args, &world),
        Command::Push(args) => command::push::run(&args, &world),
        Command::Save(args) => command::save::run(&args, &world),
        Command::Load(args) => command::load::run(&args, &world),
        Command::Inspect(args) => command::inspect::run(&args, &world),
        Command::History(args) => command::history::run(&args, &world),
        Command::Login(args) => command::login::run(args, &world),
        Command::Logout(args) => command::logout::run(&args, &world),
        Command::Du(args) => command::du::run(&args, &world),
        Command::Prune(args) => command::prune::run(&args, &world),
        Command::Info(args) => command::info::run(&args, &world),
        Command::Completion(_) | Command::Version(_) | Command::DialStdio(_) | Command::Serve(_) => Ok(()),
    };
    world.leave();
    done
}
