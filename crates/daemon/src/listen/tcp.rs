//! Ports.

use tokio::net::TcpListener;
use tonic::transport::ServerTlsConfig;

use super::{Listener, Socket, refused, unfit};
use crate::DaemonError;
use crate::address::Address;

/// What stands before a port.
pub(super) struct Guard {
    pub(super) tls: Option<ServerTlsConfig>,
    /// Whether that is enough: certificates are asked of clients, or somebody said that they need none.
    pub(super) open: bool,
}

impl Guard {
    pub(super) fn check(&self, address: &Address) -> Result<(), DaemonError> {
        let missing = match (self.open, &self.tls) {
            (true, _) => return Ok(()),
            (false, None) => "--tlscert, --tlskey and --tlscacert",
            (false, Some(_)) => "--tlscacert",
        };
        let reason = format!(
            "everyone who reaches this port would have the rights of the daemon: give {missing}, or say --insecure-tcp"
        );
        Err(unfit(address, reason))
    }
}

pub(super) async fn open(host: &str, port: u16, address: &Address, guard: &Guard) -> Result<Listener, DaemonError> {
    guard.check(address)?;
    let bound = match host {
        // Without IPv6 there is no address that means both.
        "" => match TcpListener::bind(("::", port)).await {
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => TcpListener::bind(("0.0.0.0", port)).await,
            bound => bound,
        },
        host => TcpListener::bind((host, port)).await,
    };
    let listener = bound.map_err(refused(address, "opening a port"))?;
    let local = listener.local_addr().map_err(refused(address, "reading the port"))?;
    Ok(Listener {
        address: format!("tcp://{local}"),
        socket: Socket::Tcp(listener),
        tls: guard.tls.clone(),
        file: None,
    })
}
