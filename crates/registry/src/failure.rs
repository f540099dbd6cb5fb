//! Why an exchange failed, in the words that people know from other clients and look for: those of Go's.
//!
//! The libraries below tell their errors as values for programs; their texts name types and queries.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hickory_resolver::net::{DnsError, NetError};
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use url::Url;

use crate::origin::{host_port, is_loopback};
use crate::{Error, Options};

/// Why an exchange failed, without saying what it was for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection: name, network or handshake.
    Connect {
        host: String,
        reason: String,
    },
    /// The connection broke, or what came is not HTTP.
    Broken {
        host: String,
        reason: String,
    },
    Certificate {
        host: String,
        reason: String,
    },
    Stalled {
        host: String,
        after: Duration,
    },
    Unsafe {
        host: String,
        target: String,
        reason: String,
    },
    Local(io::Error),
    Setting(Error),
}

/// Who was asked, as far as it explains an error.
#[derive(Debug)]
pub(crate) struct Peer {
    /// `host[:port]`.
    host: String,
    /// The name alone.
    name: String,
    /// `host:port`.
    address: String,
    /// Whether a proxy may have been dialed in its place.
    proxied: bool,
    /// Where a certificate of its authority would be found.
    authority: Option<PathBuf>,
}

impl Peer {
    pub(crate) fn of(options: &Options, url: &Url) -> Self {
        let host = host_port(url);
        let name = url.host_str().unwrap_or_default().to_owned();
        let address = url.port_or_known_default().map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
        let proxies = &options.proxies;
        let proxy = if url.scheme() == "https" { &proxies.https } else { &proxies.http };
        let proxied = !is_loopback(url) && proxy.as_ref().is_some_and(|proxy| !proxy.is_empty());
        let folder = options.certificate_directories.first().map(|directory| directory.join(&host));
        Self { host, name, address, proxied, authority: folder.map(|folder| folder.join("ca.crt")) }
    }

    /// Says what an error of the HTTP library means.
    pub(crate) fn explain(self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        let found = causes(&error).find_map(|cause| self.recognize(cause));
        found.unwrap_or_else(|| {
            let reason = chain(&error);
            match (error.is_connect(), error.is_timeout()) {
                (true, true) => self.unreached(&self.dial(), "i/o timeout"),
                (true, false) => Failure::Connect { host: self.host, reason },
                (false, _) => Failure::Broken { host: self.host, reason },
            }
        })
    }

    fn recognize(&self, cause: &(dyn StdError + 'static)) -> Option<Failure> {
        if let Some(error) = cause.downcast_ref::<NetError>() {
            return Some(self.unresolved(error));
        }
        let cause = innermost(cause);
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return self.unsecured(error);
        }
        let refusal = connect_refusal(cause.downcast_ref::<io::Error>()?.kind())?;
        Some(self.unreached(&self.dial(), refusal))
    }

    /// The name has no address, or nobody could be asked for it.
    fn unresolved(&self, error: &NetError) -> Failure {
        let name = match error {
            // A search list makes longer names of ours; any other is a proxy's.
            NetError::Dns(DnsError::NoRecordsFound(none)) => {
                let asked = none.query.name().to_string();
                if asked.starts_with(&self.name) { self.name.clone() } else { asked.trim_end_matches('.').to_owned() }
            }
            _ => self.name.clone(),
        };
        let reason = match error {
            error if error.is_no_records_found() => {
                "no such host (is the name spelled right, and the network up?)".to_owned()
            }
            NetError::Dns(DnsError::ResponseCode(code)) => format!("server misbehaving: {code}"),
            NetError::Timeout => "i/o timeout (no name server answers: is the network up?)".to_owned(),
            NetError::NoConnections | NetError::Io(_) => "no name server can be reached".to_owned(),
            other => chain(other),
        };
        self.unreached(&format!("dial tcp: lookup {name}"), &reason)
    }

    /// What has to be secret is not: there is no TLS, or the server is not who it says.
    fn unsecured(&self, error: &rustls::Error) -> Option<Failure> {
        let host = self.host.clone();
        Some(match error {
            rustls::Error::InvalidCertificate(error) => Failure::Certificate { host, reason: self.distrust(error) },
            rustls::Error::AlertReceived(alert) if is_certificate_alert(*alert) => {
                let reason =
                    format!("remote error: tls: {} (our certificate, or none, is not accepted)", words(*alert));
                Failure::Certificate { host, reason }
            }
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                Failure::Connect { host, reason: "http: server gave HTTP response to HTTPS client".to_owned() }
            }
            _ => return None,
        })
    }

    fn distrust(&self, error: &CertificateError) -> String {
        let unknown = || {
            let hint = |file: &PathBuf| format!(" (its authority's certificate may be put at `{}`)", file.display());
            format!("certificate signed by unknown authority{}", self.authority.as_ref().map(hint).unwrap_or_default())
        };
        let reason = match error {
            CertificateError::UnknownIssuer => unknown(),
            // One that may sign others and vouches for itself; webpki has no name of its own for that.
            CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => unknown(),
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                format!("certificate has expired or is not yet valid ({error})")
            }
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                format!("certificate is not valid for any names, but wanted to match {}", self.name)
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
                format!("certificate is valid for {}, not {}", names.join(", "), self.name)
            }
            other => other.to_string(),
        };
        format!("tls: failed to verify certificate: x509: {reason}")
    }

    fn dial(&self) -> String {
        // Whether it was, the library does not tell.
        if self.proxied { "dial tcp (its proxy, or itself)".to_owned() } else { format!("dial tcp {}", self.address) }
    }

    fn unreached(&self, attempt: &str, reason: &str) -> Failure {
        Failure::Connect { host: self.host.clone(), reason: format!("{attempt}: {reason}") }
    }
}

/// Returns an error and what caused it, outermost first.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// Looks into IO errors, which hide what they wrap from `source`.
fn innermost<'a>(mut cause: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    while let Some(wrapped) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        cause = wrapped;
    }
    cause
}

/// Says how the kernel refused to connect; other kinds befall connections that are there, too.
fn connect_refusal(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => "connect: connection refused",
        io::ErrorKind::HostUnreachable => "connect: no route to host",
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable",
        _ => return None,
    })
}

fn is_certificate_alert(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
    )
}

/// Takes a name of a certificate out of its type, as in `DnsName("a.example")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// Returns an alert's name as words.
fn words(alert: AlertDescription) -> String {
    let name = format!("{alert:?}").replace("CA", "Ca");
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

/// Returns an error and its causes on one line, each text once.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text: String = cause.to_string().chars().filter(|c| !c.is_control()).collect();
        let told = texts.iter().any(|told| told.contains(&text));
        if !told && text != "client error (Connect)" && text != "error sending request" {
            texts.push(text);
        }
    }
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::net::NoRecords;
    use hickory_resolver::proto::op::{Query, ResponseCode};
    use hickory_resolver::proto::rr::{Name, RecordType};

    use super::*;

    fn peer(address: &str) -> Peer {
        let options = Options { certificate_directories: vec!["/etc/certs.d".into()], ..Options::default() };
        Peer::of(&options, &Url::parse(address).unwrap())
    }

    #[track_caller]
    fn check(address: &str, cause: impl StdError + 'static, want: &str) {
        let found = peer(address).recognize(&cause);
        let Some(Failure::Connect { reason, .. } | Failure::Certificate { reason, .. }) = found else {
            panic!("{found:?}")
        };
        assert_eq!(reason, want);
    }

    fn no_records(name: &str) -> NetError {
        let query = Query::query(Name::from_ascii(name).unwrap(), RecordType::AAAA);
        NetError::Dns(DnsError::NoRecordsFound(NoRecords::new(query, ResponseCode::NXDomain)))
    }

    #[test]
    fn names_without_address() {
        let lacks = " (is the name spelled right, and the network up?)";
        let unknown = |name: &str| format!("dial tcp: lookup {name}: no such host{lacks}");
        check("https://fake-url:5000", no_records("fake-url."), &unknown("fake-url"));
        check("https://fake-url", no_records("fake-url.corp.example."), &unknown("fake-url"));
        check("https://docker.io", no_records("proxy.example."), &unknown("proxy.example"));
        let nobody = "dial tcp: lookup a: i/o timeout (no name server answers: is the network up?)";
        check("https://a", NetError::Timeout, nobody);
        let code = NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail));
        check("https://a", code, "dial tcp: lookup a: server misbehaving: Server Failure");
    }

    #[test]
    fn addresses_without_server() {
        let kind = |kind: io::ErrorKind| io::Error::from(kind);
        let refused = kind(io::ErrorKind::ConnectionRefused);
        check("https://127.0.0.1:1", refused, "dial tcp 127.0.0.1:1: connect: connection refused");
        let network = kind(io::ErrorKind::NetworkUnreachable);
        check("https://a.example", network, "dial tcp a.example:443: connect: network is unreachable");
        let reset = kind(io::ErrorKind::ConnectionReset);
        assert!(peer("https://a").recognize(&reset).is_none());
    }

    #[test]
    fn a_proxy_may_be_what_does_not_answer() {
        let mut options = Options::default();
        options.proxies.https = Some("http://proxy.example".to_owned());
        let peer = |address: &str| Peer::of(&options, &Url::parse(address).unwrap()).dial();
        assert_eq!(peer("https://a.example"), "dial tcp (its proxy, or itself)");
        assert_eq!(peer("http://a.example"), "dial tcp a.example:80");
        assert_eq!(peer("https://localhost:5"), "dial tcp localhost:5");
    }

    #[test]
    fn servers_that_are_not_trusted() {
        let wrapped = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let invalid = |error| wrapped(rustls::Error::InvalidCertificate(error));
        check(
            "https://r:5",
            invalid(CertificateError::UnknownIssuer),
            "tls: failed to verify certificate: x509: certificate signed by unknown authority (its authority's \
             certificate may be put at `/etc/certs.d/r:5/ca.crt`)",
        );
        check(
            "https://r",
            wrapped(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)),
            "http: server gave HTTP response to HTTPS client",
        );
        check(
            "https://r",
            wrapped(rustls::Error::AlertReceived(AlertDescription::UnknownCA)),
            "remote error: tls: unknown ca (our certificate, or none, is not accepted)",
        );
    }
}
