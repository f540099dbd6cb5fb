//! Who has which namespace: making them, lending them, keeping them for the next step.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rbuild_sys::host::{Host, Tools};

use crate::bridge::{self, Bridge};
use crate::wiring::Wired;
use crate::{HostResolver, Network, NetworkError, View, resolv_conf};

/// What a provider needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether the host's network is ours to configure; otherwise isolation is by a user-mode stack.
    pub root: bool,
    /// Installed programs.
    pub tools: Tools,
    /// Directory of lock files. All stores of one host share the bridge, so they must share this
    /// directory, too: `/run/rbuild`, say.
    pub locks: PathBuf,
    /// Text of the host's `resolv.conf`.
    pub resolv_conf: String,
    /// Name of the bridge: letters and digits, eleven at most.
    pub bridge: String,
    /// Whether the metadata service of clouds, 169.254.169.254, is out of reach.
    pub block_metadata: bool,
}

impl Settings {
    /// Returns the usual settings for this host; reads its `resolv.conf`.
    pub fn for_host(host: &Host, locks: PathBuf) -> Result<Settings, NetworkError> {
        let etc = read(Path::new("/etc/resolv.conf"))?.unwrap_or_default();
        let systemd = read(Path::new("/run/systemd/resolve/resolv.conf"))?;
        Ok(Settings {
            root: host.privilege.is_root(),
            tools: host.tools.clone(),
            locks,
            resolv_conf: HostResolver::choose(&etc, systemd.as_deref()).to_owned(),
            bridge: "rbuild0".to_owned(),
            block_metadata: false,
        })
    }
}

/// Resolvers read less than this.
const LONGEST_RESOLV_CONF: u64 = 64 << 10;

fn read(path: &Path) -> Result<Option<String>, NetworkError> {
    let open = || -> io::Result<String> {
        let mut bytes = Vec::new();
        let file = fs::File::open(path)?;
        io::Read::read_to_end(&mut io::Read::take(file, LONGEST_RESOLV_CONF), &mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match open() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(NetworkError::Read { path: path.to_owned(), source }),
    }
}

/// Leaves room for `-254` within the fifteen bytes of an interface's name.
pub(crate) fn is_bridge_name(name: &str) -> bool {
    (1..=11).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Lends wired namespaces to steps; clones lend from the same stock.
///
/// A namespace that comes back serves the next step. All of them end with the last clone and lease.
#[derive(Debug, Clone)]
pub struct Provider(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    bridge: Mutex<Option<Arc<Bridge>>>,
    stock: Mutex<HashMap<Network, Stock>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Stock {
    idle: Vec<Wired>,
    /// How many are being made ahead.
    making: usize,
    /// How many leases wait for one that is being made.
    waiting: usize,
}

impl Provider {
    /// Returns a provider; nothing is made before the first lease.
    pub fn new(settings: Settings) -> Provider {
        let stock = Mutex::default();
        Provider(Arc::new(Shared { settings, bridge: Mutex::default(), stock, changed: Condvar::new() }))
    }

    /// Begins to make a namespace in the background unless one is idle or under way.
    ///
    /// Failures are left for [`Provider::acquire`] to meet again and report.
    pub fn prepare(&self, network: Network) -> Result<(), NetworkError> {
        if network == Network::Host {
            return Ok(());
        }
        {
            let mut stock = self.0.stock();
            let stock = stock.entry(network).or_default();
            if !stock.idle.is_empty() || stock.making > 0 {
                return Ok(());
            }
            stock.making += 1;
        }
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("network".to_owned()).stack_size(256 << 10);
        thread.spawn(move || shared.make_ahead(network)).map(drop).map_err(|error| {
            self.0.stock().entry(network).or_default().making -= 1;
            self.0.changed.notify_all();
            NetworkError::Thread(error)
        })
    }

    /// Lends a namespace: an idle one, the one that is just being made, or a new one.
    pub fn acquire(&self, network: Network) -> Result<Lease, NetworkError> {
        let wired = match network {
            Network::Host => None,
            Network::None | Network::Isolated => Some(match self.0.take(network) {
                Some(wired) => wired,
                None => self.0.make(network)?,
            }),
        };
        let host = &self.0.settings.resolv_conf;
        let resolv_conf = match &wired {
            Some(wired) => wired.resolv_conf.clone(),
            None => resolv_conf(host, View::Host),
        };
        Ok(Lease { shared: Arc::clone(&self.0), network, wired, resolv_conf, tainted: false })
    }
}

impl Shared {
    fn stock(&self) -> MutexGuard<'_, HashMap<Network, Stock>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an idle namespace, waiting for one if there are enough under way.
    fn take(&self, network: Network) -> Option<Wired> {
        let mut guard = self.stock();
        let mut waits = false;
        loop {
            let stock = guard.entry(network).or_default();
            if waits {
                stock.waiting -= 1;
            }
            while let Some(wired) = stock.idle.pop() {
                if wired.works() {
                    return Some(wired);
                }
            }
            if stock.making <= stock.waiting {
                return None;
            }
            stock.waiting += 1;
            waits = true;
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn make_ahead(&self, network: Network) {
        let made = self.make(network);
        let mut guard = self.stock();
        let stock = guard.entry(network).or_default();
        stock.making -= 1;
        stock.idle.extend(made.ok());
        drop(guard);
        self.changed.notify_all();
    }

    fn make(&self, network: Network) -> Result<Wired, NetworkError> {
        let settings = &self.settings;
        match network {
            Network::Isolated if settings.root => {
                let bridge = self.bridge()?;
                Wired::bridged(&bridge, settings).or_else(|error| match error {
                    // Perhaps somebody has removed it, or its address, since we looked.
                    NetworkError::Kernel { .. } => {
                        self.forget(&bridge);
                        Wired::bridged(&*self.bridge()?, settings)
                    }
                    other => Err(other),
                })
            }
            Network::Isolated => Wired::user_mode(settings),
            Network::None | Network::Host => Wired::alone(settings),
        }
    }

    fn forget(&self, bridge: &Arc<Bridge>) {
        let mut known = self.bridge.lock().unwrap_or_else(PoisonError::into_inner);
        known.take_if(|known| Arc::ptr_eq(known, bridge));
    }

    fn bridge(&self) -> Result<Arc<Bridge>, NetworkError> {
        let mut bridge = self.bridge.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bridge) = &*bridge {
            return Ok(Arc::clone(bridge));
        }
        let Settings { bridge: name, locks, resolv_conf, .. } = &self.settings;
        if !is_bridge_name(name) {
            return Err(NetworkError::BridgeName { bridge: name.clone() });
        }
        let nameservers: Vec<_> = HostResolver::parse(resolv_conf).reachable(&[]).collect();
        let opened = Arc::new(Bridge::open(name, locks, &nameservers)?);
        *bridge = Some(Arc::clone(&opened));
        Ok(opened)
    }
}

/// A namespace on loan; goes back into stock when dropped.
#[derive(Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    network: Network,
    wired: Option<Wired>,
    resolv_conf: String,
    tainted: bool,
}

impl Lease {
    /// Returns what was asked for.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Returns the namespace to enter; none if it is the host's.
    pub fn netns(&self) -> Option<BorrowedFd<'_>> {
        self.wired.as_ref().map(|wired| wired.namespace.as_fd())
    }

    /// Returns the address inside, if it has one besides loopback.
    pub fn address(&self) -> Option<IpAddr> {
        self.wired.as_ref()?.address.map(IpAddr::V4)
    }

    /// Returns what `host-gateway` stands for: where the host is reached, if it can be.
    pub fn host_gateway(&self) -> Option<IpAddr> {
        match &self.wired {
            None => Some(Ipv4Addr::LOCALHOST.into()),
            Some(wired) => wired.host.map(IpAddr::V4),
        }
    }

    /// Returns the text of the `/etc/resolv.conf` that works inside.
    pub fn resolv_conf(&self) -> &str {
        &self.resolv_conf
    }

    /// Keeps the namespace from being lent again: for steps that could change its wiring
    /// (with the capability NET_ADMIN), or that did not end cleanly.
    pub fn taint(&mut self) {
        self.tainted = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(wired) = self.wired.take() else { return };
        if !self.tainted && wired.works() {
            self.shared.stock().entry(self.network).or_default().idle.push(wired);
        }
    }
}

/// Removes the bridge and its packet filter rules unless some process uses them; tells whether
/// they are gone.
pub fn remove(bridge: &str, locks: &Path) -> Result<bool, NetworkError> {
    if !is_bridge_name(bridge) {
        return Err(NetworkError::BridgeName { bridge: bridge.to_owned() });
    }
    bridge::remove(bridge, locks)
}
