//! What engine and init say to each other.
//!
//! The init finds a list of descriptor numbers in its first argument: the [`Launch`] as JSON in memory, the
//! control socket (packets), then groups, sources, handles and streams in this order.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use crate::step::Plan;

/// The whole task of an init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) plan: Plan,
    /// The seccomp filter, packed.
    pub(crate) filter: Vec<u64>,
    /// How many descriptors of each kind follow.
    pub(crate) groups: usize,
    pub(crate) sources: usize,
    pub(crate) handles: usize,
    /// Which standard streams are pipes whose ends follow.
    pub(crate) pipes: [bool; 3],
}

/// What an init reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The master of the terminal comes along.
    Terminal,
    /// The program is executed.
    Started,
    /// A step failed; counted from zero.
    Failed { step: usize, reason: String, hint: Option<String> },
    /// The program cannot be executed.
    NotExecuted { message: String, code: u8 },
    /// The program has ended and the box is clean.
    Ended { code: u8, signal: Option<i32>, complaints: Vec<String> },
}

/// Longest packet; longer messages are clipped before they are sent.
const PACKET: usize = 16 << 10;

/// Sends a report, perhaps with a descriptor.
pub(crate) fn send(to: impl AsFd, report: &Report, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = serde_json::to_vec(report)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    rustix::net::sendmsg(to, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Most descriptors of one packet that Linux takes (SCM_MAX_FD).
pub(crate) const MOST_DESCRIPTORS: usize = 253;

/// Sends a waiting init its descriptors.
pub(crate) fn hand_over(to: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > MOST_DESCRIPTORS {
        return Err(io::Error::from(rustix::io::Errno::TOOBIG));
    }
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    rustix::net::sendmsg(to, &[IoSlice::new(b"task")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for the descriptors of a task; `None` if the engine wants nothing any more.
pub(crate) fn take_over(from: impl AsFd) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut bytes = [0; 16];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(&from, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            result => break result?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let descriptors = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
        _ => Vec::new(),
    });
    Ok(Some(descriptors.collect()))
}

/// Receives a report; `None` if the other side is gone.
pub(crate) fn receive(from: impl AsFd) -> io::Result<Option<(Report, Option<OwnedFd>)>> {
    let mut bytes = vec![0; PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(&from, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            result => break result?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptor = descriptors.next().and_then(|mut found| found.next());
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptor)))
}

impl Report {
    /// Cuts long texts so that the report fits into a packet.
    pub(crate) fn clipped(mut self) -> Report {
        let clip = |text: &mut String| {
            if let Some((at, _)) = text.char_indices().nth(1000) {
                text.truncate(at);
                text.push('…');
            }
        };
        match &mut self {
            Report::Failed { reason, hint, .. } => {
                clip(reason);
                hint.iter_mut().for_each(clip);
            }
            Report::NotExecuted { message, .. } => clip(message),
            Report::Ended { complaints, .. } => {
                complaints.truncate(3);
                complaints.iter_mut().for_each(clip);
            }
            Report::Terminal | Report::Started => {}
        }
        self
    }
}
