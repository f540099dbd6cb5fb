//! What the host's packet filter does with the packets of our steps.
//!
//! One IPv4 table of our own, named like the bridge:
//!
//! ```text
//! chain postrouting { type nat hook postrouting priority 100
//!     ip saddr SUBNET oifname != BRIDGE masquerade }
//! chain forward { type filter hook forward priority 0
//!     iifname BRIDGE oifname BRIDGE drop            (steps are strangers to each other)
//!     oifname BRIDGE ct state established,related accept
//!     oifname BRIDGE drop }                         (nobody calls a step from outside)
//! ```
//!
//! A host whose other chains drop what is forwarded (docker and ufw make their policy so) would drop
//! ours too, whatever our table says. There two rules that accept what enters or leaves the bridge
//! are put at the head of that chain, or of `DOCKER-USER` where docker has set one apart for this;
//! in the form that iptables writes, so that it can go on listing them.

use rustix::io::Errno;

use crate::error::{NetworkError, kernel};
use crate::netlink::{Message, Socket};
use crate::nft::{self, Chain, Hook, Part, Verdict};
use crate::subnet::Subnet;

/// Changes when the rules do, so that an older table is replaced.
const VERSION: &str = "1";
const SOURCE_NAT_PRIORITY: i32 = 100;

/// Makes sure that the rules for `bridge` are there.
pub(crate) fn ensure(bridge: &str, subnet: Subnet) -> Result<(), NetworkError> {
    let socket = socket()?;
    let note = format!("{VERSION} {subnet}");
    let present = nft::table_note(&socket, bridge).map_err(missing)?;
    if present.as_deref() != Some(&note) {
        nft::commit(&socket, rules(bridge, subnet, &note)).map_err(missing)?;
    }
    let what = || kernel("reading the host's packet filter");
    let all = nft::chains(&socket).map_err(what())?;
    for chain in obstacles(&all, bridge) {
        let note = note_of(bridge);
        if nft::rules_with_note(&socket, chain, &note).map_err(what())?.is_empty() {
            nft::commit(&socket, passes(chain, bridge, &note)).map_err(kernel(format!(
                "accepting forwarded packets in chain `{}` of table `{}`",
                chain.name, chain.table
            )))?;
        }
    }
    Ok(())
}

/// Takes all rules for `bridge` away.
pub(crate) fn remove(bridge: &str) -> Result<(), NetworkError> {
    let socket = socket()?;
    let what = || kernel("removing our rules from the host's packet filter");
    let mut changes = Vec::new();
    if nft::table_note(&socket, bridge).map_err(what())?.is_some() {
        changes.push(nft::delete_table(bridge));
    }
    for chain in &nft::chains(&socket).map_err(what())? {
        if chain.table != bridge {
            let handles = nft::rules_with_note(&socket, chain, &note_of(bridge)).map_err(what())?;
            changes.extend(handles.into_iter().map(|handle| nft::delete_rule(chain, handle)));
        }
    }
    if changes.is_empty() { Ok(()) } else { nft::commit(&socket, changes).map_err(what()) }
}

fn socket() -> Result<Socket, NetworkError> {
    Socket::netfilter().map_err(missing)
}

/// Tells a kernel without the parts we need from one that refuses us.
fn missing(source: Errno) -> NetworkError {
    match source {
        Errno::PROTONOSUPPORT | Errno::OPNOTSUPP | Errno::NOENT | Errno::INVAL => NetworkError::Unsupported {
            what: "nftables with address translation (modules nf_tables, nft_chain_nat, nft_masq, nft_ct)",
            source,
        },
        other => kernel("writing our rules into the host's packet filter")(other),
    }
}

fn rules(bridge: &str, subnet: Subnet, note: &str) -> Vec<Message> {
    let forward = |parts: &[Part<'_>]| nft::append_rule(bridge, "forward", parts);
    vec![
        // Deleting needs it to exist; this way the old table, if any, is replaced at once.
        nft::add_table(bridge, note),
        nft::delete_table(bridge),
        nft::add_table(bridge, note),
        nft::add_chain(bridge, "postrouting", "nat", Hook::Postrouting, SOURCE_NAT_PRIORITY),
        nft::add_chain(bridge, "forward", "filter", Hook::Forward, 0),
        nft::append_rule(bridge, "postrouting", &[Part::From24(subnet.base()), Part::OutNot(bridge), Part::Masquerade]),
        forward(&[Part::In(bridge), Part::Out(bridge), Part::End(Verdict::Drop)]),
        forward(&[Part::Out(bridge), Part::Known, Part::End(Verdict::Accept)]),
        forward(&[Part::Out(bridge), Part::End(Verdict::Drop)]),
    ]
}

/// Returns the chains into which our packets need a pass, out of `all`.
fn obstacles<'a>(all: &'a [Chain], own_table: &str) -> Vec<&'a Chain> {
    let dropping = all
        .iter()
        .filter(|chain| chain.table != own_table && chain.base == Some((Hook::Forward as u32, Verdict::Drop as u32)));
    let place = |base: &'a Chain| {
        let beside = |chain: &&Chain| chain.family == base.family && chain.table == base.table;
        all.iter().filter(beside).find(|chain| chain.name == "DOCKER-USER").unwrap_or(base)
    };
    dropping.map(place).collect()
}

/// The two rules that let our packets pass; the last inserted comes first.
fn passes(chain: &Chain, bridge: &str, note: &[u8]) -> Vec<Message> {
    let pass = |part| nft::insert_rule(chain, &[part, Part::End(Verdict::Accept)], note);
    vec![pass(Part::Out(bridge)), pass(Part::In(bridge))]
}

/// A rule's comment, as nft writes and shows it: kind 0, length, text with its final zero.
fn note_of(bridge: &str) -> Vec<u8> {
    let text = format!("rbuild {bridge}");
    let length = u8::try_from(text.len() + 1).expect("an interface name is short");
    [&[0, length], text.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, name: &str, base: Option<(u32, u32)>) -> Chain {
        Chain { family: nft::IPV4, table: table.to_owned(), name: name.to_owned(), base }
    }

    #[test]
    fn passes_are_put_where_packets_are_dropped() {
        let check = |all: &[Chain], expect: &[&str]| {
            let names: Vec<_> = obstacles(all, "rbuild0").iter().map(|chain| chain.name.clone()).collect();
            assert_eq!(names, expect);
        };
        let (drops, accepts) = (Some((2, 0)), Some((2, 1)));
        check(&[], &[]);
        check(&[chain("filter", "FORWARD", accepts)], &[]);
        check(&[chain("filter", "INPUT", Some((1, 0)))], &[]);
        check(&[chain("filter", "FORWARD", drops)], &["FORWARD"]);
        check(&[chain("rbuild0", "forward", drops)], &[]);
        let docker = [chain("filter", "FORWARD", drops), chain("filter", "DOCKER-USER", None)];
        check(&docker, &["DOCKER-USER"]);
        let other = [chain("filter", "FORWARD", drops), chain("mine", "DOCKER-USER", None)];
        check(&other, &["FORWARD"]);
    }
}
