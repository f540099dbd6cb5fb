//! The text of `/etc/hosts`.

use std::fmt::Write;
use std::net::IpAddr;
use std::str::FromStr;

/// An address as `--add-host` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostAddress {
    /// This one.
    Ip(IpAddr),
    /// `host-gateway`: the address at which the host itself is reached.
    Gateway,
}

/// A line that the user adds, `name=address` or `name:address`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExtraHost {
    /// Name to be found.
    pub name: String,
    /// Where it is.
    pub address: HostAddress,
}

/// Why an extra host was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// Not of the form `name=address`.
    #[error("`{0}` is not of the form NAME=ADDRESS")]
    Form(String),
    /// The name could break out of its line.
    #[error("`{0}` is not a host name")]
    Name(String),
    /// The address is none.
    #[error("`{0}` is neither an IP address nor `host-gateway`")]
    Address(String),
    /// The wiring in use has no address for the host.
    #[error("`host-gateway` for `{0}`: the host cannot be reached from this network")]
    NoGateway(String),
}

impl FromStr for ExtraHost {
    type Err = HostsError;

    fn from_str(text: &str) -> Result<ExtraHost, HostsError> {
        let (name, address) =
            text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(|| HostsError::Form(text.to_owned()))?;
        if !is_host_name(name) {
            return Err(HostsError::Name(name.to_owned()));
        }
        let address = match address {
            "host-gateway" => HostAddress::Gateway,
            other => {
                let bare = other.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(other);
                HostAddress::Ip(bare.parse().map_err(|_| HostsError::Address(other.to_owned()))?)
            }
        };
        Ok(ExtraHost { name: name.to_owned(), address })
    }
}

/// Looser than the RFCs (people use underscores), but nothing that ends a word or a line.
fn is_host_name(name: &str) -> bool {
    (1..=253).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Returns the `/etc/hosts` of a machine called `hostname`.
///
/// `ip` is its own address on the network, if it should find itself there rather than on loopback;
/// `gateway` is what `host-gateway` stands for.
pub fn hosts_file(
    hostname: &str,
    ip: Option<IpAddr>,
    gateway: Option<IpAddr>,
    extra: &[ExtraHost],
) -> Result<String, HostsError> {
    if !is_host_name(hostname) {
        return Err(HostsError::Name(hostname.to_owned()));
    }
    let mut text = match ip {
        None => format!("127.0.0.1\tlocalhost {hostname}\n"),
        Some(_) => "127.0.0.1\tlocalhost\n".to_owned(),
    };
    text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
    let line = |text: &mut String, ip: IpAddr, name: &str| {
        writeln!(text, "{ip}\t{name}").expect("writing to a string");
    };
    if let Some(ip) = ip {
        line(&mut text, ip, hostname);
    }
    for ExtraHost { name, address } in extra {
        let ip = match address {
            HostAddress::Ip(ip) => *ip,
            HostAddress::Gateway => gateway.ok_or_else(|| HostsError::NoGateway(name.clone()))?,
        };
        line(&mut text, ip, name);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ip: Option<&str>, gateway: Option<&str>, extra: &[&str], expect: Result<&str, &str>) {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let text = (|| {
            let extra = extra.iter().map(|text| text.parse()).collect::<Result<Vec<ExtraHost>, _>>()?;
            hosts_file("box", ip.map(parse), gateway.map(parse), &extra)
        })();
        let text = text.map_err(|error: HostsError| error.to_string());
        assert_eq!(text.as_deref().map_err(String::as_str), expect, "{ip:?} {gateway:?} {extra:?}");
    }

    const V6: &str = "::1\tlocalhost ip6-localhost ip6-loopback\n";

    // items: R004 O012
    #[test]
    fn files() {
        let head = format!("127.0.0.1\tlocalhost box\n{V6}");
        check(None, None, &[], Ok(&head));
        check(None, None, &["db=10.0.0.1"], Ok(&format!("{head}10.0.0.1\tdb\n")));
        check(None, None, &["db:10.0.0.1"], Ok(&format!("{head}10.0.0.1\tdb\n")));
        check(None, None, &["db:::1", "x=[fe80::1]"], Ok(&format!("{head}::1\tdb\nfe80::1\tx\n")));
        check(None, Some("10.9.0.1"), &["up=host-gateway"], Ok(&format!("{head}10.9.0.1\tup\n")));
        check(Some("10.9.0.2"), None, &[], Ok(&format!("127.0.0.1\tlocalhost\n{V6}10.9.0.2\tbox\n")));
    }

    #[test]
    fn refusals() {
        check(None, None, &["db"], Err("`db` is not of the form NAME=ADDRESS"));
        check(None, None, &["a b=1.2.3.4"], Err("`a b` is not a host name"));
        check(None, None, &["a\n6.6.6.6 b=1.2.3.4"], Err("`a\n6.6.6.6 b` is not a host name"));
        check(None, None, &["=1.2.3.4"], Err("`` is not a host name"));
        check(None, None, &["db=elsewhere"], Err("`elsewhere` is neither an IP address nor `host-gateway`"));
        let text = "`host-gateway` for `up`: the host cannot be reached from this network";
        check(None, None, &["up=host-gateway"], Err(text));
    }

    #[test]
    fn hostname_stays_in_its_line() {
        hosts_file("a\nb", None, None, &[]).unwrap_err();
    }
}
