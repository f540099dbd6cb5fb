//! Network namespaces and their wiring.
//!
//! A step asks a [`Provider`] for a [`Lease`] and gets a namespace as a file descriptor, with the
//! texts of `/etc/resolv.conf` and, through [`hosts_file`], `/etc/hosts` that fit it. Four ways to
//! wire one stand behind it:
//!
//! | who | [`Network`] | wiring |
//! |---|---|---|
//! | anybody | `Host` | no namespace of its own |
//! | anybody | `None` | loopback only |
//! | root | `Isolated` | veth pair to the bridge `rbuild0`, masqueraded by nftables |
//! | user namespace | `Isolated` | pasta or slirp4netns on a tap device |
//!
//! Everything is spoken to the kernel by netlink, without helper programs for root, and blocking:
//! wiring takes a millisecond or two. Nothing happens before the first lease. A namespace lives as long as somebody
//! holds its descriptor, and its veth pair and tap die with it; the bridge and the nftables table stay for the
//! next build, as those of other engines do, until [`remove`] takes them away.
//!
//! This room does not know what a step is, publishes no ports and gives IPv4 only.

mod bridge;
mod error;
mod firewall;
mod forwarder;
mod hosts;
mod lease;
mod link;
mod netlink;
mod nft;
mod resolv;
mod subnet;
#[cfg(test)]
mod tests;
mod user_mode;
mod wiring;

pub use error::NetworkError;
pub use hosts::{ExtraHost, HostAddress, HostsError, hosts_file};
pub use lease::{Lease, Provider, Settings, remove};
pub use resolv::{HostResolver, View, resolv_conf};
pub use subnet::Subnet;

use std::fmt;
use std::str::FromStr;

/// What a process may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Network {
    /// Itself only: a namespace with nothing but loopback.
    None,
    /// All that the host reaches: the host's own namespace.
    Host,
    /// The world through the host, but not the host's loopback: a namespace of its own.
    #[default]
    Isolated,
}

/// A name that is no network mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown network mode `{0}`: there are default, none and host")]
pub struct UnknownNetwork(pub String);

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(name: &str) -> Result<Network, UnknownNetwork> {
        match name {
            "" | "default" | "sandbox" | "bridge" => Ok(Network::Isolated),
            "none" => Ok(Network::None),
            "host" => Ok(Network::Host),
            other => Err(UnknownNetwork(other.to_owned())),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::None => "none",
            Network::Host => "host",
            Network::Isolated => "default",
        })
    }
}
