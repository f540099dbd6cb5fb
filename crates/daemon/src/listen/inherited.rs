//! Sockets that a service manager opened before it started us.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use tokio::net::{TcpListener, UnixListener};

use super::tcp::Guard;
use super::{Listener, Socket, refused, unfit};
use crate::DaemonError;
use crate::address::Address;

/// Takes one of the sockets, or all of them.
pub(super) fn open(
    number: Option<i32>,
    address: &Address,
    sockets: &mut Vec<OwnedFd>,
    guard: &Guard,
) -> Result<Vec<Listener>, DaemonError> {
    let wanted = |socket: &mut OwnedFd| number.is_none_or(|number| socket.as_raw_fd() == number);
    let taken: Vec<OwnedFd> = sockets.extract_if(.., wanted).collect();
    if taken.is_empty() {
        let reason = "no such socket was handed over: is the daemon started by a systemd socket unit?";
        return Err(unfit(address, reason));
    }
    taken.into_iter().map(|socket| adopt(socket, address, guard)).collect()
}

fn adopt(socket: OwnedFd, address: &Address, guard: &Guard) -> Result<Listener, DaemonError> {
    let number = socket.as_raw_fd();
    let look = |error: rustix::io::Errno| refused(address, "looking at a socket that was handed over")(error.into());
    let stream = socket_type(&socket).map_err(look)? == SocketType::STREAM;
    if !stream || !socket_acceptconn(&socket).map_err(look)? {
        return Err(unfit(address, format!("descriptor {number} is no socket that listens for streams")));
    }
    let adopting = refused(address, "taking over a socket");
    let shown = format!("fd://{number}");
    match socket_domain(&socket).map_err(look)? {
        AddressFamily::UNIX => {
            let listener = std::os::unix::net::UnixListener::from(socket);
            listener.set_nonblocking(true).map_err(&adopting)?;
            let socket = Socket::Unix(UnixListener::from_std(listener).map_err(&adopting)?);
            Ok(Listener { address: shown, socket, tls: None, file: None })
        }
        AddressFamily::INET | AddressFamily::INET6 => {
            guard.check(address)?;
            let listener = std::net::TcpListener::from(socket);
            listener.set_nonblocking(true).map_err(&adopting)?;
            let socket = Socket::Tcp(TcpListener::from_std(listener).map_err(&adopting)?);
            Ok(Listener { address: shown, socket, tls: guard.tls.clone(), file: None })
        }
        _ => Err(unfit(address, format!("descriptor {number} is neither a unix nor a tcp socket"))),
    }
}
