//! The history of builds: what runs, what has run, and how it went.
//!
//! ```text
//!   begin ─▶ Recording ──push──▶ log (a file that grows)          listeners ◀─ started, complete, deleted
//!                │ finish
//!                ▼
//!   one transaction: record (a row) + pins of its blobs: log, error, attestations, results with their manifests
//! ```
//!
//! A build that runs is known to this process only: after a kill nothing is left of it. Records are messages of the
//! protocol, kept as bytes; the log is a blob of BuildKit's format, which clients read as such ([`log`]).

mod error;
mod filter;
mod keep;
pub mod log;
mod recording;
mod rows;
mod trace;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::stream::{self, BoxStream, StreamExt};
use rbuild_buildkit_api::control::{
    BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildHistoryRequest, UpdateBuildHistoryRequest,
};
use rbuild_store::Store;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::config::HistoryLimits;

pub use error::HistoryError;
pub use recording::{Outcome, Recording};
pub use rows::OWNER;

use filter::Filters;

/// How often old records are looked for.
const SWEEP: Duration = Duration::from_secs(120);
/// How many events a slow listener may be behind.
const BACKLOG: usize = 1024;
/// How many builds run at once at most.
const MAX_ACTIVE: usize = 10_000;
/// Longest name of a build.
const MAX_REF: usize = 256;

/// The history of builds; clones share it.
#[derive(Debug, Clone)]
pub struct History {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    limits: HistoryLimits,
    /// Records of builds that run.
    active: Mutex<BTreeMap<String, BuildHistoryRecord>>,
    events: broadcast::Sender<BuildHistoryEvent>,
}

/// What a listener is given.
pub type Events = BoxStream<'static, Result<BuildHistoryEvent, Status>>;

impl History {
    /// Opens the history that the store keeps.
    ///
    /// # Errors
    /// If the store fails.
    pub fn open(store: &Store, limits: HistoryLimits) -> Result<Self, HistoryError> {
        let store = store.session();
        rows::prepare(&store)?;
        let (events, _) = broadcast::channel(BACKLOG);
        Ok(Self { shared: Arc::new(Shared { store, limits, active: Mutex::default(), events }) })
    }

    /// Records that a build begins. `record` says what is asked for; when it began is added if it does not say so.
    ///
    /// # Errors
    /// If its name is empty, too long or that of a build that runs, or the store fails.
    pub fn begin(&self, mut record: BuildHistoryRecord) -> Result<Recording, HistoryError> {
        if record.r#ref.is_empty() || record.r#ref.len() > MAX_REF {
            return Err(HistoryError::Name);
        }
        record.created_at.get_or_insert_with(|| SystemTime::now().into());
        let mut recording = Recording::new(self.clone(), record.clone())?;
        let mut active = self.active();
        if active.contains_key(&record.r#ref) {
            return Err(HistoryError::Running(record.r#ref));
        }
        if active.len() >= MAX_ACTIVE {
            return Err(HistoryError::TooMany);
        }
        active.insert(record.r#ref.clone(), record.clone());
        self.tell(BuildHistoryEventType::Started, record);
        recording.listed();
        Ok(recording)
    }

    /// Returns the record of a finished build.
    ///
    /// # Errors
    /// If the store fails.
    pub fn get(&self, reference: &str) -> Result<Option<BuildHistoryRecord>, HistoryError> {
        rows::get(&self.shared.store, reference)
    }

    /// Returns the records of finished builds, the oldest first.
    ///
    /// # Errors
    /// If the store fails.
    pub fn list(&self) -> Result<Vec<BuildHistoryRecord>, HistoryError> {
        rows::list(&self.shared.store)
    }

    /// Returns whether a build of this name runs.
    pub fn is_running(&self, reference: &str) -> bool {
        self.active().contains_key(reference)
    }

    /// Returns what a finished build has reported, for `Status` to say again; none if there is no such build.
    ///
    /// # Errors
    /// If the store fails.
    pub fn replay(&self, reference: &str) -> Result<Option<log::Replay>, HistoryError> {
        let Some(record) = self.get(reference)? else { return Ok(None) };
        log::Replay::open(&self.shared.store, record.logs.as_ref()).map(Some)
    }

    /// Answers `ListenBuildHistory`: what runs, what has run, and unless it asks for an early exit what happens from
    /// now on, until `stop` is cancelled.
    ///
    /// # Errors
    /// If the request is at fault, or the store fails.
    pub fn listen(&self, request: &BuildHistoryRequest, stop: CancellationToken) -> Result<Events, HistoryError> {
        let filters = Filters::parse(&request.filter, SystemTime::now())?;
        let limit = usize::try_from(request.limit).map_err(|_| HistoryError::Limit(request.limit))?;
        let wanted = request.r#ref.clone();
        let is_wanted = move |record: &BuildHistoryRecord| wanted.is_empty() || record.r#ref == wanted;
        let active = self.active();
        let later = self.shared.events.subscribe();
        let mut events: Vec<BuildHistoryEvent> = active
            .values()
            .filter(|record| is_wanted(record))
            .map(|record| event(BuildHistoryEventType::Started, record.clone()))
            .collect();
        drop(active);
        if !request.active_only {
            let finished: Vec<_> = self.list()?.into_iter().filter(|record| is_wanted(record)).collect();
            let finished = filters.select(finished, limit);
            events.extend(finished.into_iter().map(|record| event(BuildHistoryEventType::Complete, record)));
        }
        let now = stream::iter(events.into_iter().map(Ok));
        if request.early_exit {
            return Ok(now.boxed());
        }
        let later = stream::unfold(later, |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((Ok(event), receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let status = Status::resource_exhausted("the listener is too slow: listen again");
                    Some((Err(status), receiver.resubscribe()))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        let later = later.filter(move |event| {
            let keep = event.as_ref().map_or(true, |event| event.record.as_ref().is_some_and(&is_wanted));
            std::future::ready(keep)
        });
        Ok(now.chain(later).take_until(stop.cancelled_owned()).boxed())
    }

    /// Carries out `UpdateBuildHistory`. Blocks: what a deleted record kept is freed.
    ///
    /// # Errors
    /// If there is no such build, or the store fails.
    pub fn update(&self, request: &UpdateBuildHistoryRequest) -> Result<(), HistoryError> {
        let reference = request.r#ref.as_str();
        if request.delete {
            if !self.delete(reference)? {
                return Err(HistoryError::Unknown(reference.to_owned()));
            }
            self.shared.store.collect()?;
            return Ok(());
        }
        if request.finalize {
            // Records are complete as soon as they are there.
            return Ok(());
        }
        let pinned = request.pinned;
        let changed = rows::change(&self.shared.store, reference, |record| record.pinned = pinned)?;
        let record = changed.ok_or_else(|| HistoryError::Unknown(reference.to_owned()))?;
        self.tell(BuildHistoryEventType::Complete, record);
        Ok(())
    }

    /// Forgets records beyond the limits of age and number; returns how many. Blocks.
    ///
    /// # Errors
    /// If the store fails.
    pub fn sweep(&self, now: SystemTime) -> Result<usize, HistoryError> {
        let HistoryLimits { max_age, max_entries } = self.shared.limits;
        let oldest = now.checked_sub(max_age).unwrap_or(SystemTime::UNIX_EPOCH);
        let names = rows::beyond(&self.shared.store, max_entries, oldest)?;
        for name in &names {
            self.delete(name)?;
        }
        if !names.is_empty() {
            self.shared.store.collect()?;
        }
        Ok(names.len())
    }

    /// Forgets old records from time to time until `stop` is cancelled.
    pub async fn keep_swept(self, stop: CancellationToken, log: crate::log::Log) {
        while !stop.is_cancelled() {
            let history = self.clone();
            let swept = tokio::task::spawn_blocking(move || history.sweep(SystemTime::now())).await;
            if let Ok(Err(error)) = swept {
                log.warning(format_args!("forgetting old builds: {error}"));
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn delete(&self, reference: &str) -> Result<bool, HistoryError> {
        let deleted = rows::delete(&self.shared.store, reference)?;
        if deleted {
            let record = BuildHistoryRecord { r#ref: reference.to_owned(), ..BuildHistoryRecord::default() };
            self.tell(BuildHistoryEventType::Deleted, record);
        }
        Ok(deleted)
    }

    /// Makes a running build a finished one, or forgets it.
    fn end(&self, reference: &str, record: Option<&BuildHistoryRecord>) -> Result<(), HistoryError> {
        // Whoever begins to listen meanwhile finds it running or finished, never neither.
        let mut active = self.active();
        let stored = record.map_or(Ok(()), |record| rows::put(&self.shared.store, record));
        active.remove(reference);
        match record.filter(|_| stored.is_ok()) {
            Some(record) => self.tell(BuildHistoryEventType::Complete, record.clone()),
            None => {
                let record = BuildHistoryRecord { r#ref: reference.to_owned(), ..BuildHistoryRecord::default() };
                self.tell(BuildHistoryEventType::Deleted, record);
            }
        }
        stored
    }

    fn tell(&self, kind: BuildHistoryEventType, record: BuildHistoryRecord) {
        // Nobody has to listen.
        let _ = self.shared.events.send(event(kind, record));
    }

    fn active(&self) -> MutexGuard<'_, BTreeMap<String, BuildHistoryRecord>> {
        self.shared.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(kind: BuildHistoryEventType, record: BuildHistoryRecord) -> BuildHistoryEvent {
    BuildHistoryEvent { r#type: kind.into(), record: Some(record) }
}

#[cfg(test)]
mod tests;
