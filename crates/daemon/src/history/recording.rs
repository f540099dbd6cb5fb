//! A build while it runs, as the history sees it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use prost::Message;
use rbuild_buildkit_api::control::{BuildHistoryRecord, BuildResultInfo, Descriptor, StatusResponse};
use rbuild_buildkit_api::rpc;
use rbuild_store::Store;

use super::log::{Writer, descriptor};
use super::trace::{self, Steps};
use super::{History, HistoryError};

/// The media type under which BuildKit stores errors with their details; spelled as there.
const ERROR: &str = "application/vnd.googeapis.google.rpc.status+proto";

/// How a build ended.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Why it failed, with all details.
    pub error: Option<rpc::Status>,
    /// What the client is answered.
    pub exporter_response: BTreeMap<String, String>,
    /// What came of it without a platform: results by exporter, attestations.
    pub result: Option<BuildResultInfo>,
    /// What came of it by platform.
    pub results: BTreeMap<String, BuildResultInfo>,
}

/// A build that runs. Dropped before it is finished, nothing is remembered of it.
#[derive(Debug)]
pub struct Recording {
    history: History,
    record: BuildHistoryRecord,
    log: Option<Writer>,
    steps: Steps,
    /// Holds the blobs of the record until the record does.
    session: Store,
    /// Whether it is among the builds that run.
    listed: bool,
}

impl Recording {
    pub(super) fn new(history: History, record: BuildHistoryRecord) -> Result<Self, HistoryError> {
        let session = history.shared.store.session();
        let log = Some(Writer::new(&session)?);
        Ok(Self { history, record, log, steps: Steps::default(), session, listed: false })
    }

    /// Takes note that the build is among those that run, and has to be taken from them in the end.
    pub(super) fn listed(&mut self) {
        self.listed = true;
    }

    /// Returns the build's name.
    pub fn reference(&self) -> &str {
        &self.record.r#ref
    }

    /// Adds what the build reports to its log. Short: writes to a buffered file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn push(&mut self, status: &StatusResponse) -> Result<(), HistoryError> {
        self.steps.push(status);
        self.log.as_mut().map_or(Ok(()), |log| log.push(status))
    }

    /// Stores something that belongs to the record, such as an attestation, for the outcome to name.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub fn attach(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, HistoryError> {
        let digest = self.session.blobs().put(bytes)?;
        Ok(descriptor(media_type, digest, bytes.len() as u64))
    }

    /// Makes the record of the build; clients can ask for it at once. Blocks.
    ///
    /// # Errors
    /// If the store fails; then nothing is remembered.
    pub fn finish(mut self, outcome: Outcome) -> Result<BuildHistoryRecord, HistoryError> {
        let log = self.log.take().map(Writer::finish).transpose()?;
        let record = &mut self.record;
        if let Some((log, counts)) = log {
            record.logs = Some(log);
            record.num_total_steps = counts.total;
            record.num_completed_steps = counts.completed;
            record.num_cached_steps = counts.cached;
            record.num_warnings = counts.warnings;
        }
        record.exporter_response = outcome.exporter_response;
        record.result = outcome.result;
        record.results = outcome.results;
        if let Some(mut error) = outcome.error {
            let bytes = error.encode_to_vec();
            let digest = self.session.blobs().put(&bytes)?;
            record.external_error = Some(descriptor(ERROR, digest, bytes.len() as u64));
            // The details are in the blob.
            error.details.clear();
            record.error = Some(error);
        }
        let completed = SystemTime::now().into();
        record.completed_at = Some(completed);
        let error = record.error.as_ref().map(|error| error.message.as_str());
        let trace = self.steps.trace(&record.r#ref, record.created_at.unwrap_or(completed), completed, error);
        let digest = self.session.blobs().put(&trace)?;
        record.trace = Some(descriptor(trace::MEDIA_TYPE, digest, trace.len() as u64));
        self.listed = false;
        self.history.end(&self.record.r#ref, Some(&self.record))?;
        Ok(self.record.clone())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.listed {
            // Without a record there is nothing that could fail.
            let _ = self.history.end(&self.record.r#ref, None);
        }
    }
}
