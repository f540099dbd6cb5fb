//! The bridge of this host, and the pairs of interfaces that hang on it.
//!
//! All processes share one bridge. The kernel is the only register: the bridge's address tells the
//! subnet, and the name of a port tells which address its other end has, so that taking a name is
//! taking an address, and neither outlives its namespace. Two locks remain: `network-setup` is held
//! while the bridge is made or removed, `network-users` is shared by those who use it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rbuild_sys::netns::NetNs;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::{NetworkError, kernel};
use crate::link::{self, Address, Link, Route, Veth};
use crate::netlink::Socket;
use crate::subnet::{self, Subnet};
use crate::{firewall, lease};

/// Ethernet's, which every path is expected to carry.
const LARGEST_MTU: u32 = 1500;

/// Name of the interface inside of a namespace.
pub(crate) const INSIDE: &str = "eth0";

/// The bridge, ready for ports.
#[derive(Debug)]
pub(crate) struct Bridge {
    name: String,
    index: u32,
    subnet: Subnet,
    mtu: u32,
    /// Where the search for a free address begins; differs between processes.
    next: AtomicU32,
    /// Tells others that the bridge is in use.
    _users: File,
}

/// What the host's network looks like.
struct Survey {
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
}

impl Bridge {
    /// Finds the bridge or makes it, with a subnet that touches nothing of the host's, forwarding
    /// and the packet filter's rules.
    pub(crate) fn open(name: &str, locks: &Path, nameservers: &[Ipv4Addr]) -> Result<Bridge, NetworkError> {
        let setup = Lock::open(locks, "network-setup")?;
        let users = Lock::open(locks, "network-users")?;
        setup.exclusive()?;
        users.shared()?;
        let socket = Socket::route().map_err(kernel("asking for the host's network"))?;
        let link = find_or_create(&socket, name)?;
        let survey = Survey::take(&socket).map_err(kernel("reading the host's addresses and routes"))?;
        let used = survey.used(link.index, nameservers);
        let present = survey.subnet_of(link.index);
        let subnet = match present {
            Some(subnet) if subnet::is_free(subnet, &used) || !survey.is_idle(link.index, &users) => subnet,
            _ => {
                let chosen = subnet::choose(&used).ok_or(NetworkError::NoSubnet { bridge: name.to_owned() })?;
                for old in survey.addresses.iter().filter(|address| address.link == link.index) {
                    link::remove_address(&socket, *old).map_err(kernel(format!("clearing `{name}`")))?;
                }
                chosen
            }
        };
        // Also when nothing changed: somebody may have set it down.
        link::start_bridge(&socket, &link, subnet)
            .map_err(kernel(format!("giving `{name}` the address {}", subnet.gateway())))?;
        survey.forward(&link)?;
        firewall::ensure(name, subnet)?;
        Ok(Bridge {
            name: name.to_owned(),
            index: link.index,
            subnet,
            mtu: survey.mtu(),
            next: AtomicU32::new(rustix::process::getpid().as_raw_nonzero().get().cast_unsigned()),
            _users: users.file,
        })
    }

    /// Returns the subnet of all ports.
    pub(crate) fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// Connects `namespace`, whose own netlink socket is `inside`, and returns its address.
    pub(crate) fn connect(&self, namespace: &NetNs, inside: &Socket) -> Result<Ipv4Addr, NetworkError> {
        let socket = Socket::route().map_err(kernel("asking for the host's network"))?;
        let (ip, port) = self.add_port(&socket, namespace)?;
        let what = || kernel(format!("giving a namespace the address {ip}"));
        let link = link::find(inside, INSIDE).and_then(|link| link.ok_or(Errno::NODEV)).map_err(what())?;
        link::configure(inside, link.index, ip, self.subnet, self.subnet.gateway()).map_err(what())?;
        for (socket, name) in [(inside, INSIDE), (&socket, &port), (&socket, &self.name)] {
            link::wait_until_running(socket, name).map_err(kernel(format!("waiting for the interface `{name}`")))?;
        }
        Ok(ip)
    }

    fn add_port(&self, socket: &Socket, namespace: &NetNs) -> Result<(Ipv4Addr, String), NetworkError> {
        let (first, last) = subnet::HOST_NUMBERS.into_inner();
        let count = u32::from(last - first) + 1;
        for _ in 0..count {
            let offset = self.next.fetch_add(1, Ordering::Relaxed) % count;
            let number = first + u8::try_from(offset).expect("the remainder of a u8 range");
            let ip = self.subnet.address(number);
            let port = format!("{}-{number}", self.name);
            let veth = Veth { port: &port, bridge: self.index, mtu: self.mtu, namespace, inside: INSIDE, ip };
            match link::create_veth(socket, &veth) {
                Ok(()) => return Ok((ip, port)),
                Err(Errno::EXIST) => {}
                Err(source @ Errno::OPNOTSUPP) => {
                    return Err(NetworkError::Unsupported { what: "veth interfaces (module veth)", source });
                }
                Err(errno) => return Err(kernel(format!("making the interface `{port}`"))(errno)),
            }
        }
        Err(NetworkError::Exhausted { bridge: self.name.clone() })
    }
}

/// Removes the bridge and its packet filter rules unless somebody uses them; tells whether it did.
pub(crate) fn remove(name: &str, locks: &Path) -> Result<bool, NetworkError> {
    let setup = Lock::open(locks, "network-setup")?;
    let users = Lock::open(locks, "network-users")?;
    setup.exclusive()?;
    if !users.try_exclusive() {
        return Ok(false);
    }
    let socket = Socket::route().map_err(kernel("asking for the host's network"))?;
    let what = || kernel(format!("removing the interface `{name}`"));
    if let Some(link) = link::find(&socket, name).map_err(what())? {
        if link.kind.as_deref() != Some("bridge") {
            return Err(NetworkError::NotOurs { bridge: name.to_owned() });
        }
        let ports = link::links(&socket).map_err(what())?;
        if ports.iter().any(|port| port.master == Some(link.index)) {
            return Ok(false);
        }
        link::remove(&socket, &link).map_err(what())?;
    }
    firewall::remove(name)?;
    Ok(true)
}

fn find_or_create(socket: &Socket, name: &str) -> Result<Link, NetworkError> {
    debug_assert!(lease::is_bridge_name(name), "{name}");
    let what = || kernel(format!("making the bridge `{name}`"));
    if link::find(socket, name).map_err(what())?.is_none() {
        match link::create_bridge(socket, name) {
            // Another lock directory's user was faster.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(source @ Errno::OPNOTSUPP) => {
                return Err(NetworkError::Unsupported { what: "bridge interfaces (module bridge)", source });
            }
            Err(errno) => return Err(what()(errno)),
        }
    }
    let link = link::find(socket, name).and_then(|link| link.ok_or(Errno::NODEV)).map_err(what())?;
    match link.kind.as_deref() {
        Some("bridge") => Ok(link),
        _ => Err(NetworkError::NotOurs { bridge: name.to_owned() }),
    }
}

impl Survey {
    fn take(socket: &Socket) -> Result<Survey, Errno> {
        Ok(Survey { links: link::links(socket)?, addresses: link::addresses(socket)?, routes: link::routes(socket)? })
    }

    /// Returns what the bridge must not touch.
    fn used(&self, bridge: u32, nameservers: &[Ipv4Addr]) -> Vec<Subnet> {
        let routes = self.routes.iter().filter(|route| route.link != Some(bridge)).map(|route| route.to);
        let gateways = self.routes.iter().filter_map(|route| route.gateway);
        let addresses = self.addresses.iter().filter(|address| address.link != bridge);
        // A server behind the default route would be hidden just the same.
        let single = |ip: Ipv4Addr| Subnet::around(ip, 32);
        routes
            .chain(addresses.map(|address| Subnet::around(address.ip, address.length)))
            .chain(gateways.map(single))
            .chain(nameservers.iter().copied().map(single))
            .collect()
    }

    /// Reads the subnet off a bridge that was set up before.
    fn subnet_of(&self, bridge: u32) -> Option<Subnet> {
        let address = self.addresses.iter().find(|address| address.link == bridge)?;
        let subnet = Subnet::around(address.ip, address.length);
        (subnet.length() == subnet::LENGTH && subnet.gateway() == address.ip).then_some(subnet)
    }

    /// Tells whether the subnet may change under nobody.
    fn is_idle(&self, bridge: u32, users: &Lock) -> bool {
        let ports = self.links.iter().any(|link| link.master == Some(bridge));
        !ports && users.is_ours_alone()
    }

    fn default_links(&self) -> BTreeSet<u32> {
        let defaults = self.routes.iter().filter(|route| route.unicast && route.to.length() == 0);
        defaults.filter_map(|route| route.link).collect()
    }

    /// A step must not send packets that the host cannot send on: some networks drop them silently.
    fn mtu(&self) -> u32 {
        let defaults = self.default_links();
        let uplinks = self.links.iter().filter(|link| defaults.contains(&link.index));
        uplinks.map(|link| link.mtu).chain([LARGEST_MTU]).min().unwrap_or(LARGEST_MTU)
    }

    /// Turns forwarding on for the bridge and for the interfaces where answers arrive.
    ///
    /// Not for all, as `net.ipv4.ip_forward` would: interfaces without a part in this stay as they are.
    fn forward(&self, bridge: &Link) -> Result<(), NetworkError> {
        let defaults = self.default_links();
        let routed = self.routes.iter().filter(|route| route.unicast).filter_map(|route| route.link);
        let involved: BTreeSet<u32> = routed.chain([bridge.index]).collect();
        for link in self.links.iter().filter(|link| involved.contains(&link.index)) {
            let path = Path::new("/proc/sys/net/ipv4/conf").join(&link.name).join("forwarding");
            let on = fs::read(&path).is_ok_and(|text| text.trim_ascii() == b"1");
            let result = if on { Ok(()) } else { fs::write(&path, "1") };
            match result {
                Err(source) if link.index == bridge.index || defaults.contains(&link.index) => {
                    return Err(NetworkError::Forwarding { path, source });
                }
                // An interface that went away in between, or carries a side road only.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// A lock file of a directory that all users of the host's bridge have in common.
struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    fn open(directory: &Path, name: &str) -> Result<Lock, NetworkError> {
        let path = directory.join(format!("{name}.lock"));
        let open = || {
            fs::create_dir_all(directory)?;
            File::options().create(true).truncate(false).write(true).open(&path)
        };
        match open() {
            Ok(file) => Ok(Lock { path, file }),
            Err(source) => Err(NetworkError::Lock { path, source }),
        }
    }

    fn exclusive(&self) -> Result<(), NetworkError> {
        self.flock(FlockOperation::LockExclusive).map_err(|errno| self.error(errno))
    }

    fn shared(&self) -> Result<(), NetworkError> {
        self.flock(FlockOperation::LockShared).map_err(|errno| self.error(errno))
    }

    fn try_exclusive(&self) -> bool {
        self.flock(FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Asks whether no other process shares the lock that we share; we go on sharing it.
    ///
    /// Between the two calls nobody can slip in: whoever would holds `network-setup` first.
    fn is_ours_alone(&self) -> bool {
        let alone = self.try_exclusive();
        self.shared().is_ok() && alone
    }

    fn flock(&self, operation: FlockOperation) -> Result<(), Errno> {
        rustix::io::retry_on_intr(|| rustix::fs::flock(&self.file, operation))
    }

    fn error(&self, errno: Errno) -> NetworkError {
        NetworkError::Lock { path: self.path.clone(), source: errno.into() }
    }
}
