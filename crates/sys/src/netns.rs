//! Network namespaces as file descriptors.
//!
//! A namespace lives exactly as long as somebody holds it: there is no bind mount under
//! `/run/netns` that a killed process could leave behind. Threads that change their namespace are
//! short-lived helpers, so the callers' threads never move.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// What went wrong with a network namespace.
#[derive(Debug, thiserror::Error)]
pub enum NetNsError {
    /// The helper thread did not start.
    #[error("starting the thread that enters a network namespace")]
    Thread(#[source] io::Error),
    /// The kernel refused a new namespace.
    #[error("creating a network namespace")]
    Create(#[source] io::Error),
    /// The kernel refused to move the helper thread.
    #[error("entering a network namespace")]
    Enter(#[source] io::Error),
    /// The namespace of this process could not be opened.
    #[error("opening the network namespace of this process")]
    Open(#[source] io::Error),
    /// The loopback interface did not come up.
    #[error("bringing the loopback interface up in a new network namespace")]
    Loopback(#[source] io::Error),
}

/// A network namespace, alive while this or a process in it is.
#[derive(Debug)]
pub struct NetNs(OwnedFd);

impl NetNs {
    /// Returns a new namespace whose loopback interface is up.
    pub fn create() -> Result<NetNs, NetNsError> {
        Self::create_with(|| ()).map(|(namespace, ())| namespace)
    }

    /// Returns a new namespace and what `first` made of it from inside.
    ///
    /// Saves the second thread that [`NetNs::enter`] would need.
    pub fn create_with<T: Send>(first: impl FnOnce() -> T + Send) -> Result<(NetNs, T), NetNsError> {
        on_thread(|| {
            // SAFETY: only the network namespace of this helper thread changes; its file
            // descriptor table stays shared with the process.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
                .map_err(|errno| NetNsError::Create(errno.into()))?;
            loopback_up().map_err(NetNsError::Loopback)?;
            let namespace = Self::of_thread()?;
            Ok((namespace, first()))
        })
    }

    /// Returns the namespace of the calling thread.
    pub fn of_thread() -> Result<NetNs, NetNsError> {
        let file = std::fs::File::open("/proc/thread-self/ns/net").map_err(NetNsError::Open)?;
        Ok(NetNs(file.into()))
    }

    /// Runs `inside` on a thread of its own that has entered the namespace.
    ///
    /// Sockets that it returns go on belonging to the namespace.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
        on_thread(|| {
            rustix::thread::move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|errno| NetNsError::Enter(errno.into()))?;
            Ok(inside())
        })
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for NetNs {
    fn from(fd: OwnedFd) -> Self {
        NetNs(fd)
    }
}

impl From<NetNs> for OwnedFd {
    fn from(namespace: NetNs) -> Self {
        namespace.0
    }
}

fn on_thread<T: Send>(work: impl FnOnce() -> Result<T, NetNsError> + Send) -> Result<T, NetNsError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(256 << 10)
            .spawn_scoped(scope, work)
            .map_err(NetNsError::Thread)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Brings `lo` up in the namespace of the calling thread.
pub fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: `ifreq` is plain old data for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which outlives the call; the socket is open.
    match unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(namespace: &NetNs) -> u64 {
        rustix::fs::fstat(namespace).expect("an open namespace").st_ino
    }

    #[test]
    fn root_the_calling_thread_stays_where_it_is() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let before = NetNs::of_thread().unwrap();
        let (namespace, seen) = NetNs::create_with(|| NetNs::of_thread().unwrap()).unwrap();
        assert_eq!(inode(&namespace), inode(&seen));
        assert_ne!(inode(&namespace), inode(&before));
        assert_eq!(inode(&before), inode(&NetNs::of_thread().unwrap()));
        let entered = namespace.enter(|| inode(&NetNs::of_thread().unwrap())).unwrap();
        assert_eq!(entered, inode(&namespace));
        let echoed = namespace.enter(|| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            std::net::TcpStream::connect(listener.local_addr()?).map(drop)
        });
        echoed.unwrap().expect("loopback is up");
    }
}
