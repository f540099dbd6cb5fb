//! Giving up cache by itself: the rules of the configuration, carried out soon after the start and after builds.

use std::sync::Arc;
use std::time::Duration;

use rbuild_store::Store;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::Gc;
use crate::log::Log;
use crate::usage::{self, UsageError};

/// The least time between two rounds.
const PAUSE: Duration = Duration::from_secs(60);

/// Carries out rules when it is woken; clones wake the same one.
#[derive(Debug, Clone)]
pub struct Collector {
    store: Store,
    gc: Arc<Gc>,
    wake: Arc<Notify>,
}

impl Collector {
    /// Prepares the rules for a store; the first round is due at once.
    pub fn new(store: Store, gc: Gc) -> Self {
        let wake = Arc::new(Notify::new());
        wake.notify_one();
        Self { store, gc: Arc::new(gc), wake }
    }

    /// Asks for a round, such as after a build.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Carries out all rules once; returns how many bytes were given up. Blocks.
    ///
    /// # Errors
    /// If the store fails.
    pub fn round(&self) -> Result<u64, UsageError> {
        let rules = self.gc.rules(usage::disk(&self.store)?.total);
        let mut bytes = 0;
        for rule in &rules {
            let given_up = usage::carry_out(&self.store, rule)?;
            bytes += given_up.iter().filter_map(|record| u64::try_from(record.size).ok()).sum::<u64>();
        }
        Ok(bytes)
    }

    /// Carries out the rules whenever it is woken, but not more often than each minute, until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken, log: Log) {
        if !self.gc.enabled {
            return;
        }
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = stop.cancelled() => return,
            }
            let collector = self.clone();
            match tokio::task::spawn_blocking(move || collector.round()).await {
                Ok(Ok(0)) | Err(_) => {}
                Ok(Ok(bytes)) => log.debug(format_args!("{bytes} bytes of cache were given up")),
                Ok(Err(error)) => log.warning(format_args!("giving up cache: {error}")),
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GcPolicy, Space};

    #[test]
    fn rules_are_carried_out() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let context = store.contexts_dir().join("one");
        std::fs::write(&context, vec![b'x'; 9000]).unwrap();
        let rule = |filter: &str| GcPolicy {
            filters: vec![filter.to_owned()],
            max_used: Some(Space::Bytes(1)),
            ..GcPolicy::default()
        };
        for (policy, gone) in [(rule("type==regular"), false), (rule("type==source.local"), true)] {
            let gc = Gc { policies: vec![policy], ..Gc::default() };
            let bytes = Collector::new(store.clone(), gc).round().unwrap();
            assert_eq!((bytes > 0, context.exists()), (gone, !gone));
        }
        assert_eq!(Collector::new(store, Gc { enabled: false, ..Gc::default() }).round().unwrap(), 0);
    }
}
