//! Gzip in blocks, each a member of its own, compressed by several threads.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor};

use super::BLOCK;

/// How many blocks may wait for one worker.
const QUEUE: usize = 2;

/// Cuts its input into blocks, has them compressed, writes them in order.
pub(super) struct GzipBlocks<W> {
    out: W,
    level: CompressionLvl,
    block: Vec<u8>,
    workers: Workers,
    /// Blocks handed out and blocks written.
    sent: usize,
    received: usize,
}

/// Block number `n` goes to worker `n % count`, so each worker's answers come in order.
enum Workers {
    /// Compress on the caller's thread.
    Inline(Compressor),
    /// Not started: most layers never fill a block.
    Waiting(usize),
    Running(Vec<Worker>),
}

struct Worker {
    blocks: SyncSender<Vec<u8>>,
    members: Receiver<io::Result<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl<W: Write> GzipBlocks<W> {
    pub(super) fn new(out: W, level: i32, threads: usize) -> io::Result<Self> {
        let level = CompressionLvl::new(level).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let workers = if threads > 1 { Workers::Waiting(threads) } else { Workers::Inline(Compressor::new(level)) };
        Ok(Self { out, level, block: Vec::with_capacity(BLOCK), workers, sent: 0, received: 0 })
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let take = bytes.len().min(BLOCK - self.block.len());
            self.block.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.block.len() == BLOCK {
                self.send_block()?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        // No input at all still makes one member.
        if !self.block.is_empty() || self.sent == 0 {
            self.send_block()?;
        }
        while self.received < self.sent {
            self.write_next()?;
        }
        if let Workers::Running(workers) = self.workers {
            for Worker { blocks, thread, .. } in workers {
                drop(blocks);
                thread.join().map_err(|_| io::Error::other("a compression thread panicked"))?;
            }
        }
        Ok(self.out)
    }

    fn send_block(&mut self) -> io::Result<()> {
        if let Workers::Waiting(count) = self.workers {
            let started: io::Result<Vec<Worker>> = (0..count).map(|_| Worker::start(self.level)).collect();
            self.workers = Workers::Running(started?);
        }
        let in_flight = self.sent - self.received;
        match &mut self.workers {
            Workers::Inline(compressor) => {
                self.out.write_all(&member(compressor, &self.block)?)?;
                self.block.clear();
                self.received += 1;
            }
            Workers::Running(workers) => {
                if in_flight >= workers.len() * QUEUE {
                    self.write_next()?;
                }
                let Workers::Running(workers) = &self.workers else { unreachable!("workers never stop running") };
                let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
                let worker = &workers[self.sent % workers.len()];
                worker.blocks.send(block).map_err(|_| io::Error::other("a compression thread ended"))?;
            }
            Workers::Waiting(_) => unreachable!("workers were started above"),
        }
        self.sent += 1;
        Ok(())
    }

    /// Waits for the oldest block in flight and writes it.
    fn write_next(&mut self) -> io::Result<()> {
        let Workers::Running(workers) = &self.workers else { return Ok(()) };
        let worker = &workers[self.received % workers.len()];
        let member = worker.members.recv().map_err(|_| io::Error::other("a compression thread ended"))??;
        self.received += 1;
        self.out.write_all(&member)
    }
}

impl Worker {
    fn start(level: CompressionLvl) -> io::Result<Self> {
        let (blocks, input) = sync_channel::<Vec<u8>>(QUEUE);
        let (output, members) = sync_channel(QUEUE);
        let work = move || {
            let mut compressor = Compressor::new(level);
            for block in input {
                if output.send(member(&mut compressor, &block)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("gzip".to_owned()).spawn(work)?;
        Ok(Self { blocks, members, thread })
    }
}

fn member(compressor: &mut Compressor, block: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
    let length = compressor.gzip_compress(block, &mut member).map_err(io::Error::other)?;
    member.truncate(length);
    Ok(member)
}
