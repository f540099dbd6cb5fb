//! Receiving a tree into a directory.
//!
//! A thread works on the disk while packets still come. What it asks for is never held back: a sender that waits
//! for us to take content must not be one that we wait for to take requests.

use std::path::PathBuf;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use prost::Message as _;
use rbuild_tree::pattern::Matcher;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use super::TransferError;
use super::disk::Disk;
use super::wire::{Kind, Packet};

/// How many bytes of packets may wait for the disk.
const WAITING_BYTES: usize = 16 << 20;
/// How many packets may wait for the disk.
const WAITING: usize = 1024;
/// What a packet costs besides its content.
const OVERHEAD: usize = 256;

/// When a file that is there is taken to be the same.
pub(crate) use rbuild_ops::Differ;

/// How a tree is received.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReceiveOptions {
    /// When a file that is there is taken to be the same.
    pub(crate) differ: Differ,
    /// Only contents of files that match are wanted, of all others only the metadata.
    pub(crate) metadata_only: Option<Matcher>,
    /// What is there and not sent stays, and all files are sent.
    pub(crate) merge: bool,
    /// Whose all files become, whatever the sender says.
    pub(crate) owner: Option<(u32, u32)>,
}

/// A packet and its share of what may wait.
type Waiting = (Packet, OwnedSemaphorePermit);

/// Receives a tree into a directory, which then holds it and nothing else. `keep` is held until nothing is written
/// any more, also if nobody waits for the end. `progress` is told how many bytes came so far.
///
/// # Errors
/// If the sender fails or misbehaves, or the disk does; the directory then holds a part.
pub(crate) async fn receive<K: Send + 'static>(
    incoming: impl Stream<Item = Result<Packet, Status>> + Send,
    outgoing: mpsc::UnboundedSender<Packet>,
    directory: PathBuf,
    options: ReceiveOptions,
    keep: K,
    mut progress: impl FnMut(u64) + Send,
) -> Result<(), TransferError> {
    let (to_disk, from_net) = mpsc::channel(WAITING);
    let failures = outgoing.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let _keep = keep;
        let written = write(&directory, options, from_net, &outgoing);
        if let Err(error) = &written {
            let _ = outgoing.send(Packet::error(&error.line()));
        }
        written
    });
    let pumped = pump(incoming, to_disk, &mut progress).await;
    let written = writing.await.unwrap_or(Err(TransferError::Protocol("the thread that writes panicked")));
    if let Err(error) = &pumped {
        let _ = failures.send(Packet::error(&error.line()));
    }
    match (pumped, written) {
        // The disk's own trouble is the cause; that packets ended is what it saw of the connection's.
        (Err(error), Err(TransferError::Ended)) | (Ok(_), Err(error)) | (Err(error), Ok(())) => Err(error),
        (_, written) => written,
    }
}

/// Moves packets from the connection to the disk until the sender says that it is done.
async fn pump(
    incoming: impl Stream<Item = Result<Packet, Status>> + Send,
    to_disk: mpsc::Sender<Waiting>,
    progress: &mut (impl FnMut(u64) + Send),
) -> Result<(), TransferError> {
    let room = Arc::new(Semaphore::new(WAITING_BYTES));
    let mut incoming = std::pin::pin!(incoming);
    let mut received = 0;
    while let Some(packet) = incoming.next().await {
        let packet = packet?;
        let length = packet.data.len() + OVERHEAD;
        received += packet.encoded_len() as u64;
        progress(received);
        match Kind::try_from(packet.kind) {
            Ok(Kind::Stat | Kind::Data) => {}
            Ok(Kind::Fin) => return Ok(()),
            Ok(Kind::Err) => return Err(TransferError::Peer(packet.text())),
            Ok(Kind::Req) | Err(_) => return Err(TransferError::Protocol("a receiver was asked for content")),
        }
        let share = u32::try_from(length.min(WAITING_BYTES)).unwrap_or(u32::MAX);
        let Ok(permit) = room.clone().acquire_many_owned(share).await else { return Ok(()) };
        if to_disk.send((packet, permit)).await.is_err() {
            // The disk failed, and says why itself.
            return Ok(());
        }
    }
    Err(TransferError::Ended)
}

/// Works on the disk until all is there.
fn write(
    directory: &std::path::Path,
    options: ReceiveOptions,
    mut packets: mpsc::Receiver<Waiting>,
    outgoing: &mpsc::UnboundedSender<Packet>,
) -> Result<(), TransferError> {
    let mut disk = Disk::open(directory, options)?;
    while !disk.is_complete() {
        let (packet, _permit) = packets.blocking_recv().ok_or(TransferError::Ended)?;
        if packet.kind == i32::from(Kind::Data) {
            disk.data(packet.id, &packet.data)?;
        } else if let Some(id) = disk.announce(packet.stat)? {
            outgoing.send(Packet::request(id)).map_err(|_| TransferError::Ended)?;
        }
    }
    disk.finish()?;
    let _ = outgoing.send(Packet::fin());
    // The sender answers; what it sends besides has no place any more.
    match packets.blocking_recv() {
        None => Ok(()),
        Some(_) => Err(TransferError::Protocol("a packet after everything was there")),
    }
}
