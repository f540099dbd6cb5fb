//! Reading and hashing the stream on a thread of its own.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use rbuild_oci::{Digest, Hasher};

const BLOCK: usize = 256 * 1024;
/// Blocks that may wait.
const AHEAD: usize = 4;

type Block = io::Result<(Vec<u8>, usize)>;

/// What the hashing thread sends to.
pub(super) struct Feeder {
    blocks: SyncSender<Block>,
    used: Receiver<Vec<u8>>,
}

/// The stream as it comes from the hashing thread.
pub(super) struct Fed {
    blocks: Receiver<Block>,
    used: Sender<Vec<u8>>,
    block: Vec<u8>,
    position: usize,
    end: usize,
}

pub(super) fn feed() -> (Feeder, Fed) {
    let (blocks, receiver) = sync_channel(AHEAD);
    let (used, back) = channel();
    let fed = Fed { blocks: receiver, used, block: Vec::new(), position: 0, end: 0 };
    (Feeder { blocks, used: back }, fed)
}

impl Feeder {
    /// Reads `source` to its end; returns digest and length of what was read.
    pub(super) fn run(self, mut source: impl Read) -> (Digest, u64) {
        let mut hasher = Hasher::new();
        let mut total = 0;
        loop {
            let mut block = self.used.try_recv().unwrap_or_else(|_| vec![0; BLOCK]);
            let filled = fill(&mut source, &mut block);
            let end = !matches!(filled, Ok(BLOCK));
            if let Ok(length) = filled {
                hasher.update(&block[..length]);
                total += length as u64;
            }
            let gone = self.blocks.send(filled.map(|length| (block, length))).is_err();
            if end || gone {
                return (hasher.finish(), total);
            }
        }
    }
}

fn fill(source: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match source.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Read for Fed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.position == self.end {
            let Ok(next) = self.blocks.recv() else { return Ok(0) };
            let (block, end) = next?;
            let old = std::mem::replace(&mut self.block, block);
            if old.len() == BLOCK {
                // The feeder may have ended; then nobody wants it.
                let _ = self.used.send(old);
            }
            (self.position, self.end) = (0, end);
        }
        let take = buf.len().min(self.end - self.position);
        buf[..take].copy_from_slice(&self.block[self.position..self.position + take]);
        self.position += take;
        Ok(take)
    }
}
