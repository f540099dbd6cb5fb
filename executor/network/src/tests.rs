//! Wirings tried in a world of their own: a namespace plays the host, another the world beyond.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rbuild_sys::host::Tools;
use rbuild_sys::netns::NetNs;
use rustix::io::Errno;

use crate::link::{self, Link};
use crate::netlink::{CREATE, CREATE_NEW, Message, Socket};
use crate::nft::{self, Chain, Hook, Verdict};
use crate::subnet::Subnet;
use crate::{Lease, Network, NetworkError, Provider, Settings, remove};

const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const BEYOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// What is dropped is given up after this, what answers does so much earlier.
const SOON: Duration = Duration::from_millis(700);

/// A host with one uplink, and what is at its other end.
struct World {
    host: NetNs,
    beyond: NetNs,
    locks: tempfile::TempDir,
}

impl World {
    fn create() -> Option<World> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let (beyond, beyond_socket) = NetNs::create_with(Socket::route).unwrap();
        let (host, host_socket) = NetNs::create_with(Socket::route).unwrap();
        let (beyond_socket, host_socket) = (beyond_socket.unwrap(), host_socket.unwrap());
        uplink(&host_socket, &beyond);
        let subnet = Subnet::around(HOST, 24);
        for (socket, ip, gateway) in [(&host_socket, HOST, BEYOND), (&beyond_socket, BEYOND, HOST)] {
            let link = link::find(socket, "up").unwrap().unwrap();
            link::configure(socket, link.index, ip, subnet, gateway).unwrap();
        }
        for socket in [&host_socket, &beyond_socket] {
            link::wait_until_running(socket, "up").unwrap();
        }
        Some(World { host, beyond, locks: tempfile::tempdir().unwrap() })
    }

    fn settings(&self, resolv_conf: &str) -> Settings {
        Settings {
            root: true,
            tools: Tools::default(),
            locks: self.locks.path().to_owned(),
            resolv_conf: resolv_conf.to_owned(),
            bridge: "rbuild0".to_owned(),
            block_metadata: true,
        }
    }

    fn provider(&self) -> Provider {
        Provider::new(self.settings("nameserver 203.0.113.2\n"))
    }

    /// Does everything on a thread of the host, as a process there would.
    fn on_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.host.enter(work).unwrap()
    }

    fn links(&self) -> Vec<Link> {
        self.on_host(|| link::links(&Socket::route().unwrap()).unwrap())
    }

    fn remove(&self) -> Result<bool, NetworkError> {
        self.on_host(|| remove("rbuild0", self.locks.path()))
    }
}

/// Makes a pair of interfaces called `up` between the namespace of `socket` and `other`.
fn uplink(socket: &Socket, other: &NetNs) {
    const ANY: [u8; 16] = [0; 16];
    let namespace = other.as_fd().as_raw_fd().cast_unsigned();
    let message = Message::new(16, CREATE_NEW, &ANY).string(3, "up").u32(4, 1400).nest(18, |message| {
        message.string(1, "veth").nest(2, |message| {
            message.nest(1, |message| message.raw(&ANY).string(3, "up").u32(4, 1400).u32(28, namespace))
        })
    });
    socket.request(vec![message]).unwrap();
}

fn inside<T: Send>(lease: &Lease, work: impl FnOnce() -> T + Send) -> T {
    let fd = lease.netns().expect("a namespace of its own").try_clone_to_owned().unwrap();
    NetNs::from(fd).enter(work).unwrap()
}

/// Connects to `to`, returning what it says first: the address that it sees us come from.
fn call(to: impl Into<SocketAddr>) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to.into(), SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Tells every caller of `namespace` whence he comes.
fn greeter(namespace: &NetNs, ip: Ipv4Addr) -> SocketAddr {
    let listener = namespace.enter(|| TcpListener::bind((ip, 0))).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, client)) = listener.accept() {
            // A caller may hang up at once.
            let _ = write!(stream, "{}", client.ip());
        }
    });
    address
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn root_isolated_reaches_the_world_but_not_loopback() {
    let Some(world) = World::create() else { return };
    let lease = world.on_host(|| world.provider().acquire(Network::Isolated)).unwrap();
    let (beyond, open) = (greeter(&world.beyond, BEYOND), greeter(&world.host, Ipv4Addr::UNSPECIFIED));
    let closed = greeter(&world.host, Ipv4Addr::LOCALHOST);
    let gateway = lease.host_gateway().unwrap();
    inside(&lease, || {
        assert_eq!(call(beyond).unwrap(), HOST.to_string(), "by address translation");
        assert_eq!(call((gateway, open.port())).unwrap(), lease.address().unwrap().to_string());
        assert_eq!(call(closed).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(call((gateway, closed.port())).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        call((Ipv4Addr::new(169, 254, 169, 254), 80)).unwrap_err();
        let mtu = link::find(&Socket::route().unwrap(), "eth0").unwrap().unwrap().mtu;
        assert_eq!(mtu, 1400, "that of the uplink");
    });
    assert_eq!(lease.resolv_conf(), "nameserver 203.0.113.2\n");
}

#[test]
fn root_steps_are_strangers_and_nobody_calls_them() {
    let Some(world) = World::create() else { return };
    let provider = world.provider();
    let [one, two] = [(), ()].map(|()| world.on_host(|| provider.acquire(Network::Isolated)).unwrap());
    let Some(IpAddr::V4(ip)) = two.address() else { panic!("no address") };
    let fd = two.netns().unwrap().try_clone_to_owned().unwrap();
    let listener = greeter(&NetNs::from(fd), ip);
    // The host itself may call.
    assert!(world.on_host(|| call(listener)).is_ok());
    inside(&one, || call(listener)).unwrap_err();
    // The world beyond has a route to it, and still may not.
    world.beyond.enter(|| call(listener)).unwrap().unwrap_err();
}

#[test]
fn root_namespaces_are_lent_again_unless_tainted() {
    let Some(world) = World::create() else { return };
    let provider = world.provider();
    for network in [Network::Isolated, Network::None] {
        let lend = || {
            let lease = world.on_host(|| provider.acquire(network)).unwrap();
            let inode = rustix::fs::fstat(lease.netns().unwrap()).unwrap().st_ino;
            (lease, inode)
        };
        let (lease, first) = lend();
        drop(lease);
        let (mut lease, second) = lend();
        assert_eq!(first, second);
        let (other, third) = lend();
        assert_ne!(first, third, "both are in use");
        lease.taint();
        drop(lease);
        let (_, fourth) = lend();
        assert_ne!(first, fourth, "the tainted one is gone");
        drop(other);
    }
}

#[test]
fn root_what_is_made_ahead_is_used() {
    let Some(world) = World::create() else { return };
    let provider = world.provider();
    world.on_host(|| provider.prepare(Network::Isolated)).unwrap();
    world.on_host(|| provider.prepare(Network::Isolated)).unwrap();
    let first = world.on_host(|| provider.acquire(Network::Isolated)).unwrap();
    let ports = || world.links().iter().filter(|link| link.master.is_some()).count();
    assert_eq!(ports(), 1, "only one was made");
    let second = world.on_host(|| provider.acquire(Network::Isolated)).unwrap();
    assert_ne!(first.address(), second.address());
}

#[test]
fn root_several_processes_share_the_bridge_and_leave_nothing() {
    let Some(world) = World::create() else { return };
    let leases: Vec<_> = std::thread::scope(|scope| {
        let acquire = || world.on_host(|| world.provider().acquire(Network::Isolated)).unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(acquire)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut addresses: Vec<_> = leases.iter().map(|lease| lease.address().unwrap()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 8, "{addresses:?}");
    let gateway = leases[0].host_gateway();
    assert!(leases.iter().all(|lease| lease.host_gateway() == gateway));
    assert!(!world.remove().unwrap(), "it is in use");
    drop(leases);
    wait_until("ports go with their namespaces", || world.links().iter().all(|link| link.master.is_none()));
    assert!(world.remove().unwrap());
    assert!(world.links().iter().all(|link| link.name != "rbuild0"));
    let chains = world.on_host(|| nft::chains(&Socket::netfilter().unwrap()).unwrap());
    assert!(chains.is_empty(), "{chains:?}");
    assert!(world.remove().unwrap(), "nothing to remove is no failure");
}

/// Gives the uplink of the host one more address.
fn add_address(world: &World, ip: &str) {
    let socket = world.on_host(Socket::route).unwrap();
    let link = link::find(&socket, "up").unwrap().unwrap();
    let ip: Ipv4Addr = ip.parse().unwrap();
    let header = [&[2, 24, 0, 0][..], &link.index.to_ne_bytes()].concat();
    let message = Message::new(20, CREATE, &header).bytes(2, &ip.octets()).bytes(1, &ip.octets());
    socket.request(vec![message]).unwrap();
}

#[test]
fn root_the_subnet_keeps_out_of_the_way() {
    let Some(world) = World::create() else { return };
    let gateway = || {
        let lease = world.on_host(|| world.provider().acquire(Network::Isolated)).unwrap();
        let gateway = lease.host_gateway().unwrap().to_string();
        (lease, gateway)
    };
    add_address(&world, "10.211.0.9");
    let (lease, first) = gateway();
    assert_eq!(first, "10.211.1.1");
    add_address(&world, "10.211.1.9");
    assert_eq!(gateway().1, first, "it does not move while in use");
    drop(lease);
    wait_until("ports go", || world.links().iter().all(|link| link.master.is_none()));
    let (lease, second) = gateway();
    assert_eq!(second, "10.211.2.1");
    let beyond = greeter(&world.beyond, BEYOND);
    assert_eq!(inside(&lease, || call(beyond)).unwrap(), HOST.to_string());
}

#[test]
fn root_chains_that_drop_let_us_pass() {
    let Some(world) = World::create() else { return };
    let chain = Chain {
        family: nft::IPV4,
        table: "filter".to_owned(),
        name: "FORWARD".to_owned(),
        base: Some((Hook::Forward as u32, Verdict::Drop as u32)),
    };
    let socket = world.on_host(Socket::netfilter).unwrap();
    let policy = Message::new(0xa03, 0, &[nft::IPV4, 0, 0, 0])
        .string(1, "filter")
        .string(3, "FORWARD")
        .be32(5, Verdict::Drop as u32);
    let chain_message = nft::add_chain("filter", "FORWARD", "filter", Hook::Forward, 0);
    nft::commit(&socket, vec![nft::add_table("filter", ""), chain_message, policy]).unwrap();
    assert_eq!(nft::chains(&socket).unwrap(), std::slice::from_ref(&chain));
    let beyond = greeter(&world.beyond, BEYOND);
    for _ in 0..2 {
        let lease = world.on_host(|| world.provider().acquire(Network::Isolated)).unwrap();
        assert_eq!(inside(&lease, || call(beyond)).unwrap(), HOST.to_string());
        let note = b"\0\x0frbuild rbuild0\0";
        assert_eq!(nft::rules_with_note(&socket, &chain, note).unwrap().len(), 2, "put there once");
    }
    wait_until("ports go", || world.remove().unwrap());
    assert_eq!(nft::chains(&socket).unwrap(), [chain], "the host's own stays");
}

#[test]
fn root_a_bridge_that_somebody_removed_is_made_again() {
    let Some(world) = World::create() else { return };
    let provider = world.provider();
    let mut lease = world.on_host(|| provider.acquire(Network::Isolated)).unwrap();
    lease.taint();
    drop(lease);
    let socket = world.on_host(Socket::route).unwrap();
    let bridge = link::find(&socket, "rbuild0").unwrap().unwrap();
    link::remove(&socket, &bridge).unwrap();
    let lease = world.on_host(|| provider.acquire(Network::Isolated)).unwrap();
    let beyond = greeter(&world.beyond, BEYOND);
    assert_eq!(inside(&lease, || call(beyond)).unwrap(), HOST.to_string());
}

#[test]
fn root_a_resolver_on_loopback_is_reached_by_our_forwarder() {
    let Some(world) = World::create() else { return };
    let server = world.on_host(|| UdpSocket::bind("127.0.0.1:53")).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = server.recv_from(&mut buffer) {
            buffer[..length].reverse();
            server.send_to(&buffer[..length], client).unwrap();
        }
    });
    let provider = Provider::new(world.settings("nameserver 127.0.0.1\nsearch a.example\n"));
    let lease = world.on_host(|| provider.acquire(Network::Isolated)).unwrap();
    assert_eq!(lease.resolv_conf(), "nameserver 127.0.0.11\nsearch a.example\n");
    let answer = inside(&lease, || {
        let client = UdpSocket::bind("127.0.0.1:0")?;
        client.set_read_timeout(Some(SOON))?;
        client.send_to(b"abc", "127.0.0.11:53")?;
        let mut buffer = [0; 3];
        client.recv(&mut buffer).map(|_| buffer)
    });
    assert_eq!(&answer.unwrap(), b"cba");
    drop((lease, provider));
    wait_until("ports go", || world.links().iter().all(|link| link.master.is_none()));
}

#[test]
fn root_none_is_loopback_alone() {
    let Some(world) = World::create() else { return };
    let lease = world.on_host(|| world.provider().acquire(Network::None)).unwrap();
    let (links, error) = inside(&lease, || {
        let links = link::links(&Socket::route().unwrap()).unwrap();
        (links, call((BEYOND, 80)).unwrap_err())
    });
    assert!(links.iter().all(|link| link.name != "eth0"));
    assert_eq!(error.raw_os_error(), Some(Errno::NETUNREACH.raw_os_error()));
    assert_eq!((lease.address(), lease.host_gateway(), lease.resolv_conf()), (None, None, ""));
}

#[test]
fn root_an_interface_of_our_name_that_is_no_bridge_is_left_alone() {
    let Some(world) = World::create() else { return };
    let mut settings = world.settings("");
    settings.bridge = "up".to_owned();
    let error = world.on_host(|| Provider::new(settings).acquire(Network::Isolated)).unwrap_err();
    assert!(matches!(error, NetworkError::NotOurs { .. }), "{error:?}");
    assert!(matches!(world.on_host(|| remove("up", world.locks.path())), Err(NetworkError::NotOurs { .. })));
}

#[test]
fn host_has_no_namespace_of_its_own() {
    let settings = Settings {
        root: false,
        tools: Tools::default(),
        locks: Path::new("/nonexistent").to_owned(),
        resolv_conf: "# mine\nnameserver 127.0.0.53\n".to_owned(),
        bridge: "rbuild0".to_owned(),
        block_metadata: false,
    };
    let provider = Provider::new(settings);
    let lease = provider.acquire(Network::Host).unwrap();
    assert!(lease.netns().is_none());
    assert_eq!(lease.resolv_conf(), "# mine\nnameserver 127.0.0.53\n");
}

#[test]
fn names() {
    for (name, expect) in [("default", Ok(Network::Isolated)), ("none", Ok(Network::None)), ("host", Ok(Network::Host))]
    {
        assert_eq!(name.parse::<Network>(), expect);
        assert_eq!(name.parse::<Network>().unwrap().to_string(), name);
    }
    assert_eq!(
        "hots".parse::<Network>().unwrap_err().to_string(),
        "unknown network mode `hots`: there are default, none and host"
    );
}
