//! The log of a build: its status messages one after another, each after its length.
//!
//! ```text
//!   u32 little-endian n ── n bytes: StatusResponse ── u32 … ── …          application/vnd.buildkit.status.v0
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};

use prost::Message;
use rbuild_buildkit_api::control::{Descriptor, StatusResponse};
use rbuild_oci::Digest;
use rbuild_store::{BlobReader, Ingest, Store};

use super::HistoryError;

/// The media type of logs.
pub const MEDIA_TYPE: &str = "application/vnd.buildkit.status.v0";
/// Largest part of a log.
const MOST_BYTES: usize = 16 << 20;
/// Largest log; what comes later is not kept.
const MOST_LOG: u64 = 512 << 20;
/// How many steps are told apart in counting.
const MOST_STEPS: usize = 1_000_000;

/// A log that grows.
#[derive(Debug)]
pub(super) struct Writer {
    ingest: Ingest,
    steps: BTreeMap<String, Step>,
    warnings: i32,
}

#[derive(Debug, Default)]
struct Step {
    cached: bool,
    completed: bool,
}

/// What a log says in numbers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) total: i32,
    pub(super) completed: i32,
    pub(super) cached: i32,
    pub(super) warnings: i32,
}

impl Writer {
    pub(super) fn new(store: &Store) -> Result<Self, HistoryError> {
        Ok(Self { ingest: store.blobs().ingest(None)?, steps: BTreeMap::new(), warnings: 0 })
    }

    pub(super) fn push(&mut self, status: &StatusResponse) -> Result<(), HistoryError> {
        self.count(status);
        let bytes = status.encode_to_vec();
        if bytes.len() > MOST_BYTES || self.ingest.written() + bytes.len() as u64 > MOST_LOG {
            return Ok(());
        }
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let written = self.ingest.write_all(&length).and_then(|()| self.ingest.write_all(&bytes));
        written.map_err(|error| self.ingest.explain(error).into())
    }

    fn count(&mut self, status: &StatusResponse) {
        self.warnings = self.warnings.saturating_add(i32::try_from(status.warnings.len()).unwrap_or(i32::MAX));
        for vertex in &status.vertexes {
            if self.steps.len() >= MOST_STEPS && !self.steps.contains_key(&vertex.digest) {
                continue;
            }
            let step = self.steps.entry(vertex.digest.clone()).or_default();
            step.cached |= vertex.cached;
            step.completed |= vertex.completed.is_some();
        }
    }

    /// Stores the log.
    pub(super) fn finish(self) -> Result<(Descriptor, Counts), HistoryError> {
        let count = |is: fn(&Step) -> bool| {
            i32::try_from(self.steps.values().filter(|step| is(step)).count()).unwrap_or(i32::MAX)
        };
        let counts = Counts {
            total: count(|_| true),
            completed: count(|step| step.completed),
            cached: count(|step| step.cached),
            warnings: self.warnings,
        };
        let size = self.ingest.written();
        let digest = self.ingest.commit()?;
        Ok((descriptor(MEDIA_TYPE, digest, size), counts))
    }
}

/// Returns a descriptor as the protocol has it.
pub(super) fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        annotations: BTreeMap::new(),
    }
}

/// What a finished build has reported, read piece by piece. Blocks: reads a file.
#[derive(Debug)]
pub struct Replay {
    reader: Option<std::io::BufReader<BlobReader>>,
}

impl Replay {
    pub(super) fn open(store: &Store, log: Option<&Descriptor>) -> Result<Self, HistoryError> {
        let digest = log.and_then(|log| log.digest.parse::<Digest>().ok());
        // The reader's own session keeps the log even if the record is deleted meanwhile.
        let reader = digest.map(|digest| store.session().blobs().reader(&digest)).transpose()?;
        Ok(Self { reader: reader.map(std::io::BufReader::new) })
    }

    fn read(&mut self) -> Result<Option<StatusResponse>, HistoryError> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let mut length = [0; 4];
        match reader.read_exact(&mut length) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read.map_err(HistoryError::Log)?,
        }
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > MOST_BYTES {
            return Err(HistoryError::Oversized(length));
        }
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).map_err(HistoryError::Log)?;
        let malformed = |source| HistoryError::Malformed { what: "the log of a build", source };
        StatusResponse::decode(bytes.as_slice()).map(Some).map_err(malformed)
    }
}

impl Iterator for Replay {
    type Item = Result<StatusResponse, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read().transpose();
        if matches!(read, Some(Err(_)) | None) {
            self.reader = None;
        }
        read
    }
}
