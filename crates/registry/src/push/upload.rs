//! The body of an upload: a source read by its own thread, watched so that a stall is noticed.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::{Progress, Source};

/// Bytes read at once.
const PIECE: usize = 256 << 10;
/// Pieces read ahead of the network.
const AHEAD: usize = 4;
/// A registry may take this many idle times to digest an upload before it answers.
const DIGESTION: u32 = 3;

/// A part of a source, to be sent as a request's body.
#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) progress: Arc<Mutex<Progress>>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({}+{})", self.offset, self.length)
    }
}

/// What is known of an upload under way.
#[derive(Debug)]
struct State {
    sent: u64,
    moved: Instant,
    error: Option<io::Error>,
}

/// An upload under way.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    length: u64,
    state: Arc<Mutex<State>>,
}

impl Upload {
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Starts to read; returns the body and what watches it.
    pub(crate) fn start(&self) -> (reqwest::Body, Running) {
        let state = State { sent: 0, moved: Instant::now(), error: None };
        let running = Running { length: self.length, state: Arc::new(Mutex::new(state)) };
        let (sender, receiver) = mpsc::channel(AHEAD);
        let upload = self.clone();
        tokio::task::spawn_blocking(move || upload.read_all(&sender));
        let (offset, progress) = (self.offset, Arc::clone(&self.progress));
        let pieces = stream::unfold((receiver, running.clone()), move |(mut receiver, running)| {
            let progress = Arc::clone(&progress);
            async move {
                let piece = running.note(receiver.recv().await?);
                progress.lock().unwrap_or_else(PoisonError::into_inner).reach(offset + running.state().sent);
                Some((piece, (receiver, running)))
            }
        });
        (reqwest::Body::wrap_stream(pieces), running)
    }

    /// Reads until the end, an error, or nobody listens.
    fn read_all(&self, sender: &mpsc::Sender<io::Result<Bytes>>) {
        let mut left = self.length;
        let mut reader = match self.source.open(self.offset) {
            Ok(reader) => reader,
            Err(error) => {
                // A receiver that is gone wants no error either.
                drop(sender.blocking_send(Err(error)));
                return;
            }
        };
        while left > 0 {
            let piece = read_piece(&mut *reader, left);
            let failed = piece.is_err();
            left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    }
}

fn read_piece(reader: &mut dyn Read, left: u64) -> io::Result<Bytes> {
    let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
    let mut piece = vec![0; want];
    let mut filled = 0;
    while filled < want {
        match reader.read(&mut piece[filled..]) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "shorter than its descriptor says")),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(piece.into())
}

impl Running {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, piece: io::Result<Bytes>) -> io::Result<Bytes> {
        let mut state = self.state();
        state.moved = Instant::now();
        match piece {
            Ok(piece) => {
                state.sent += piece.len() as u64;
                Ok(piece)
            }
            Err(error) => {
                let shown = io::Error::new(error.kind(), "reading the source");
                state.error = Some(error);
                Err(shown)
            }
        }
    }

    /// Returns when this upload counts as stalled unless it moves before.
    pub(crate) fn deadline(&self, idle: Duration) -> Instant {
        let state = self.state();
        state.moved + if state.sent >= self.length { idle * DIGESTION } else { idle }
    }

    /// Returns the error of the source, if that is what ended the upload.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.state().error.take()
    }
}
