//! `buildctl`: what drivers of buildx start inside of a container with the daemon, and no more.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use rbuild_daemon::address::Address;

use super::dial_stdio::{daemon, dial};
use crate::ui::{self, Failure};
use crate::world::chain;

/// Reach the daemon from within its container; for everything else there is BuildKit's own buildctl
#[derive(Debug, Parser)]
#[command(name = "buildctl", disable_version_flag = true, arg_required_else_help = true, max_term_width = 100)]
struct Args {
    /// Address of the daemon [default: $BUILDKIT_HOST, or unix:///run/buildkit/buildkitd.sock]
    #[arg(long, value_name = "ADDRESS")]
    addr: Option<Address>,
    /// Seconds after which a daemon that does not answer is given up
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    timeout: u64,
    /// Show the version
    #[arg(long, short)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connect standard input and output with the daemon
    DialStdio,
    /// Look at the daemon
    Debug {
        #[command(subcommand)]
        command: Debug,
    },
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Debug, Subcommand)]
enum Debug {
    /// List workers
    Workers,
}

/// Runs the client with its own flags, the name first.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => return crate::clap_exit(&error, 2),
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

fn run(args: Args) -> Result<(), Failure> {
    if args.version {
        return ui::out(&super::buildkitd::version("buildctl"));
    }
    match args.command {
        Some(Command::DialStdio) => dial(&daemon(args.addr.as_ref(), "buildkit")?),
        Some(Command::Debug { command: Debug::Workers }) => {
            workers(&daemon(args.addr.as_ref(), "buildkit")?, Duration::from_secs(args.timeout))
        }
        Some(Command::Other(words)) => {
            let name = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
            Err(Failure::Usage(format!(
                "rbuild's buildctl knows `dial-stdio` and `debug workers` only: for `{name}`, use BuildKit's"
            )))
        }
        None => Err(Failure::Usage("no command was given: see --help".to_owned())),
    }
}

fn workers(address: &Address, patience: Duration) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::user)?;
    let workers = runtime
        .block_on(rbuild_daemon::client::list_workers(address, patience))
        .map_err(|error| Failure::User(chain(&error)))?;
    let row = |worker: &rbuild_daemon::client::Worker| vec![worker.id.clone(), worker.platforms.join(",")];
    let rows: Vec<_> = workers.iter().map(row).collect();
    ui::table(&["ID", "PLATFORMS"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn only_what_drivers_need_is_there() {
        let parse = |line: &str| Args::try_parse_from(line.split_whitespace());
        assert!(matches!(parse("buildctl dial-stdio").unwrap().command, Some(Command::DialStdio)));
        assert!(matches!(parse("buildctl debug workers").unwrap().command, Some(Command::Debug { .. })));
        let Err(Failure::Usage(message)) = run(parse("buildctl build --frontend x").unwrap()) else { panic!() };
        assert!(message.contains("`build`, use BuildKit's"), "{message}");
        assert!(parse("buildctl --tlsdir x dial-stdio").is_err());
    }
}
