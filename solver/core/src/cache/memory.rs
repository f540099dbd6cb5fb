//! A cache that ends with the process.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::cache::renewal::former_names;
use crate::cache::{CacheError, CacheStorage, Change, Count, Others, Record};
use crate::key::{Key, Link, Origin, Via};

/// A cache in memory; the plainest statement of what a [`CacheStorage`] does.
#[derive(Debug, Default)]
pub struct MemoryCache(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    origins: BTreeMap<Key, Origin>,
    links: BTreeSet<Link>,
    records: BTreeMap<Key, Record>,
}

impl MemoryCache {
    /// Returns an empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheStorage for MemoryCache {
    fn follow(&self, ways: &[(Key, Via)]) -> Result<Vec<Vec<Key>>, CacheError> {
        let state = self.state();
        Ok(ways.iter().map(|(source, via)| state.targets(source, via)).collect())
    }

    fn record(&self, key: &Key) -> Result<Option<Vec<u8>>, CacheError> {
        Ok(self.state().records.get(key).map(|record| record.result.clone()))
    }

    fn commit(&self, change: &Change) -> Result<(), CacheError> {
        let mut state = self.state();
        state.origins.extend(change.origins.iter().copied());
        state.links.extend(change.links.iter().copied());
        if change.others == Others::Replace {
            state.replace(&change.links);
        }
        for new in &change.records {
            let use_count = state.records.get(&new.key).map_or(0, |record| record.use_count);
            let record = Record {
                key: new.key,
                result: new.result.clone(),
                size: new.size,
                description: new.description.clone(),
                created_at: change.at,
                last_used_at: change.at,
                use_count,
            };
            state.records.insert(new.key, record);
        }
        Ok(())
    }

    fn forget(&self, key: &Key, result: &[u8]) -> Result<(), CacheError> {
        let mut state = self.state();
        if state.records.get(key).is_some_and(|record| record.result == result) {
            state.records.remove(key);
        }
        Ok(())
    }

    fn touch(&self, keys: &[Key], at: SystemTime) -> Result<(), CacheError> {
        let mut state = self.state();
        for key in keys {
            if let Some(record) = state.records.get_mut(key) {
                record.last_used_at = at;
                record.use_count += 1;
            }
        }
        Ok(())
    }

    fn records(&self) -> Result<Vec<Record>, CacheError> {
        let mut records: Vec<_> = self.state().records.values().cloned().collect();
        records.sort_by_key(|record| (record.last_used_at, record.key));
        Ok(records)
    }

    fn remove(&self, keys: &[Key]) -> Result<usize, CacheError> {
        let mut state = self.state();
        let before = state.records.len();
        for key in keys {
            state.records.remove(key);
        }
        while state.sweep() {}
        Ok(before - state.records.len())
    }

    fn origin(&self, key: &Key) -> Result<Option<Origin>, CacheError> {
        Ok(self.state().origins.get(key).copied())
    }

    fn links_to(&self, key: &Key) -> Result<Vec<Link>, CacheError> {
        Ok(self.state().links_to(*key))
    }

    fn count(&self) -> Result<Count, CacheError> {
        let state = self.state();
        Ok(Count {
            keys: state.origins.len() as u64,
            links: state.links.len() as u64,
            records: state.records.len() as u64,
        })
    }
}

impl State {
    fn targets(&self, source: &Key, via: &Via) -> Vec<Key> {
        let first = Link { source: *source, via: *via, target: Key::from_bytes([0; 32]) };
        let same_way = |link: &&Link| link.source == *source && link.via == *via;
        self.links.range(first..).take_while(same_way).map(|link| link.target).collect()
    }

    /// Lets what led to former names of the targets of `links` lead to the targets.
    fn replace(&mut self, links: &[Link]) {
        let Ok(former) = former_names(links, |source, via| Ok::<_, Infallible>(self.targets(source, via)));
        for (old, new) in former {
            let onward = self.cut(old);
            for link in self.links_to(old) {
                self.links.remove(&link);
                self.links.insert(Link { target: new, ..link });
            }
            self.drop_unreachable(onward);
        }
    }

    fn links_to(&self, key: Key) -> Vec<Link> {
        self.links.iter().filter(|link| link.target == key).copied().collect()
    }

    /// Removes all about a key except what leads to it; returns where it led, as what input.
    fn cut(&mut self, key: Key) -> Vec<(Key, u32)> {
        self.records.remove(&key);
        self.origins.remove(&key);
        let onward = self.links.iter().filter(|link| link.source == key).map(|link| (link.target, link.via.input));
        let onward: BTreeSet<_> = onward.collect();
        self.links.retain(|link| link.source != key);
        onward.into_iter().collect()
    }

    /// Removes the `candidates` that can no longer be found because nothing leads to them as that
    /// input, and so on to what could be found only through them.
    fn drop_unreachable(&mut self, mut candidates: Vec<(Key, u32)>) {
        while let Some((key, input)) = candidates.pop() {
            let leading = self.links_to(key);
            if leading.iter().any(|link| link.via.input == input) {
                continue;
            }
            candidates.extend(self.cut(key));
            for link in leading {
                self.links.remove(&link);
                let source = link.source;
                let is_used = self.links.iter().any(|link| link.source == source || link.target == source);
                if !is_used && !self.records.contains_key(&source) {
                    self.origins.remove(&source);
                }
            }
        }
    }

    /// Removes one round of what leads nowhere or cannot be reached; returns whether there was any.
    fn sweep(&mut self) -> bool {
        let before = (self.links.len(), self.records.len(), self.origins.len());
        let sources: BTreeSet<Key> = self.links.iter().map(|link| link.source).collect();
        let targets: BTreeSet<Key> = self.links.iter().map(|link| link.target).collect();
        let derived = |key: &Key| matches!(self.origins.get(key), Some(Origin::Derived { .. }));
        let adrift = |key: &Key| derived(key) && !targets.contains(key);
        self.records.retain(|key, _| !adrift(key));
        self.links.retain(|link| {
            let of_use = self.records.contains_key(&link.target) || sources.contains(&link.target);
            of_use && !adrift(&link.source)
        });
        let linked = |key: &Key| sources.contains(key) || targets.contains(key);
        let used: BTreeSet<Key> = self.origins.keys().copied().filter(linked).collect();
        self.origins.retain(|key, _| used.contains(key) || self.records.contains_key(key));
        before != (self.links.len(), self.records.len(), self.origins.len())
    }
}
