//! The network of an ordinary user: a program that carries packets between a tap device in our
//! namespace and sockets of its own.
//!
//! Both programs are told to offer nothing of the host's loopback and to forward no port.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::Command;
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

/// Connects `namespace` and returns the program that carries its packets, and its address.
///
/// `events` is a socket of the namespace that hears of new routes.
pub(crate) fn connect(
    tools: &Tools,
    namespace: &NetNs,
    events: &Socket,
) -> Result<(Attendant, Ipv4Addr), NetworkError> {
    let pid = rustix::process::getpid().as_raw_nonzero();
    let path = format!("/proc/{pid}/fd/{}", namespace.as_fd().as_raw_fd());
    let (program, command) = match (&tools.pasta, &tools.slirp4netns) {
        (Some(pasta), _) => (pasta, pasta_command(pasta, &path)),
        (None, Some(slirp)) => (slirp, slirp_command(slirp, &path)),
        (None, None) => return Err(NetworkError::NoUserModeNetwork),
    };
    let failed = |complaint: String| NetworkError::UserMode { program: program.clone(), complaint };
    let attendant = Attendant::start(command, &[]).map_err(|error| failed(error.to_string()))?;
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

fn pasta_command(program: &Path, namespace: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--foreground", "--quiet", "--ipv4-only", "--config-net", "--no-map-gw"]);
    command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
    command.args(["--ns-ifname", INSIDE, "--netns", namespace]).env_clear();
    command
}

fn slirp_command(program: &Path, namespace: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--configure", "--mtu=65520", "--disable-host-loopback", "--disable-dns"]);
    command.args(["--netns-type=path", namespace, INSIDE]).env_clear();
    command
}
