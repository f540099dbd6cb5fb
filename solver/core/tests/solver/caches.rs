//! One suite for all storages: whatever is done to them, they agree with the one in memory.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rbuild_oci::Digest;
use rbuild_solver::{CacheStorage, Change, Key, Link, MemoryCache, NewRecord, Origin, Others, SqliteCache, Via};

/// Something done to a cache. Keys are small numbers, links go from less to greater.
#[derive(Debug, Clone)]
enum Deed {
    Commit { links: Vec<(u8, u8, bool)>, records: Vec<u8>, replace: bool },
    Forget(u8, u8),
    Touch(Vec<u8>),
    Remove(Vec<u8>),
}

const KEYS: u8 = 8;

fn deed() -> impl Strategy<Value = Deed> {
    let key = || 0..KEYS;
    let link = (0..KEYS - 1, 1..KEYS, any::<bool>())
        .prop_map(|(source, step, selected)| (source, (source + step).clamp(source + 1, KEYS - 1), selected));
    prop_oneof![
        4 => (prop::collection::vec(link, 0..4), prop::collection::vec(key(), 0..2), prop::bool::weighted(0.3))
            .prop_map(|(links, records, replace)| Deed::Commit { links, records, replace }),
        1 => (key(), 0..3_u8).prop_map(|(key, result)| Deed::Forget(key, result)),
        1 => prop::collection::vec(key(), 0..3).prop_map(Deed::Touch),
        1 => prop::collection::vec(key(), 0..3).prop_map(Deed::Remove),
    ]
}

/// The first two are roots, one of them a content.
fn key(number: u8) -> Key {
    let digest = Digest::of(&[number]);
    if number == 1 { Key::content(&digest) } else { Key::root(&digest, 0) }
}

fn origin(number: u8) -> Origin {
    let operation = Digest::of(&[number]);
    match number {
        0 => Origin::Root { operation, output: 0 },
        1 => Origin::Content(operation),
        _ => Origin::Derived { operation, output: 1 },
    }
}

fn via(selected: bool) -> Via {
    let selector = selected.then(|| Digest::of(b"/path"));
    Via { operation: Digest::of(b"operation"), input: 1, selector, output: 2 }
}

fn perform(cache: &dyn CacheStorage, deed: &Deed, step: usize) -> Option<usize> {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1000 + step as u64);
    let keys = |numbers: &[u8]| numbers.iter().map(|number| key(*number)).collect::<Vec<_>>();
    match deed {
        Deed::Commit { links, records, replace } => {
            let ends = links.iter().flat_map(|(source, target, _)| [*source, *target]).chain(records.iter().copied());
            let link = |(source, target, selected): &(u8, u8, bool)| Link {
                source: key(*source),
                via: via(*selected),
                target: key(*target),
            };
            let record = |number: &u8| NewRecord {
                key: key(*number),
                result: vec![step as u8 % 3],
                size: step.is_multiple_of(2).then_some(step as u64),
                description: format!("step {step}"),
            };
            let change = Change {
                origins: ends.map(|number| (key(number), origin(number))).collect(),
                links: links.iter().map(link).collect(),
                others: if *replace { Others::Replace } else { Others::Keep },
                records: records.iter().map(record).collect(),
                at,
            };
            cache.commit(&change).unwrap();
        }
        Deed::Forget(number, result) => cache.forget(&key(*number), &[*result]).unwrap(),
        Deed::Touch(numbers) => cache.touch(&keys(numbers), at).unwrap(),
        Deed::Remove(numbers) => return Some(cache.remove(&keys(numbers)).unwrap()),
    }
    None
}

fn assert_same(ours: &dyn CacheStorage, reference: &dyn CacheStorage) {
    let ways: Vec<_> =
        (0..KEYS).flat_map(|number| [true, false].map(|selected| (key(number), via(selected)))).collect();
    let sorted = |cache: &dyn CacheStorage| {
        let mut targets = cache.follow(&ways).unwrap();
        targets.iter_mut().for_each(|targets| targets.sort());
        targets
    };
    assert_eq!(sorted(ours), sorted(reference));
    assert_eq!(ours.records().unwrap(), reference.records().unwrap());
    assert_eq!(ours.count().unwrap(), reference.count().unwrap());
    for number in 0..KEYS {
        assert_eq!(ours.record(&key(number)).unwrap(), reference.record(&key(number)).unwrap());
        assert_eq!(ours.origin(&key(number)).unwrap(), reference.origin(&key(number)).unwrap());
        assert_eq!(ours.links_to(&key(number)).unwrap(), reference.links_to(&key(number)).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_storages_agree(deeds in prop::collection::vec(deed(), 1..24)) {
        let sqlite = SqliteCache::new(rusqlite::Connection::open_in_memory().unwrap()).unwrap();
        let memory = MemoryCache::new();
        for (step, deed) in deeds.iter().enumerate() {
            assert_eq!(perform(&sqlite, deed, step), perform(&memory, deed, step));
            assert_same(&sqlite, &memory);
        }
    }
}

#[test]
fn what_was_committed_is_there_for_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.sqlite");
    let (one, two) = (SqliteCache::open(&path).unwrap(), SqliteCache::open(&path).unwrap());
    let deed = Deed::Commit { links: vec![(0, 2, true)], records: vec![2], replace: false };
    perform(&one, &deed, 0);
    assert_same(&one, &two);
    drop((one, two));
    let again = SqliteCache::open(&path).unwrap();
    assert_eq!(again.record(&key(2)).unwrap(), Some(vec![0]));
}

#[test]
fn many_may_create_it_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.sqlite");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let path = &path;
            scope.spawn(move || {
                let cache = SqliteCache::open(path).unwrap();
                for step in 0..20 {
                    perform(
                        &cache,
                        &Deed::Commit { links: vec![(0, 2, false)], records: vec![number], replace: true },
                        step,
                    );
                }
            });
        }
    });
    assert!(SqliteCache::open(&path).unwrap().count().unwrap().records >= 1);
}

#[test]
fn a_newer_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.sqlite");
    drop(SqliteCache::open(&path).unwrap());
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE cache_version SET version = 99", []).unwrap();
    let error = SqliteCache::open(&path).unwrap_err();
    assert!(error.to_string().starts_with("the cache database has version 99"), "{error}");
}
