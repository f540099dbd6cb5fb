//! Addresses of daemons: where one listens, and where a client finds it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket: `unix:///run/rbuild/buildkitd.sock`.
    Unix(PathBuf),
    /// A port: `tcp://host:port`; without a host, of all interfaces.
    Tcp {
        /// The name or number of the interface, empty for all.
        host: String,
        /// The port; 0 lets the system choose.
        port: u16,
    },
    /// Sockets that systemd has opened: `fd://`, or one of them by its number, `fd://3`.
    Inherited(Option<i32>),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(match text.starts_with('/') {
                true => format!("address `{text}` has no protocol: did you mean unix://{text}?"),
                false => format!("address `{text}` has no protocol: expected unix://, tcp:// or fd://"),
            });
        };
        match scheme {
            "unix" if rest.is_empty() => Err(format!("address `{text}` names no socket")),
            "unix" => std::path::absolute(rest).map(Self::Unix).map_err(|error| format!("address `{text}`: {error}")),
            "tcp" => tcp(text, rest),
            "fd" if rest.is_empty() => Ok(Self::Inherited(None)),
            "fd" => match rest.parse() {
                Ok(number) if number > 2 => Ok(Self::Inherited(Some(number))),
                _ => Err(format!("address `{text}`: expected fd:// or the number of a descriptor, at least 3")),
            },
            other => Err(format!("address `{text}`: no protocol `{other}`: expected unix://, tcp:// or fd://")),
        }
    }
}

fn tcp(text: &str, rest: &str) -> Result<Address, String> {
    let invalid = || format!("address `{text}`: expected tcp://HOST:PORT");
    let (host, port) = rest.rsplit_once(':').ok_or_else(invalid)?;
    let port = port.parse().map_err(|_| invalid())?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(number) if number.parse::<std::net::Ipv6Addr>().is_ok() => number,
        None if host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) => host,
        _ => return Err(invalid()),
    };
    Ok(Address::Tcp { host: host.to_owned(), port })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Inherited(None) => write!(f, "fd://"),
            Self::Inherited(Some(number)) => write!(f, "fd://{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in [
            "unix:///run/x.sock",
            "tcp://127.0.0.1:1234",
            "tcp://:1234",
            "tcp://[::1]:0",
            "tcp://a-b.c:65535",
            "fd://",
            "fd://4",
        ] {
            assert_eq!(good.parse::<Address>().map(|address| address.to_string()).as_deref(), Ok(good));
        }
    }

    #[test]
    fn others_are_refused_with_a_hint() {
        for (bad, hint) in [
            ("/run/x.sock", "did you mean unix:///run/x.sock?"),
            ("x", "expected unix://"),
            ("unix://", "names no socket"),
            ("npipe:////./pipe/x", "no protocol `npipe`"),
            ("tcp://localhost", "HOST:PORT"),
            ("tcp://localhost:70000", "HOST:PORT"),
            ("tcp://a/b:1", "HOST:PORT"),
            ("tcp://::1:5", "HOST:PORT"),
            ("fd://1", "at least 3"),
            ("fd://x", "at least 3"),
        ] {
            let error = bad.parse::<Address>().expect_err(bad);
            assert!(error.contains(hint), "{error}");
        }
    }
}
