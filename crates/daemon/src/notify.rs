//! Tells the service manager that the daemon is ready, and that it stops.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The socket that a service manager named in `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct ServiceManager {
    address: SocketAddr,
}

impl ServiceManager {
    /// Reads the value of `NOTIFY_SOCKET`: a path, or a name that begins with `@`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn new(name: &str) -> io::Result<Self> {
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None if name.starts_with('/') => SocketAddr::from_pathname(name)?,
            None => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor a name with @")),
        };
        Ok(Self { address })
    }

    /// Says that the daemon accepts connections.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1")
    }

    /// Says that the daemon is going to end.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    fn send(&self, state: &str) -> io::Result<()> {
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &self.address).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_both() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager::new(path.to_str().unwrap()).unwrap();
        manager.ready().unwrap();
        manager.stopping().unwrap();
        let mut buffer = [0; 32];
        for expected in ["READY=1", "STOPPING=1"] {
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected.as_bytes());
        }
        assert!(ServiceManager::new("relative").is_err());
        assert!(ServiceManager::new("@abstract").is_ok());
    }
}
