//! `rbuild dial-stdio`: a connection to the daemon over standard input and output, for clients that start us far away.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use rbuild_daemon::address::Address;

use super::serve::usual_address;
use crate::ui::Failure;
use crate::world::variable;

/// Connect standard input and output with the daemon
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the daemon [default: $BUILDKIT_HOST, or where `rbuild serve` listens]
    #[arg(long, value_name = "ADDRESS")]
    addr: Option<Address>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    dial(&daemon(args.addr.as_ref(), "rbuild")?)
}

/// Returns where the daemon listens whose usual address lies in `directory`.
pub(crate) fn daemon(given: Option<&Address>, directory: &str) -> Result<Address, Failure> {
    match (given, variable("BUILDKIT_HOST")) {
        (Some(address), _) => Ok(address.clone()),
        (None, Some(text)) => text.parse().map_err(|error| Failure::Usage(format!("BUILDKIT_HOST: {error}"))),
        (None, None) => usual_address(directory, !rustix::process::geteuid().is_root()),
    }
}

/// Copies in both directions until the daemon closes its end; the end of input is passed on.
pub(crate) fn dial(address: &Address) -> Result<(), Failure> {
    let Address::Unix(path) = address else {
        return Err(Failure::Usage(format!("`{address}` cannot be dialed: expected unix://")));
    };
    let mut from_daemon = connect(path)?;
    let mut to_daemon = from_daemon.try_clone().map_err(|error| failed(path, &error))?;
    thread::spawn(move || {
        // Whatever fails here shows at the other end.
        let _ = io::copy(&mut io::stdin().lock(), &mut to_daemon);
        let _ = to_daemon.shutdown(Shutdown::Write);
    });
    let mut stdout = io::stdout().lock();
    copy(&mut from_daemon, &mut stdout).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => failed(path, &error),
    })
}

fn connect(path: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(path).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::User(format!("connecting to the daemon at unix://{}: {error}", path.display()))
}

/// Copies, and hands on every piece at once: standard output would wait for the end of a line.
fn copy(from: &mut impl io::Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
