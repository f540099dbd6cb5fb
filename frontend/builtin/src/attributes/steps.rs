//! What steps find around them: hosts and network.

use std::net::IpAddr;

use rbuild_graph::pb;
use rbuild_lower::HostAddress;

use super::fields;

/// Reads `name=address,…`.
pub(super) fn hosts(text: &str) -> Result<Vec<(String, HostAddress)>, String> {
    let host = |field: String| {
        let field = field.to_lowercase();
        let (name, address) = field.split_once('=').ok_or_else(|| format!("invalid key-value pair {field}"))?;
        let address: IpAddr = address.parse().map_err(|_| format!("failed to parse IP {address}"))?;
        Ok((name.to_owned(), HostAddress::Ip(address)))
    };
    fields(text)?.into_iter().map(host).collect()
}

/// Reads the network of steps that do not say.
pub(super) fn network(text: &str) -> Result<pb::NetMode, String> {
    match text {
        "" | "sandbox" => Ok(pb::NetMode::Unset),
        "none" => Ok(pb::NetMode::None),
        "host" => Ok(pb::NetMode::Host),
        other => Err(format!("invalid netmode {other}")),
    }
}
