//! Speaking netlink: messages out, acknowledgements and dumps in.
//!
//! ```text
//! datagram  = message*                     (each padded to four bytes)
//! message   = length u32 | kind u16 | flags u16 | sequence u32 | port u32 | header | attribute*
//! attribute = length u16 | kind u16 | bytes or attribute*
//! ```
//!
//! Written by hand because we need a dozen messages, in one round trip each, from threads without
//! a runtime; the numbers are those of the kernel's `linux/netlink.h`.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;

/// Creates; fails if it exists.
pub(crate) const CREATE_NEW: u16 = 0x400 | 0x200;
/// Creates; whatever exists stays.
pub(crate) const CREATE: u16 = 0x400;
/// Creates, or changes what exists.
pub(crate) const REPLACE: u16 = 0x400 | 0x100;
/// Adds at the end of a list.
pub(crate) const APPEND: u16 = 0x800;

/// A request under construction.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    optional: bool,
}

impl Message {
    /// Begins a message that the kernel acknowledges.
    pub(crate) fn new(kind: u16, flags: u16, header: &[u8]) -> Message {
        Self::silent(kind, flags | NLM_F_ACK, header)
    }

    /// Begins a message that the kernel does not answer unless it is wrong.
    pub(crate) fn silent(kind: u16, flags: u16, header: &[u8]) -> Message {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(header);
        pad(&mut bytes);
        Message { bytes, optional: false }
    }

    /// Lets the request fail without consequence.
    pub(crate) fn optional(mut self) -> Message {
        self.optional = true;
        self
    }

    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Message {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(start);
        self
    }

    pub(crate) fn string(self, kind: u16, value: &str) -> Message {
        let mut terminated = value.as_bytes().to_vec();
        terminated.push(0);
        self.bytes(kind, &terminated)
    }

    pub(crate) fn u32(self, kind: u16, value: u32) -> Message {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// As netfilter wants its numbers.
    pub(crate) fn be32(self, kind: u16, value: u32) -> Message {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Appends an attribute that `fill` fills with others.
    pub(crate) fn nest(mut self, kind: u16, fill: impl FnOnce(Message) -> Message) -> Message {
        let start = self.open(kind | NLA_F_NESTED);
        let mut filled = fill(self);
        filled.close(start);
        filled
    }

    /// Appends bytes that are no attribute: a header in the midst, as veth has one.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Message {
        self.bytes.extend_from_slice(bytes);
        pad(&mut self.bytes);
        self
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.bytes.len() - start).expect("our attributes are short");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        pad(&mut self.bytes);
    }

    fn is_acknowledged(&self) -> bool {
        u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) & NLM_F_ACK != 0
    }

    fn seal(&mut self, extra_flags: u16, sequence: u32) {
        let length = u32::try_from(self.bytes.len()).expect("our messages are short");
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | extra_flags;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One message of an answer, without the netlink header.
#[derive(Debug, Clone)]
pub(crate) struct Reply(Vec<u8>);

impl Reply {
    /// Returns the first `N` bytes, the header of its family.
    pub(crate) fn header<const N: usize>(&self) -> Option<[u8; N]> {
        self.0.first_chunk().copied()
    }

    /// Returns the attributes after a header of `length` bytes.
    pub(crate) fn attributes(&self, length: usize) -> impl Iterator<Item = (u16, &[u8])> {
        attributes(self.0.get(length..).unwrap_or_default())
    }
}

/// Returns the attributes in `bytes`; ends early where they are malformed.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, _) = bytes.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Reads a string attribute.
pub(crate) fn text(value: &[u8]) -> &str {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).unwrap_or_default()
}

/// Reads a number attribute of the routing family.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// A netlink socket; belongs for ever to the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: Cell<u32>,
}

/// The kernel answers at once; this only keeps a bug from hanging a build.
const PATIENCE: Duration = Duration::from_secs(10);

impl Socket {
    /// Opens one for links, addresses and routes in the namespace of the calling thread.
    pub(crate) fn route() -> Result<Socket, Errno> {
        Self::open(None)
    }

    /// Opens one for packet filters in the namespace of the calling thread.
    pub(crate) fn netfilter() -> Result<Socket, Errno> {
        Self::open(Some(netlink::NETFILTER))
    }

    /// Opens one that also hears of each IPv4 route that comes or goes.
    pub(crate) fn route_events() -> Result<Socket, Errno> {
        const RTMGRP_IPV4_ROUTE: u32 = 0x40;
        let socket = Self::open(None)?;
        rustix::net::bind(&socket.fd, &netlink::SocketAddrNetlink::new(0, RTMGRP_IPV4_ROUTE))?;
        Ok(socket)
    }

    /// Waits until something has happened or `patience` is over.
    pub(crate) fn wait(&self, patience: Duration) -> Result<(), Errno> {
        let patience = rustix::time::Timespec::try_from(patience).map_err(|_| Errno::INVAL)?;
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        if rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&patience)))? > 0 {
            self.receive()?;
        }
        Ok(())
    }

    fn open(protocol: Option<rustix::net::Protocol>) -> Result<Socket, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(Socket { fd, sequence: Cell::new(0) })
    }

    /// Sends `messages` in one datagram and returns the first failure that matters.
    pub(crate) fn request(&self, messages: Vec<Message>) -> Result<(), Errno> {
        let first = self.sequence.get() + 1;
        let optional: Vec<bool> = messages.iter().map(|message| message.optional).collect();
        let mut waiting = messages.iter().filter(|message| message.is_acknowledged()).count();
        self.send(messages, 0)?;
        while waiting > 0 {
            for (kind, _, sequence, payload) in self.receive()?.iter() {
                // Answers to an earlier request that failed half-way.
                let Some(index) = sequence.checked_sub(first) else { continue };
                if kind == NLMSG_ERROR {
                    waiting = waiting.saturating_sub(1);
                    let tolerated = optional.get(index as usize).copied().unwrap_or(false);
                    error(payload).or_else(|errno| if tolerated { Ok(()) } else { Err(errno) })?;
                }
            }
        }
        Ok(())
    }

    /// Sends one message and returns its answer.
    pub(crate) fn ask(&self, message: Message) -> Result<Reply, Errno> {
        let expected = self.sequence.get() + 1;
        self.send(vec![message], 0)?;
        loop {
            for (kind, _, sequence, payload) in self.receive()?.iter() {
                match kind {
                    _ if sequence != expected => {}
                    NLMSG_ERROR => error(payload)?,
                    _ => return Ok(Reply(payload.to_vec())),
                }
            }
        }
    }

    /// Asks for a list; asks again if it changed in the meantime.
    pub(crate) fn dump(&self, message: &Message) -> Result<Vec<Reply>, Errno> {
        for _ in 0..10 {
            if let Some(replies) = self.dump_once(message.clone())? {
                return Ok(replies);
            }
        }
        Err(Errno::AGAIN)
    }

    fn dump_once(&self, message: Message) -> Result<Option<Vec<Reply>>, Errno> {
        let expected = self.sequence.get() + 1;
        self.send(vec![message], NLM_F_DUMP)?;
        let mut replies = Vec::new();
        let mut interrupted = false;
        loop {
            for (kind, flags, sequence, payload) in self.receive()?.iter() {
                if sequence != expected {
                    continue;
                }
                interrupted |= flags & NLM_F_DUMP_INTR != 0;
                match kind {
                    NLMSG_DONE => return Ok((!interrupted).then_some(replies)),
                    NLMSG_ERROR => error(payload)?,
                    _ => replies.push(Reply(payload.to_vec())),
                }
            }
        }
    }

    fn send(&self, messages: Vec<Message>, extra_flags: u16) -> Result<(), Errno> {
        let mut datagram = Vec::new();
        for mut message in messages {
            self.sequence.set(self.sequence.get() + 1);
            message.seal(extra_flags, self.sequence.get());
            datagram.extend_from_slice(&message.bytes);
        }
        rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, &datagram, SendFlags::empty())).map(drop)
    }

    fn receive(&self) -> Result<Datagram, Errno> {
        // The kernel fills at most 32 KiB of a dump at a time.
        let mut buffer = vec![0; 64 << 10];
        let (length, _) =
            rustix::io::retry_on_intr(|| rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::empty()))?;
        buffer.truncate(length);
        Ok(Datagram(buffer))
    }
}

struct Datagram(Vec<u8>);

impl Datagram {
    /// Returns kind, flags, sequence and payload of each message.
    fn iter(&self) -> impl Iterator<Item = (u16, u16, u32, &[u8])> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (head, _) = rest.split_first_chunk::<HEADER>()?;
            let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let payload = rest.get(HEADER..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            let half = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
            let sequence = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
            Some((half(4), half(6), sequence, payload))
        })
    }
}

/// Reads the answer to a request: zero is an acknowledgement.
fn error(payload: &[u8]) -> Result<(), Errno> {
    match payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) {
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw_os_error(-code)),
        None => Err(Errno::BADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_the_way_there_and_back() {
        let message = Message::new(1, 0, &[9; 4])
            .string(3, "eth0")
            .nest(4, |message| message.u32(1, 7).bytes(2, b"abc"))
            .be32(5, 1);
        let reply = Reply(message.bytes[HEADER..].to_vec());
        let found: Vec<_> = reply.attributes(4).collect();
        assert_eq!(found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(text(found[0].1), "eth0");
        let inner: Vec<_> = attributes(found[1].1).collect();
        assert_eq!(inner, [(1, &7_u32.to_ne_bytes()[..]), (2, &b"abc"[..])]);
        assert_eq!(found[2].1, [0, 0, 0, 1]);
    }

    #[test]
    fn malformed_input_ends() {
        for bytes in [&[][..], &[1, 0], &[0; 8], &[3, 0, 1, 0], &[200, 0, 1, 0, 5], &[255; 40]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
            assert_eq!(Datagram(bytes.to_vec()).iter().count(), 0, "{bytes:?}");
        }
    }
}
