//! `EXPOSE port...`

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::literal::quote;
use crate::problem::Problem;
use crate::request::Request;
use crate::source::Template;
use crate::suggest;

const PROTOCOLS: [&str; 3] = ["sctp", "tcp", "udp"];

/// Declares ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expose {
    /// The words, sorted bytewise; each may expand to several (it is split after expansion).
    pub ports: Vec<Template>,
}

impl Expose {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        let mut ports = request.some_words()?;
        request.flags(&[])?;
        ports.sort_by(|a, b| a.text.cmp(&b.text));
        Ok(Self { ports })
    }
}

/// A word of `EXPOSE`, expanded and read: `[[ip:]host:]first[-last][/protocol]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The ports of the container.
    pub range: RangeInclusive<u16>,
    /// The protocol in lower case: `tcp`, `udp`, `sctp`.
    pub protocol: String,
    /// Whether the protocol was written in lower case.
    pub protocol_is_lower: bool,
    /// Whether an address or a host port was written; both mean nothing here.
    pub has_mapping: bool,
}

/// Why a word is no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PortError {
    #[error("invalid port: {}: no port specified", quote(.0))]
    Missing(String),
    #[error("invalid port: {}: invalid proto: {protocol}", quote(.word))]
    Protocol { word: String, protocol: String },
    #[error("invalid IP address: {0}")]
    Address(String),
    #[error("invalid containerPort: {0}")]
    ContainerPort(String),
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges { container: String, host: String },
}

impl PortError {
    /// Returns the nearest protocol to one that is none.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            Self::Protocol { protocol, .. } => suggest::nearest(&protocol.to_lowercase(), PROTOCOLS, true),
            _ => None,
        }
    }
}

impl Port {
    /// Reads an expanded word.
    pub fn parse(word: &str) -> Result<Self, PortError> {
        let (mapping, container) = word.rsplit_once(':').map_or((None, word), |(mapping, rest)| (Some(mapping), rest));
        let (address, host) = match mapping.map(|mapping| mapping.rsplit_once(':').unwrap_or(("", mapping))) {
            Some((address, host)) => (address, host),
            None => ("", ""),
        };
        let (container, protocol) = container.split_once('/').unwrap_or((container, ""));
        if container.is_empty() {
            return Err(PortError::Missing(word.to_owned()));
        }
        let protocol = if protocol.is_empty() { "tcp" } else { protocol };
        let lower = protocol.to_lowercase();
        if !PROTOCOLS.contains(&lower.as_str()) {
            return Err(PortError::Protocol { word: word.to_owned(), protocol: protocol.to_owned() });
        }
        check_address(address)?;
        let range = range(container).ok_or_else(|| PortError::ContainerPort(container.to_owned()))?;
        if !host.is_empty() {
            let host_range = self::range(host).ok_or_else(|| PortError::HostPort(host.to_owned()))?;
            let one = range.start() == range.end();
            if !one && host_range.end() - host_range.start() != range.end() - range.start() {
                return Err(PortError::Ranges { container: container.to_owned(), host: host.to_owned() });
            }
        }
        let has_mapping = !address.is_empty() || !host.is_empty();
        Ok(Self { range, protocol_is_lower: protocol == lower, protocol: lower, has_mapping })
    }

    /// Returns the ports as in an image's configuration: `80/tcp`.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.range.clone().map(|port| format!("{port}/{}", self.protocol))
    }
}

fn check_address(address: &str) -> Result<(), PortError> {
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if address.is_empty() || bare.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(PortError::Address(address.to_owned()))
}

/// Reads `first` or `first-last`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| text.parse::<i64>().ok().and_then(|port| u16::try_from(port).ok());
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}
