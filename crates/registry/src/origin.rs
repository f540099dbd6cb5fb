//! Addresses: which server a registry name means, which server an address means, and where a
//! server may send us.

use std::net::IpAddr;

use url::{Host, Url};

/// Most redirects followed for one request.
pub const MOST_HOPS: usize = 10;

/// Returns the `host[:port]` that serves a registry's API.
pub fn api_host(registry: &str) -> &str {
    match registry {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// Returns the root address of a `host[:port]`; none if it is anything else.
pub fn root(scheme: &str, host: &str) -> Option<Url> {
    let shaped = !host.is_empty() && !host.contains(['/', '\\', '?', '#', '@', '%']) && host.is_ascii();
    let url = Url::parse(&format!("{scheme}://{host}/")).ok().filter(|_| shaped)?;
    (url.path() == "/" && url.host().is_some()).then_some(url)
}

/// Returns the address of `rest` within a repository's part of the API.
pub fn repository_url(root: &Url, repository: &str, rest: &str) -> Option<Url> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
    let component = |part: &str| part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !repository.bytes().all(plain) || !repository.split('/').all(component) {
        return None;
    }
    root.join(&format!("/v2/{repository}/{rest}")).ok()
}

/// Whether two addresses mean the same server and protocol.
pub fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Returns `host[:port]` of an address.
pub fn host_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Returns an address fit to be shown: no user, no query, no fragment.
pub fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), host_port(url), url.path())
}

/// Whether the host of `url` is this machine by name.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}

/// Whether the host of `url` is an address that only means something nearby: this machine, this
/// link, this site.
pub fn is_private(url: &Url) -> bool {
    let ip = match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => ip.to_canonical(),
        _ => return is_loopback(url),
    };
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Returns where `location`, sent by `from`, leads; or the rule that forbids to go there.
///
/// Credentials are not this function's matter: they are for one origin and dropped elsewhere.
pub fn follow(from: &Url, location: &str) -> Result<Url, (String, &'static str)> {
    let unreadable = || (location.chars().take(200).flat_map(char::escape_default).collect(), "not an address");
    let target = from.join(location).map_err(|_| unreadable())?;
    let refuse = |why| Err((shown(&target), why));
    if !matches!(target.scheme(), "http" | "https") || target.host().is_none() {
        return refuse("only http and https are followed");
    }
    if !target.username().is_empty() || target.password().is_some() {
        return refuse("an address with a user is not followed");
    }
    if from.scheme() == "https" && target.scheme() == "http" {
        return refuse("from https to plain http is not followed");
    }
    if is_link_local(&target) && from.host() != target.host() {
        return refuse("link-local addresses are not followed");
    }
    // A registry known by name may well store at a private address, but never on our own machine.
    let reaches_in = is_loopback(&target) || is_literal(from) && is_private(&target);
    if reaches_in && !is_private(from) {
        return refuse("from a public server to a private address is not followed");
    }
    Ok(target)
}

fn is_literal(url: &Url) -> bool {
    !matches!(url.host(), Some(Host::Domain(_)))
}

fn is_link_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_link_local(),
        Some(Host::Ipv6(ip)) => ip.is_unicast_link_local(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, location: &str, want: Result<&str, &str>) {
        let got = follow(&Url::parse(from).unwrap(), location);
        match want {
            Ok(url) => assert_eq!(got.as_ref().map(Url::as_str), Ok(url), "{from} {location}"),
            Err(part) => {
                let (target, reason) = got.expect_err(location);
                assert!(format!("{target} {reason}").contains(part), "{target} {reason}");
                assert!(!target.contains("secret"), "{target}");
            }
        }
    }

    #[test]
    fn follows_only_safe_locations() {
        let hub = "https://registry-1.docker.io/v2/a/blobs/x";
        check(hub, "/v2/b", Ok("https://registry-1.docker.io/v2/b"));
        check(hub, "?a=b", Ok("https://registry-1.docker.io/v2/a/blobs/x?a=b"));
        check(hub, "https://cdn.example/x?sig=1", Ok("https://cdn.example/x?sig=1"));
        check(hub, "//cdn.example/x", Ok("https://cdn.example/x"));
        check(hub, "http://cdn.example/x?token=secret", Err("plain http"));
        check(hub, "file:///etc/passwd", Err("only http"));
        check(hub, "gopher://x/", Err("only http"));
        check(hub, "https://u:secret@cdn.example/", Err("user"));
        check(hub, "https://169.254.169.254/latest", Err("link-local"));
        check(hub, "https://127.0.0.1/x", Err("private"));
        check("https://1.2.3.4/", "https://10.0.0.1/", Err("private"));
        check("http://127.0.0.1:5000/v2/", "http://127.0.0.1:6000/s", Ok("http://127.0.0.1:6000/s"));
        check("http://127.0.0.1:5000/v2/", "http://[bad", Err("not an address"));
    }

    #[test]
    fn hosts_are_only_hosts() {
        for good in ["docker.io", "localhost:5000", "[::1]:5000", "127.0.0.1"] {
            assert!(root("https", good).is_some(), "{good}");
        }
        for bad in ["", "a/b", "u@h", "h?x", "h#x", "h%2f", "a b", "h:x", "h\\x", "../x"] {
            assert!(root("https", bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn repositories_stay_in_their_part() {
        let root = root("https", "h").unwrap();
        let url = |name: &str| repository_url(&root, name, "tags/list").map(String::from);
        assert_eq!(url("a/b").as_deref(), Some("https://h/v2/a/b/tags/list"));
        for bad in ["", "../x", "a/../b", "a//b", "A", "a?b", "a%2e", "/a", "a/"] {
            assert_eq!(url(bad), None, "{bad}");
        }
    }

    #[test]
    fn knows_this_machine() {
        let loopback = |text: &str| is_loopback(&Url::parse(text).unwrap());
        for yes in ["http://localhost", "http://127.9.9.9:1", "http://[::1]", "http://[::ffff:127.0.0.1]"] {
            assert!(loopback(yes), "{yes}");
        }
        for no in ["http://localhost.evil", "http://128.0.0.1", "http://0.0.0.0", "http://10.0.0.1"] {
            assert!(!loopback(no), "{no}");
        }
    }
}
