//! Sending a tree: names first, contents as they are asked for.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use futures::{Stream, StreamExt};
use rbuild_tree::entry::LinkId;
use rbuild_tree::{FileTree, Kind as NodeKind, Node};
use tokio::sync::mpsc;
use tonic::Status;

use super::TransferError;
use super::mode::{self, to_go};
use super::wire::{Kind, Packet, Stat};

/// Threads that read files.
const READERS: usize = 4;
/// The most content in one packet.
const CHUNK: usize = 32 << 10;

/// What a tree looks like to the receiver.
#[derive(Clone)]
pub(crate) struct Outgoing {
    /// The tree.
    pub(crate) tree: Arc<dyn FileTree>,
    /// Whether all files are said to belong to root.
    pub(crate) as_root: bool,
}

/// Files that were announced and not asked for yet, by number.
type Offered = Arc<Mutex<HashMap<u32, Node>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a tree. `outgoing` reaches the receiver, `incoming` comes from it.
///
/// # Errors
/// If the tree cannot be read, or the receiver fails or misbehaves.
pub(crate) async fn send(
    outgoing_tree: Outgoing,
    incoming: impl Stream<Item = Result<Packet, Status>> + Send,
    outgoing: mpsc::Sender<Packet>,
) -> Result<(), TransferError> {
    let offered = Offered::default();
    let (ask, asked) = std::sync::mpsc::channel::<(u32, Node)>();
    let asked = Arc::new(Mutex::new(asked));
    let mut work = tokio::task::JoinSet::new();
    let walk = Walk {
        what: outgoing_tree.clone(),
        offered: offered.clone(),
        outgoing: outgoing.clone(),
        count: 0,
        links: HashMap::new(),
    };
    work.spawn_blocking(move || walk.run());
    for _ in 0..READERS {
        let (tree, asked, outgoing) = (outgoing_tree.tree.clone(), asked.clone(), outgoing.clone());
        work.spawn_blocking(move || {
            loop {
                let next = lock(&asked).recv();
                let Ok((id, node)) = next else { return Ok(()) };
                send_file(&*tree, id, &node, &outgoing)?;
            }
        });
    }
    let served = serve(incoming, &offered, ask, &outgoing, &mut work).await;
    if let Err(error) = &served {
        let _ = outgoing.send(Packet::error(&error.line())).await;
    }
    served
}

/// Answers requests until the receiver has everything; fails with the first thread that does.
async fn serve(
    incoming: impl Stream<Item = Result<Packet, Status>> + Send,
    offered: &Offered,
    ask: std::sync::mpsc::Sender<(u32, Node)>,
    outgoing: &mpsc::Sender<Packet>,
    work: &mut tokio::task::JoinSet<Result<(), TransferError>>,
) -> Result<(), TransferError> {
    let mut incoming = std::pin::pin!(incoming);
    loop {
        let packet = tokio::select! {
            Some(ended) = work.join_next() => {
                ended.unwrap_or(Err(TransferError::Protocol("a thread that reads panicked")))?;
                continue;
            }
            packet = incoming.next() => packet.ok_or(TransferError::Ended)??,
        };
        match Kind::try_from(packet.kind) {
            Ok(Kind::Req) => {
                let node = lock(offered).remove(&packet.id);
                let node = node.ok_or(TransferError::Protocol("a request for a file that is not there"))?;
                ask.send((packet.id, node)).map_err(|_| TransferError::Ended)?;
            }
            Ok(Kind::Fin) => {
                let _ = outgoing.send(Packet::fin()).await;
                return Ok(());
            }
            Ok(Kind::Err) => return Err(TransferError::Peer(packet.text())),
            Ok(Kind::Stat | Kind::Data) | Err(_) => {
                return Err(TransferError::Protocol("a sender was sent a name or content"));
            }
        }
    }
}

/// A walk through a tree that announces all names.
struct Walk {
    what: Outgoing,
    offered: Offered,
    outgoing: mpsc::Sender<Packet>,
    count: u32,
    /// The first name of each file that has several.
    links: HashMap<LinkId, Vec<u8>>,
}

impl Walk {
    fn run(mut self) -> Result<(), TransferError> {
        let mut todo = VecDeque::from(self.what.tree.children(Path::new(""))?);
        while let Some(node) = todo.pop_front() {
            let directory = node.metadata.kind.is_directory().then(|| node.path.clone());
            self.announce(node)?;
            if let Some(path) = directory {
                for child in self.what.tree.children(&path)?.into_iter().rev() {
                    todo.push_front(child);
                }
            }
        }
        self.packet(Packet::stat(None))
    }

    fn packet(&self, packet: Packet) -> Result<(), TransferError> {
        self.outgoing.blocking_send(packet).map_err(|_| TransferError::Ended)
    }

    fn announce(&mut self, node: Node) -> Result<(), TransferError> {
        let mut stat = stat_of(&node, self.what.as_root);
        let id = self.count;
        self.count += 1;
        if let Some(link) = node.link.filter(|_| node.metadata.kind.is_file()) {
            match self.links.get(&link) {
                Some(first) => stat.linkname.clone_from(first),
                None => drop(self.links.insert(link, stat.path.clone())),
            }
        }
        if node.metadata.kind.is_file() && stat.linkname.is_empty() {
            lock(&self.offered).insert(id, node);
        }
        self.packet(Packet::stat(Some(stat)))
    }
}

fn stat_of(node: &Node, as_root: bool) -> Stat {
    let metadata = &node.metadata;
    let mut stat = Stat {
        path: node.path.as_os_str().as_bytes().to_vec(),
        size: i64::try_from(metadata.size).unwrap_or(i64::MAX),
        mod_time: metadata
            .mtime
            .seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime.nanoseconds.into()),
        ..Stat::default()
    };
    if !as_root {
        (stat.uid, stat.gid) = (metadata.uid, metadata.gid);
    }
    let kind = match &metadata.kind {
        NodeKind::File | NodeKind::Socket => mode::Kind::File,
        NodeKind::Directory => mode::Kind::Directory,
        NodeKind::Symlink(target) => {
            stat.linkname = target.as_os_str().as_bytes().to_vec();
            mode::Kind::Symlink
        }
        NodeKind::Fifo => mode::Kind::Fifo,
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
            (stat.devmajor, stat.devminor) = (device.major.into(), device.minor.into());
            let is_char = matches!(metadata.kind, NodeKind::CharDevice(_));
            if is_char { mode::Kind::CharDevice } else { mode::Kind::BlockDevice }
        }
    };
    stat.mode = to_go(kind, metadata.mode);
    // Names that are no text cannot be said.
    let text = metadata.xattrs.iter().filter_map(|(name, value)| Some((String::from_utf8(name.clone()).ok()?, value)));
    stat.xattrs = text.map(|(name, value)| (name, value.clone())).collect();
    stat
}

fn send_file(tree: &dyn FileTree, id: u32, node: &Node, outgoing: &mpsc::Sender<Packet>) -> Result<(), TransferError> {
    let packet = |packet| outgoing.blocking_send(packet).map_err(|_| TransferError::Ended);
    let mut content = tree.open(node)?;
    // One byte more than a small file has, to see its end at once.
    let room = usize::try_from(node.metadata.size).unwrap_or(CHUNK).saturating_add(1).min(CHUNK);
    loop {
        let mut chunk = BytesMut::zeroed(room);
        let length = fill(&mut content, &mut chunk).map_err(TransferError::io("reading", &node.path))?;
        chunk.truncate(length);
        if length > 0 {
            packet(Packet::data(id, chunk.freeze()))?;
        }
        if length < room {
            return packet(Packet::data(id, bytes::Bytes::new()));
        }
    }
}

/// Reads until the buffer is full or nothing is left.
fn fill(content: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match content.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
