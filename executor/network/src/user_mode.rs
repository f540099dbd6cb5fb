//! The network of an ordinary user: a program that carries packets between a tap device in our
//! namespace and sockets of its own.
//!
//! Both programs are told to offer nothing of the host's loopback and to forward no port.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rbuild_sys::attendant::Attendant;
use rbuild_sys::host::Tools;
use rbuild_sys::netns::NetNs;
use rustix::io::Errno;

use crate::bridge::INSIDE;
use crate::error::{NetworkError, kernel};
use crate::link;
use crate::netlink::Socket;

/// Both are up within some twenty milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where tap devices come from; open to everybody on a usual host.
const TAP: &str = "/dev/net/tun";

/// Connects `namespace` and returns the program that carries its packets, and its address.
///
/// `events` is a socket of the namespace that hears of new routes.
pub(crate) fn connect(
    tools: &Tools,
    namespace: &NetNs,
    events: &Socket,
) -> Result<(Attendant, Ipv4Addr), NetworkError> {
    let (program, command) = match (&tools.pasta, &tools.slirp4netns) {
        (Some(pasta), _) => (pasta, pasta_command(pasta)),
        (None, Some(slirp)) => (slirp, slirp_command(slirp)),
        (None, None) => return Err(NetworkError::NoUserModeNetwork),
    };
    // Both need it, and say little when they cannot have it.
    std::fs::File::options().read(true).write(true).open(TAP).map_err(NetworkError::Tap)?;
    let failed = |complaint: String| NetworkError::UserMode { program: program.clone(), complaint };
    let stdin = namespace.as_fd().try_clone_to_owned().map(Stdio::from);
    let attendant =
        stdin.and_then(|stdin| Attendant::start(command, stdin)).map_err(|error| failed(error.to_string()))?;
    let start = Instant::now();
    loop {
        if let Some(ip) = address(events).map_err(kernel("reading the addresses of a namespace"))? {
            return Ok((attendant, ip));
        }
        if attendant.ended() {
            let complaint = attendant.complaint();
            return Err(failed(if complaint.is_empty() { "it ended".to_owned() } else { complaint }));
        }
        if start.elapsed() > PATIENCE {
            return Err(failed(format!("no route after {} seconds", PATIENCE.as_secs())));
        }
        events.wait(Duration::from_millis(20)).map_err(kernel("waiting for the routes of a namespace"))?;
    }
}

/// Returns the address of the namespace once it has a way out.
fn address(socket: &Socket) -> Result<Option<Ipv4Addr>, Errno> {
    let routes = link::routes(socket)?;
    let Some(way_out) = routes.iter().find(|route| route.unicast && route.to.length() == 0) else {
        return Ok(None);
    };
    let addresses = link::addresses(socket)?;
    Ok(addresses.iter().find(|address| Some(address.link) == way_out.link).map(|address| address.ip))
}

/// How the programs find the namespace. Our own `/proc/PID/fd` is closed to them once they have
/// dropped their capabilities, and the newer close what they inherit except for this.
const NAMESPACE: &str = "/proc/self/fd/0";

fn pasta_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--foreground", "--quiet", "--ipv4-only", "--config-net", "--no-map-gw"]);
    command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
    command.args(["--ns-ifname", INSIDE, "--netns", NAMESPACE, "--no-netns-quit"]).env_clear();
    command
}

fn slirp_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--configure", "--mtu=65520", "--disable-host-loopback", "--disable-dns"]);
    command.args(["--netns-type=path", NAMESPACE, INSIDE]).env_clear();
    command
}
