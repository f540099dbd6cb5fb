//! Links, addresses and routes: what we ask of the kernel's routing family.
//!
//! The numbers are those of `linux/rtnetlink.h`, `if_link.h` and `if_addr.h`.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::netlink::{CREATE_NEW, Message, REPLACE, Reply, Socket, attributes, number, text};
use crate::subnet::Subnet;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const AF_INET: u8 = 2;
const AF_INET6: u16 = 10;
const AF_BRIDGE: u8 = 7;
const IFF_UP: u32 = 1;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_OPERSTATE: u16 = 16;
const IF_OPER_UP: u8 = 6;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const VETH_INFO_PEER: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RTN_UNICAST: u8 = 1;
const RTN_PROHIBIT: u8 = 8;

const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

/// What we know of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    /// Whether packets flow; comes some time after it was asked for.
    pub(crate) running: bool,
    /// Index of the bridge that it is a port of.
    pub(crate) master: Option<u32>,
    /// `bridge`, `veth`…; hardware has none.
    pub(crate) kind: Option<String>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) link: u32,
    pub(crate) ip: Ipv4Addr,
    pub(crate) length: u8,
}

/// A route, in whatever table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: Subnet,
    pub(crate) link: Option<u32>,
    /// Not one of the local or broadcast routes that come with each address.
    pub(crate) unicast: bool,
    pub(crate) gateway: Option<Ipv4Addr>,
}

fn link_header(family: u8, index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

/// Finds the interface called `name`.
pub(crate) fn find(socket: &Socket, name: &str) -> Result<Option<Link>, Errno> {
    let message = Message::silent(RTM_GETLINK, 0, &link_header(0, 0, 0, 0)).string(IFLA_IFNAME, name);
    match socket.ask(message) {
        Ok(reply) => Ok(read_link(&reply)),
        Err(Errno::NODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Returns all interfaces.
pub(crate) fn links(socket: &Socket) -> Result<Vec<Link>, Errno> {
    let replies = socket.dump(&Message::silent(RTM_GETLINK, 0, &link_header(0, 0, 0, 0)))?;
    Ok(replies.iter().filter_map(read_link).collect())
}

fn read_link(reply: &Reply) -> Option<Link> {
    let header: [u8; LINK_HEADER] = reply.header()?;
    let index = number(&header[4..8])?;
    let mut link = Link { index, name: String::new(), mtu: 0, running: false, master: None, kind: None };
    for (kind, value) in reply.attributes(LINK_HEADER) {
        match kind {
            IFLA_IFNAME => link.name = text(value).to_owned(),
            IFLA_OPERSTATE => link.running = value == [IF_OPER_UP],
            IFLA_MTU => link.mtu = number(value)?,
            IFLA_MASTER => link.master = number(value),
            IFLA_LINKINFO => {
                let mut kinds = attributes(value).filter(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = kinds.next().map(|(_, value)| text(value).to_owned());
            }
            _ => {}
        }
    }
    Some(link)
}

/// Returns all IPv4 addresses.
pub(crate) fn addresses(socket: &Socket) -> Result<Vec<Address>, Errno> {
    let replies = socket.dump(&Message::silent(RTM_GETADDR, 0, &[AF_INET, 0, 0, 0, 0, 0, 0, 0]))?;
    let read = |reply: &Reply| {
        let header: [u8; ADDRESS_HEADER] = reply.header()?;
        let find = |wanted| reply.attributes(ADDRESS_HEADER).find(|(kind, _)| *kind == wanted);
        let (_, value) = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
        Some(Address { link: number(&header[4..])?, ip: ip(value)?, length: header[1] })
    };
    Ok(replies.iter().filter_map(read).collect())
}

/// Returns all IPv4 routes.
pub(crate) fn routes(socket: &Socket) -> Result<Vec<Route>, Errno> {
    let replies = socket.dump(&Message::silent(RTM_GETROUTE, 0, &route_header(0, 0)))?;
    let read = |reply: &Reply| {
        let header: [u8; ROUTE_HEADER] = reply.header()?;
        let mut route = Route {
            to: Subnet::around(Ipv4Addr::UNSPECIFIED, 0),
            link: None,
            unicast: header[7] == RTN_UNICAST,
            gateway: None,
        };
        for (kind, value) in reply.attributes(ROUTE_HEADER) {
            match kind {
                RTA_DST => route.to = Subnet::around(ip(value)?, header[1]),
                RTA_OIF => route.link = number(value),
                RTA_GATEWAY => route.gateway = ip(value),
                _ => {}
            }
        }
        Some(route)
    };
    Ok(replies.iter().filter_map(read).collect())
}

fn ip(value: &[u8]) -> Option<Ipv4Addr> {
    value.try_into().ok().map(|bytes: [u8; 4]| Ipv4Addr::from(bytes))
}

fn route_header(length: u8, kind: u8) -> [u8; ROUTE_HEADER] {
    let (table, protocol) = (RT_TABLE_MAIN, RTPROT_STATIC);
    [AF_INET, length, 0, 0, table, protocol, RT_SCOPE_UNIVERSE, kind, 0, 0, 0, 0]
}

/// Returns a hardware address that always belongs to `ip`: whoever gets the address next has no
/// stale neighbour entries against it.
fn hardware_address(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    // Locally administered, unicast.
    [0x02, 0x72, a, b, c, d]
}

/// Keeps the kernel from giving the link an IPv6 address; fails where there is no IPv6.
fn without_ipv6(name: &str) -> Message {
    Message::new(RTM_SETLINK, 0, &link_header(0, 0, 0, 0))
        .string(IFLA_IFNAME, name)
        .nest(IFLA_AF_SPEC, |message| {
            message.nest(AF_INET6, |message| message.bytes(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]))
        })
        .optional()
}

fn up(name: &str) -> Message {
    Message::new(RTM_SETLINK, 0, &link_header(0, 0, IFF_UP, IFF_UP)).string(IFLA_IFNAME, name)
}

/// Creates the bridge `name`; fails with `EXIST` if there is one.
///
/// Its largest packet stays that of its smallest port.
pub(crate) fn create_bridge(socket: &Socket, name: &str) -> Result<(), Errno> {
    let create = Message::new(RTM_NEWLINK, CREATE_NEW, &link_header(0, 0, 0, 0))
        .string(IFLA_IFNAME, name)
        .nest(IFLA_LINKINFO, |message| message.string(IFLA_INFO_KIND, "bridge"));
    socket.request(vec![create, without_ipv6(name)])
}

/// Gives the bridge its address and brings it up.
pub(crate) fn start_bridge(socket: &Socket, bridge: &Link, subnet: Subnet) -> Result<(), Errno> {
    // A bridge without an address of its own takes that of a port, and so changes with the ports.
    let hardware = Message::new(RTM_SETLINK, 0, &link_header(0, bridge.index, 0, 0))
        .bytes(IFLA_ADDRESS, &hardware_address(subnet.gateway()));
    let address = address_message(RTM_NEWADDR, REPLACE, bridge.index, subnet.gateway(), subnet);
    socket.request(vec![hardware, address, up(&bridge.name)])
}

/// Takes an address from a link.
pub(crate) fn remove_address(socket: &Socket, address: Address) -> Result<(), Errno> {
    let subnet = Subnet::around(address.ip, address.length);
    socket.request(vec![address_message(RTM_DELADDR, 0, address.link, address.ip, subnet)])
}

/// Removes a link.
pub(crate) fn remove(socket: &Socket, link: &Link) -> Result<(), Errno> {
    socket.request(vec![Message::new(RTM_DELLINK, 0, &link_header(0, link.index, 0, 0))])
}

fn address_message(kind: u16, flags: u16, link: u32, ip: Ipv4Addr, subnet: Subnet) -> Message {
    let mut header = [AF_INET, subnet.length(), 0, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&link.to_ne_bytes());
    Message::new(kind, flags, &header)
        .bytes(IFA_LOCAL, &ip.octets())
        .bytes(IFA_ADDRESS, &ip.octets())
        .bytes(IFA_BROADCAST, &subnet.address(255).octets())
}

/// A pair of interfaces to be made: a port of a bridge and the end inside of a namespace.
pub(crate) struct Veth<'a, F> {
    /// Name of the port, unique on the host.
    pub(crate) port: &'a str,
    /// Index of the bridge.
    pub(crate) bridge: u32,
    /// Largest packet.
    pub(crate) mtu: u32,
    /// The namespace.
    pub(crate) namespace: F,
    /// Name inside.
    pub(crate) inside: &'a str,
    /// Address inside; decides the hardware address.
    pub(crate) ip: Ipv4Addr,
}

/// Creates a pair, the port up; fails with `EXIST` if the port's name is taken.
///
/// Ports do not speak to each other, only with the bridge: steps are strangers.
pub(crate) fn create_veth<F: AsFd>(socket: &Socket, veth: &Veth<'_, F>) -> Result<(), Errno> {
    let namespace = u32::try_from(veth.namespace.as_fd().as_raw_fd()).expect("an open descriptor is not negative");
    let peer = |message: Message| {
        message
            .raw(&link_header(0, 0, 0, 0))
            .string(IFLA_IFNAME, veth.inside)
            .u32(IFLA_MTU, veth.mtu)
            .bytes(IFLA_ADDRESS, &hardware_address(veth.ip))
            .u32(IFLA_NET_NS_FD, namespace)
    };
    let create = Message::new(RTM_NEWLINK, CREATE_NEW, &link_header(0, 0, 0, 0))
        .string(IFLA_IFNAME, veth.port)
        .u32(IFLA_MTU, veth.mtu)
        .u32(IFLA_MASTER, veth.bridge)
        .nest(IFLA_LINKINFO, |message| {
            message.string(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |message| message.nest(VETH_INFO_PEER, peer))
        });
    socket.request(vec![create])?;
    let index = find(socket, veth.port)?.ok_or(Errno::NODEV)?.index;
    let apart = Message::new(RTM_SETLINK, 0, &link_header(AF_BRIDGE, index, 0, 0))
        .nest(IFLA_PROTINFO, |message| message.bytes(IFLA_BRPORT_ISOLATED, &[1]));
    socket.request(vec![without_ipv6(veth.port), apart, up(veth.port)])
}

/// Brings `link` up with its address and makes `gateway` the way to everywhere; `socket` is of its namespace.
pub(crate) fn configure(
    socket: &Socket,
    link: u32,
    ip: Ipv4Addr,
    subnet: Subnet,
    gateway: Ipv4Addr,
) -> Result<(), Errno> {
    let route = Message::new(RTM_NEWROUTE, CREATE_NEW, &route_header(0, RTN_UNICAST))
        .bytes(RTA_GATEWAY, &gateway.octets())
        .u32(RTA_OIF, link);
    let up = Message::new(RTM_SETLINK, 0, &link_header(0, link, IFF_UP, IFF_UP));
    socket.request(vec![address_message(RTM_NEWADDR, CREATE_NEW, link, ip, subnet), up, route])
}

/// Waits until packets flow through `name`.
///
/// The kernel opens a link's queue, and lets a bridge forward to its port, from a worker of its own;
/// what is sent before is lost without a word, and TCP tries again only after a second.
pub(crate) fn wait_until_running(socket: &Socket, name: &str) -> Result<(), Errno> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let start = Instant::now();
    while !find(socket, name)?.ok_or(Errno::NODEV)?.running {
        if start.elapsed() > PATIENCE {
            return Err(Errno::TIMEDOUT);
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

/// Makes `ip` unreachable in the namespace of `socket`.
pub(crate) fn prohibit(socket: &Socket, ip: Ipv4Addr) -> Result<(), Errno> {
    let route = Message::new(RTM_NEWROUTE, REPLACE, &route_header(32, RTN_PROHIBIT)).bytes(RTA_DST, &ip.octets());
    socket.request(vec![route])
}
