//! `userns_`: the network of an ordinary user, tried as one.
//!
//! Root prepares a host of its own (namespaces for network and mounts) and starts this program
//! again in it as `nobody`, who enters a user namespace and leases a network from each user-mode
//! stack that is installed.

#![allow(clippy::print_stderr)] // a test harness speaks

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use rbuild_network::{Network, NetworkError, Provider, Settings};
use rbuild_sys::host::{Host, Privilege, Tools};
use rbuild_sys::netns::NetNs;
use rbuild_sys::userns::{self, Plan};

/// An uplink with a default route, one more address of the host, and the usual mode of the tap device.
const PREPARE: &str = "
    set -e
    ip link set lo up
    ip link add uplink type veth peer name beyond
    ip addr add 203.0.113.1/24 dev uplink
    ip addr add 198.51.100.1/32 dev lo
    ip link set uplink up
    ip link set beyond up
    ip route add default via 203.0.113.2
    mkdir -p /dev/net
    mount -t tmpfs tmpfs /dev/net
    mknod -m 666 /dev/net/tun c 10 200
    exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$0\" inside
";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("inside") {
        inside();
        return ExitCode::SUCCESS;
    }
    let tools = Tools::find();
    if !rustix::process::geteuid().is_root() || (tools.pasta.is_none() && tools.slirp4netns.is_none()) {
        eprintln!("userns_network: skipped: needs root, and pasta or slirp4netns");
        return ExitCode::SUCCESS;
    }
    let program = std::env::current_exe().unwrap();
    // `nobody` may not be able to reach the build directory.
    let place = tempfile::Builder::new().prefix("rbuild-test").tempdir_in("/tmp").unwrap();
    let copy = place.path().join("user_mode");
    std::fs::copy(program, &copy).unwrap();
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let status = Command::new("unshare").args(["-m", "-n", "sh", "-c", PREPARE]).arg(&copy).status().unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn inside() {
    let tools = Tools::find();
    let before = std::process::id();
    let entered = userns::enter(&Plan::of_process(&tools, None)).unwrap();
    assert!(entered.single.unwrap().contains("no range for nobody"));
    assert_eq!(std::process::id(), before);
    let host = Host::detect().unwrap();
    assert!(matches!(host.privilege, Privilege::SingleId(_)), "{host:?}");
    let none = Tools::default();
    let pasta = Tools { pasta: tools.pasta, ..Tools::default() };
    let slirp = Tools { slirp4netns: tools.slirp4netns, ..Tools::default() };
    for tools in [pasta, slirp].into_iter().filter(|tools| *tools != none) {
        reaches_the_world_but_not_loopback(&host, tools);
    }
    let error = provider(&host, none).acquire(Network::Isolated).unwrap_err();
    assert!(matches!(error, NetworkError::NoUserModeNetwork), "{error:?}");
}

fn provider(host: &Host, tools: Tools) -> Provider {
    let mut settings = Settings::for_host(host, "/nonexistent".into()).unwrap();
    assert!(!settings.root);
    settings.tools = tools;
    settings.resolv_conf = "nameserver 127.0.0.1\n".to_owned();
    Provider::new(settings)
}

fn reaches_the_world_but_not_loopback(host: &Host, tools: Tools) {
    let name = format!("{tools:?}");
    let provider = provider(host, tools);
    let start = Instant::now();
    let lease = provider.acquire(Network::Isolated).unwrap();
    let open = TcpListener::bind("198.51.100.1:0").unwrap().local_addr().unwrap();
    let (open, closed) = (listen(open), listen("127.0.0.1:0".parse().unwrap()));
    eprintln!("userns_network: {:?} for {name}", start.elapsed());
    let address = lease.address().unwrap();
    let gateways = ["203.0.113.2", "10.0.2.2", "10.0.2.3"].map(|ip| ip.parse::<IpAddr>().unwrap());
    let namespace = NetNs::from(lease.netns().unwrap().try_clone_to_owned().unwrap());
    let entered = namespace.enter(|| {
        connect(open).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(connect(closed).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{name}");
        for ip in [address].iter().chain(&gateways) {
            assert!(connect((*ip, closed.port()).into()).is_err(), "{name}: loopback by {ip}");
        }
    });
    entered.unwrap();
    assert_eq!(lease.resolv_conf(), "nameserver 127.0.0.11\n");
    assert_eq!(lease.host_gateway(), None);
    assert_eq!(attendants().len(), 1);
    drop((lease, provider));
    let start = Instant::now();
    while !attendants().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "{name} stays");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn listen(address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            // A caller may hang up at once.
            let _ = stream.write_all(b"!");
        }
    });
    address
}

/// Connects and waits for a word: a user-mode stack may answer for somebody who is not there.
fn connect(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(500))?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.read_exact(&mut [0])
}

/// Returns our children.
fn attendants() -> Vec<String> {
    let tasks = Path::new("/proc/self/task");
    let children = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let all: String = std::fs::read_dir(tasks).unwrap().filter_map(Result::ok).map(children).collect();
    all.split_ascii_whitespace().map(str::to_owned).collect()
}
