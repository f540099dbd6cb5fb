//! Opening the sockets at which a daemon listens.
//!
//! A unix socket is guarded by its owner, group and mode. A port is guarded by certificates on both sides, or it is
//! refused: whoever reaches the daemon has its rights.

mod connection;
mod inherited;
mod socket;
mod tcp;
mod tls;

use std::os::fd::OwnedFd;

use tokio::net::{TcpListener, UnixListener};
use tonic::transport::ServerTlsConfig;

use crate::DaemonError;
use crate::address::Address;

pub use connection::Connection;
pub use socket::Access;
pub use tls::TlsFiles;

pub(crate) use socket::SocketFile;

/// What the opening of sockets needs besides addresses.
#[derive(Debug, Default)]
pub struct Opening {
    /// Who may use unix sockets.
    pub access: Access,
    /// The certificates of ports.
    pub tls: Option<TlsFiles>,
    /// Whether a port may be opened to whoever reaches it.
    pub insecure_tcp: bool,
    /// Sockets that the service manager has opened, numbered as they were handed over.
    pub inherited: Vec<OwnedFd>,
}

/// A socket at which the daemon listens.
#[derive(Debug)]
pub struct Listener {
    pub(crate) address: String,
    pub(crate) socket: Socket,
    pub(crate) tls: Option<ServerTlsConfig>,
    /// Removes the socket's file in the end.
    pub(crate) file: Option<SocketFile>,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Returns where the daemon listens, with the port that the system has chosen.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Opens all addresses; must be called within a runtime.
///
/// # Errors
/// If one of them cannot be opened; then none is.
pub async fn open(addresses: &[Address], mut opening: Opening) -> Result<Vec<Listener>, DaemonError> {
    let tls = opening.tls.as_ref().map(TlsFiles::load).transpose()?;
    let guard = tcp::Guard {
        tls: tls.as_ref().map(|loaded| loaded.settings.clone()),
        open: opening.insecure_tcp || tls.is_some_and(|loaded| loaded.mutual),
    };
    let mut listeners = Vec::new();
    for address in addresses {
        match address {
            Address::Unix(path) => listeners.push(socket::open(path, address, &opening.access)?),
            Address::Tcp { host, port } => listeners.push(tcp::open(host, *port, address, &guard).await?),
            Address::Inherited(number) => {
                listeners.extend(inherited::open(*number, address, &mut opening.inherited, &guard)?);
            }
        }
    }
    Ok(listeners)
}

/// Wraps what the system says about an address.
pub(crate) fn refused(address: &Address, action: &'static str) -> impl Fn(std::io::Error) -> DaemonError + use<> {
    let address = address.to_string();
    move |source| DaemonError::Socket { address: address.clone(), action, source }
}

/// Says what is wrong with an address.
pub(crate) fn unfit(address: &Address, reason: impl Into<String>) -> DaemonError {
    DaemonError::Listen { address: address.to_string(), reason: reason.into() }
}
