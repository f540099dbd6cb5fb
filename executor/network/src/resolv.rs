//! The text of `/etc/resolv.conf`.
//!
//! A resolver on the host's loopback (systemd-resolved, dnsmasq, unbound) does not exist inside of
//! another network namespace. Where the host offers no other, a forwarder of ours listens inside.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// Where our forwarder listens, inside of the namespace.
pub(crate) const FORWARDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// From where the resolver will be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View<'a> {
    /// From the host's own namespace.
    Host,
    /// From a namespace with nothing but loopback.
    None,
    /// From a namespace of its own that reaches the world by IPv4, except for the addresses
    /// `shadowed`, which mean something else there.
    Isolated {
        /// Addresses of the host that the namespace cannot reach.
        shadowed: &'a [Ipv4Addr],
    },
}

/// What the host's `resolv.conf` says, as far as it means something elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostResolver {
    nameservers: Vec<IpAddr>,
    settings: String,
}

impl HostResolver {
    /// Parses the text of a `resolv.conf`; what is malformed is left out, as resolvers do.
    pub fn parse(text: &str) -> HostResolver {
        let mut host = HostResolver::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A zone (`fe80::1%eth0`) names an interface of the host.
                    host.nameservers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("search" | "domain" | "options" | "sortlist") => {
                    host.settings.push_str(line.trim_ascii());
                    host.settings.push('\n');
                }
                _ => {}
            }
        }
        host
    }

    /// Chooses between the texts of `/etc/resolv.conf` and systemd-resolved's list of the real
    /// servers: the first may name nothing but the stub on loopback.
    pub fn choose<'a>(etc: &'a str, systemd: Option<&'a str>) -> &'a str {
        let stub = Self::parse(etc).nameservers.iter().all(|ip| matches!(ip, IpAddr::V4(ip) if is_stub(*ip)));
        let useful = |text: &&str| Self::parse(text).reachable(&[]).next().is_some();
        match systemd.filter(useful) {
            Some(systemd) if stub && Self::parse(etc) != HostResolver::default() => systemd,
            _ => etc,
        }
    }

    /// Returns the servers that answer in a namespace of its own.
    pub fn reachable<'a>(&'a self, shadowed: &'a [Ipv4Addr]) -> impl Iterator<Item = Ipv4Addr> + 'a {
        self.nameservers.iter().filter_map(move |ip| match ip {
            IpAddr::V4(ip) => {
                let elsewhere = !ip.is_loopback() && !ip.is_unspecified() && !shadowed.contains(ip);
                elsewhere.then_some(*ip)
            }
            IpAddr::V6(_) => None,
        })
    }

    /// Returns the servers that a forwarder on the host must ask, if one is needed.
    pub fn upstreams(&self, shadowed: &[Ipv4Addr]) -> Option<Vec<IpAddr>> {
        if self.reachable(shadowed).next().is_some() {
            return None;
        }
        // An empty list means the local host to every resolver (resolv.conf(5)).
        match self.nameservers.as_slice() {
            [] => Some(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]),
            servers => Some(servers.to_vec()),
        }
    }
}

/// The addresses on which systemd-resolved listens.
fn is_stub(ip: Ipv4Addr) -> bool {
    ip == Ipv4Addr::new(127, 0, 0, 53) || ip == Ipv4Addr::new(127, 0, 0, 54)
}

/// Returns the `/etc/resolv.conf` that fits `view`, made from `host`, the text of the host's.
///
/// For [`View::Isolated`] it names our forwarder if no server of the host can be reached from there.
pub fn resolv_conf(host: &str, view: View<'_>) -> String {
    let parsed = HostResolver::parse(host);
    let shadowed = match view {
        View::Host => return host.to_owned(),
        View::None => return parsed.settings,
        View::Isolated { shadowed } => shadowed,
    };
    let mut text = String::new();
    let mut server = |ip: Ipv4Addr| writeln!(text, "nameserver {ip}").expect("writing to a string");
    if parsed.upstreams(shadowed).is_some() {
        server(FORWARDER);
    } else {
        parsed.reachable(shadowed).for_each(&mut server);
    }
    text + &parsed.settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, expect: &str) {
        let shadowed = [Ipv4Addr::new(192, 0, 2, 9)];
        assert_eq!(resolv_conf(host, View::Isolated { shadowed: &shadowed }), expect, "{host:?}");
    }

    #[test]
    fn isolated() {
        check("nameserver 10.0.0.1\n", "nameserver 10.0.0.1\n");
        check("nameserver 10.0.0.1\nnameserver 10.0.0.2", "nameserver 10.0.0.1\nnameserver 10.0.0.2\n");
        check("nameserver 127.0.0.53\noptions edns0\n", "nameserver 127.0.0.11\noptions edns0\n");
        check("nameserver 127.0.0.53\nnameserver 10.0.0.2", "nameserver 10.0.0.2\n");
        check("nameserver ::1\n", "nameserver 127.0.0.11\n");
        check("nameserver 2001:db8::1\nnameserver fe80::1%eth0\n", "nameserver 127.0.0.11\n");
        check("nameserver 192.0.2.9\n", "nameserver 127.0.0.11\n");
        check("nameserver 0.0.0.0\n", "nameserver 127.0.0.11\n");
        check("", "nameserver 127.0.0.11\n");
        check("# nameserver 10.0.0.1\n; x\nnameserver\nnameserver six\n", "nameserver 127.0.0.11\n");
        check("search a.example b\nnameserver\t10.0.0.1 # no\n", "nameserver 10.0.0.1\nsearch a.example b\n");
    }

    #[test]
    fn other_views() {
        let host = "# mine\nnameserver 127.0.0.53\nsearch a\n";
        assert_eq!(resolv_conf(host, View::Host), host);
        assert_eq!(resolv_conf(host, View::None), "search a\n");
    }

    #[test]
    fn upstreams() {
        let upstreams = |text: &str| HostResolver::parse(text).upstreams(&[]);
        assert_eq!(upstreams("nameserver 10.0.0.1"), None);
        assert_eq!(upstreams(""), Some(vec!["127.0.0.1".parse().unwrap()]));
        assert_eq!(upstreams("nameserver ::1"), Some(vec!["::1".parse().unwrap()]));
    }

    #[test]
    fn systemd_resolved() {
        let stub = "nameserver 127.0.0.53\n";
        let real = "nameserver 10.0.0.1\n";
        assert_eq!(HostResolver::choose(stub, Some(real)), real);
        assert_eq!(HostResolver::choose(stub, Some("nameserver ::1\n")), stub);
        assert_eq!(HostResolver::choose(stub, None), stub);
        assert_eq!(HostResolver::choose("nameserver 127.0.0.1\n", Some(real)), "nameserver 127.0.0.1\n");
        assert_eq!(HostResolver::choose("nameserver 10.9.9.9\n", Some(real)), "nameserver 10.9.9.9\n");
        assert_eq!(HostResolver::choose("", Some(real)), "");
    }
}
