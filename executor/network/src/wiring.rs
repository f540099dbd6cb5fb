//! A namespace with everything that makes it work.

use std::fs;
use std::net::Ipv4Addr;

use rbuild_sys::attendant::Attendant;
use rbuild_sys::netns::NetNs;

use crate::bridge::Bridge;
use crate::error::{NetworkError, kernel};
use crate::forwarder::{Doors, Forwarder};
use crate::netlink::Socket;
use crate::{HostResolver, Settings, View, link, resolv_conf, user_mode};

/// Where clouds tell an instance its secrets.
const METADATA_SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A namespace that is ready for a step.
#[derive(Debug)]
pub(crate) struct Wired {
    pub(crate) namespace: NetNs,
    pub(crate) address: Option<Ipv4Addr>,
    /// Where the host is reached.
    pub(crate) host: Option<Ipv4Addr>,
    pub(crate) resolv_conf: String,
    _forwarder: Option<Forwarder>,
    attendant: Option<Attendant>,
}

impl Wired {
    /// Makes one with nothing but loopback.
    pub(crate) fn alone(settings: &Settings) -> Result<Wired, NetworkError> {
        Ok(Wired {
            namespace: NetNs::create_with(settle)?.0,
            address: None,
            host: None,
            resolv_conf: resolv_conf(&settings.resolv_conf, View::None),
            _forwarder: None,
            attendant: None,
        })
    }

    /// Makes one that hangs on `bridge`.
    pub(crate) fn bridged(bridge: &Bridge, settings: &Settings) -> Result<Wired, NetworkError> {
        let (namespace, inside) = NetNs::create_with(|| {
            settle();
            Socket::route()
        })?;
        let inside = inside.map_err(kernel("speaking to the kernel from a namespace"))?;
        let address = bridge.connect(&namespace, &inside)?;
        let host = Some(bridge.subnet().gateway());
        Self::finish(settings, namespace, &inside, address, host, None)
    }

    /// Makes one that a user-mode stack connects.
    pub(crate) fn user_mode(settings: &Settings) -> Result<Wired, NetworkError> {
        let (namespace, inside) = NetNs::create_with(|| {
            settle();
            Socket::route_events()
        })?;
        let inside = inside.map_err(kernel("speaking to the kernel from a namespace"))?;
        let (attendant, address) = user_mode::connect(&settings.tools, &namespace, &inside)?;
        Self::finish(settings, namespace, &inside, address, None, Some(attendant))
    }

    fn finish(
        settings: &Settings,
        namespace: NetNs,
        inside: &Socket,
        address: Ipv4Addr,
        host: Option<Ipv4Addr>,
        attendant: Option<Attendant>,
    ) -> Result<Wired, NetworkError> {
        if settings.block_metadata {
            link::prohibit(inside, METADATA_SERVICE).map_err(kernel("blocking the metadata service"))?;
        }
        // A user-mode stack gives the namespace the host's own address.
        let shadowed = [address];
        let forwarder = match HostResolver::parse(&settings.resolv_conf).upstreams(&shadowed) {
            None => None,
            Some(upstreams) => {
                let doors = namespace.enter(Doors::open)?.map_err(NetworkError::Forwarder)?;
                Some(Forwarder::start(doors, &upstreams).map_err(NetworkError::Forwarder)?)
            }
        };
        Ok(Wired {
            namespace,
            address: Some(address),
            host,
            resolv_conf: resolv_conf(&settings.resolv_conf, View::Isolated { shadowed: &shadowed }),
            _forwarder: forwarder,
            attendant,
        })
    }

    /// Tells whether it still works: a user-mode stack may have been killed.
    pub(crate) fn works(&self) -> bool {
        self.attendant.as_ref().is_none_or(|attendant| !attendant.ended())
    }
}

/// Sets what a new namespace has otherwise than a host, from inside of it.
///
/// Interfaces yet to come get no IPv6 addresses (loopback keeps its own): nothing routes them, and a
/// link-local one would reach the host behind the packet filter's back. Any user may listen on any
/// port and send echo requests, as images made for docker expect.
fn settle() {
    for (path, value) in [
        ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
        ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
        ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
    ] {
        // Fails where the kernel has no such thing, or the group does not exist: as well.
        let _ = fs::write(path, value);
    }
}
