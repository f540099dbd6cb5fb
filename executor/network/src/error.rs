//! What can go wrong with a network, and what the user can do about it.

use std::io;
use std::path::PathBuf;

use rbuild_sys::netns::NetNsError;
use rustix::io::Errno;

/// Why there is no network for a step.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A namespace could not be made or entered.
    #[error(transparent)]
    Namespace(#[from] NetNsError),
    /// A request to the kernel failed.
    #[error("{what}")]
    Kernel {
        /// What was attempted.
        what: String,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The kernel lacks something that isolation needs.
    #[error("an isolated network needs {what}, which this kernel does not have: use --network=host or --network=none")]
    Unsupported {
        /// What is missing.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// We may not configure the host's network.
    #[error("{what} needs the capability NET_ADMIN over the host's network: use --network=host or --network=none")]
    Forbidden {
        /// What was attempted.
        what: String,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// IPv4 forwarding is off and stays off.
    #[error("an isolated network needs IPv4 forwarding, and `{path}` cannot be set to 1: use --network=host")]
    Forwarding {
        /// The switch.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// All candidates overlap with networks of the host.
    #[error("no subnet is free for bridge `{bridge}`: the host's routes cover all candidates; use --network=host")]
    NoSubnet {
        /// Name of the bridge.
        bridge: String,
    },
    /// Somebody else's interface has our bridge's name.
    #[error("the interface `{bridge}` exists and is not a bridge of ours")]
    NotOurs {
        /// Name of the bridge.
        bridge: String,
    },
    /// The name cannot be that of a bridge.
    #[error("`{bridge}` cannot be the name of a bridge: letters and digits, eleven at most")]
    BridgeName {
        /// The name.
        bridge: String,
    },
    /// Too many steps at once on this host.
    #[error("all addresses of bridge `{bridge}` are in use")]
    Exhausted {
        /// Name of the bridge.
        bridge: String,
    },
    /// A lock file could not be opened or locked.
    #[error("locking `{path}`")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Without root, isolation takes a program that is not installed.
    #[error(
        "an isolated network without root needs pasta or slirp4netns: install one (package passt), \
         or use --network=host or --network=none"
    )]
    NoUserModeNetwork,
    /// The device that user-mode stacks need cannot be opened.
    #[error(
        "an isolated network without root needs to open /dev/net/tun (usually of mode 0666): \
         use --network=host or --network=none"
    )]
    Tap(#[source] io::Error),
    /// The program that carries the network of an ordinary user failed.
    #[error("connecting a network namespace by `{program}`: {complaint}")]
    UserMode {
        /// Its path.
        program: PathBuf,
        /// What it printed, or what it did not do.
        complaint: String,
    },
    /// The name-server forwarder could not be started.
    #[error("starting the name-server forwarder of a network namespace")]
    Forwarder(#[source] io::Error),
    /// A file of the host could not be read.
    #[error("reading `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("starting a thread for the network")]
    Thread(#[source] io::Error),
}

/// Says what was attempted when a request fails.
pub(crate) fn kernel(what: impl Into<String>) -> impl FnOnce(Errno) -> NetworkError {
    let what = what.into();
    move |source| match source {
        Errno::PERM | Errno::ACCESS => NetworkError::Forbidden { what, source },
        _ => NetworkError::Kernel { what, source },
    }
}
