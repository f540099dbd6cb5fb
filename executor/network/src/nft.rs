//! nf_tables by netlink: tables, chains, rules and the few expressions that we use.
//!
//! A rule is a list of expressions that load something into a register, compare it, and end in a
//! verdict. All changes of one [`commit`] take effect together or not at all. The numbers are
//! those of `linux/netfilter/nf_tables.h`.

use std::net::Ipv4Addr;

use rustix::io::Errno;

use crate::netlink::{APPEND, CREATE, Message, Reply, Socket, attributes, text};

const SUBSYSTEM: u16 = 10 << 8;
const NEWTABLE: u16 = SUBSYSTEM;
const GETTABLE: u16 = SUBSYSTEM | 1;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWRULE: u16 = SUBSYSTEM | 6;
const GETRULE: u16 = SUBSYSTEM | 7;
const DELRULE: u16 = SUBSYSTEM | 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// Family of IPv4 tables.
pub(crate) const IPV4: u8 = 2;
/// Family of tables for both IPv4 and IPv6.
pub(crate) const INET: u8 = 1;

const TABLE_NAME: u16 = 1;
const TABLE_USERDATA: u16 = 6;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
const META_IN_NAME: u32 = 6;
const META_OUT_NAME: u32 = 7;
const CT_STATE: u32 = 0;
const NETWORK_HEADER: u32 = 1;
const SOURCE_OFFSET: u32 = 12;
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const INTERFACE_NAME: usize = 16;

/// Where in a packet's way a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Forward = 2,
    Postrouting = 4,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop = 0,
    Accept = 1,
}

/// One condition or action of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Came in by this interface.
    In(&'a str),
    /// Goes out by this interface.
    Out(&'a str),
    /// Goes out by another interface.
    OutNot(&'a str),
    /// Comes from the /24 that begins here.
    From24(Ipv4Addr),
    /// Belongs to a connection that is known.
    Known,
    /// Takes the address of the interface it leaves by.
    Masquerade,
    /// Ends.
    End(Verdict),
}

/// A chain that hangs on a hook, as a dump tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) name: String,
    /// Hook number and policy; only base chains have them.
    pub(crate) base: Option<(u32, u32)>,
}

fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// Applies all of `changes` or none.
pub(crate) fn commit(socket: &Socket, changes: Vec<Message>) -> Result<(), Errno> {
    let mark = |kind| Message::silent(kind, 0, &[0, 0, 0, 10]);
    let mut batch = vec![mark(BATCH_BEGIN)];
    batch.extend(changes);
    batch.push(mark(BATCH_END));
    socket.request(batch)
}

/// Creates an IPv4 table, which may exist; `note` is kept with it for [`table_note`].
pub(crate) fn add_table(name: &str, note: &str) -> Message {
    Message::new(NEWTABLE, CREATE, &header(IPV4)).string(TABLE_NAME, name).string(TABLE_USERDATA, note)
}

/// Deletes an IPv4 table with all that is in it.
pub(crate) fn delete_table(name: &str) -> Message {
    Message::new(DELTABLE, 0, &header(IPV4)).string(TABLE_NAME, name)
}

/// Returns the note of an IPv4 table, empty on kernels before 5.10; none if there is no table.
pub(crate) fn table_note(socket: &Socket, name: &str) -> Result<Option<String>, Errno> {
    let message = Message::silent(GETTABLE, 0, &header(IPV4)).string(TABLE_NAME, name);
    match socket.ask(message) {
        Ok(reply) => {
            let note = reply.attributes(4).find(|(kind, _)| *kind == TABLE_USERDATA);
            Ok(Some(note.map(|(_, value)| text(value).to_owned()).unwrap_or_default()))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Creates a base chain, policy accept.
pub(crate) fn add_chain(table: &str, name: &str, kind: &str, hook: Hook, priority: i32) -> Message {
    Message::new(NEWCHAIN, CREATE, &header(IPV4))
        .string(CHAIN_TABLE, table)
        .string(CHAIN_NAME, name)
        .nest(CHAIN_HOOK, |message| {
            message.be32(HOOK_NUMBER, hook as u32).be32(HOOK_PRIORITY, priority.cast_unsigned())
        })
        .be32(CHAIN_POLICY, Verdict::Accept as u32)
        .string(CHAIN_TYPE, kind)
}

/// Appends a rule to an IPv4 chain.
pub(crate) fn append_rule(table: &str, chain: &str, parts: &[Part<'_>]) -> Message {
    rule(IPV4, APPEND, table, chain, parts)
}

/// Puts a rule at the head of a chain, with a note for [`rules_with_note`].
pub(crate) fn insert_rule(chain: &Chain, parts: &[Part<'_>], note: &[u8]) -> Message {
    rule(chain.family, 0, &chain.table, &chain.name, parts).bytes(RULE_USERDATA, note)
}

fn rule(family: u8, flags: u16, table: &str, chain: &str, parts: &[Part<'_>]) -> Message {
    let message =
        Message::new(NEWRULE, CREATE | flags, &header(family)).string(RULE_TABLE, table).string(RULE_CHAIN, chain);
    message.nest(RULE_EXPRESSIONS, |message| parts.iter().fold(message, |message, part| part.write(message)))
}

/// Returns the handles of the rules in `chain` that carry `note`.
pub(crate) fn rules_with_note(socket: &Socket, chain: &Chain, note: &[u8]) -> Result<Vec<[u8; 8]>, Errno> {
    let message = Message::silent(GETRULE, 0, &header(chain.family))
        .string(RULE_TABLE, &chain.table)
        .string(RULE_CHAIN, &chain.name);
    let handle = |reply: &Reply| {
        let find = |wanted| reply.attributes(4).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        (find(RULE_USERDATA)? == note).then(|| find(RULE_HANDLE)?.try_into().ok())?
    };
    Ok(socket.dump(&message)?.iter().filter_map(handle).collect())
}

/// Deletes the rule with this handle.
pub(crate) fn delete_rule(chain: &Chain, handle: [u8; 8]) -> Message {
    Message::new(DELRULE, 0, &header(chain.family))
        .string(RULE_TABLE, &chain.table)
        .string(RULE_CHAIN, &chain.name)
        .bytes(RULE_HANDLE, &handle)
}

/// Returns all chains of the families that see forwarded IPv4 packets.
pub(crate) fn chains(socket: &Socket) -> Result<Vec<Chain>, Errno> {
    let mut chains = Vec::new();
    for family in [IPV4, INET] {
        let replies = socket.dump(&Message::silent(GETCHAIN, 0, &header(family)))?;
        chains.extend(replies.iter().filter_map(|reply| read_chain(family, reply)));
    }
    Ok(chains)
}

fn read_chain(family: u8, reply: &Reply) -> Option<Chain> {
    let be32 = |value: &[u8]| value.try_into().ok().map(u32::from_be_bytes);
    let mut chain = Chain { family, table: String::new(), name: String::new(), base: None };
    let (mut hook, mut policy) = (None, None);
    for (kind, value) in reply.attributes(4) {
        match kind {
            CHAIN_TABLE => chain.table = text(value).to_owned(),
            CHAIN_NAME => chain.name = text(value).to_owned(),
            CHAIN_POLICY => policy = be32(value),
            CHAIN_HOOK => {
                let mut numbers = attributes(value).filter(|(kind, _)| *kind == HOOK_NUMBER);
                hook = numbers.next().and_then(|(_, value)| be32(value));
            }
            _ => {}
        }
    }
    chain.base = hook.zip(policy);
    Some(chain).filter(|chain| !chain.name.is_empty())
}

impl Part<'_> {
    fn write(self, message: Message) -> Message {
        match self {
            Part::In(name) => compare(meta(message, META_IN_NAME), Equal::Yes, &interface(name)),
            Part::Out(name) => compare(meta(message, META_OUT_NAME), Equal::Yes, &interface(name)),
            Part::OutNot(name) => compare(meta(message, META_OUT_NAME), Equal::No, &interface(name)),
            Part::From24(base) => {
                let message = expression(message, "payload", |message| {
                    message.be32(1, REGISTER).be32(2, NETWORK_HEADER).be32(3, SOURCE_OFFSET).be32(4, 3)
                });
                compare(message, Equal::Yes, &base.octets()[..3])
            }
            Part::Known => {
                let message = expression(message, "ct", |message| message.be32(1, REGISTER).be32(2, CT_STATE));
                let message = expression(message, "bitwise", |message| {
                    let data = |message: Message, kind, value: u32| {
                        message.nest(kind, |message| message.u32(DATA_VALUE, value))
                    };
                    let message = message.be32(1, REGISTER).be32(2, REGISTER).be32(3, 4);
                    data(data(message, 4, ESTABLISHED_OR_RELATED), 5, 0)
                });
                compare(message, Equal::No, &[0; 4])
            }
            Part::Masquerade => expression(message, "masq", |message| message),
            Part::End(verdict) => expression(message, "immediate", |message| {
                message
                    .be32(1, VERDICT_REGISTER)
                    .nest(2, |message| message.nest(DATA_VERDICT, |message| message.be32(VERDICT_CODE, verdict as u32)))
            }),
        }
    }
}

enum Equal {
    Yes = 0,
    No = 1,
}

fn meta(message: Message, key: u32) -> Message {
    expression(message, "meta", |message| message.be32(1, REGISTER).be32(2, key))
}

fn compare(message: Message, equal: Equal, value: &[u8]) -> Message {
    expression(message, "cmp", |message| {
        let message = message.be32(1, REGISTER).be32(2, equal as u32);
        message.nest(3, |message| message.bytes(DATA_VALUE, value))
    })
}

fn expression(message: Message, name: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    message.nest(LIST_ELEMENT, |message| message.string(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, fill))
}

fn interface(name: &str) -> [u8; INTERFACE_NAME] {
    let mut padded = [0; INTERFACE_NAME];
    let length = name.len().min(INTERFACE_NAME - 1);
    padded[..length].copy_from_slice(&name.as_bytes()[..length]);
    padded
}
