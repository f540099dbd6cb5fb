use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use rbuild_store::{CacheMount, CacheMountRequest, PruneOptions, Sharing};

fn take(store: &Store, requests: &[(&str, Sharing)]) -> Result<Vec<Arc<CacheMount>>> {
    let requests: Vec<CacheMountRequest> = requests
        .iter()
        .map(|(id, sharing)| CacheMountRequest { id: (*id).to_owned(), sharing: *sharing, reset: false })
        .collect();
    store.cache_mounts().acquire(&requests, |_, _| anyhow::Ok(()))
}

#[test]
fn modes_share_as_they_say() -> Result<()> {
    let fixture = Fixture::new()?;
    let store = &fixture.store;
    let first = take(store, &[("m", Sharing::Shared)])?;
    let second = take(&store.session(), &[("m", Sharing::Shared), ("n", Sharing::Locked), ("m", Sharing::Shared)])?;
    assert_eq!(first[0].path(), second[0].path());
    assert_eq!(second[0].path(), second[2].path());
    assert_ne!(second[0].path(), second[1].path());
    let private = take(store, &[("m", Sharing::Private)])?;
    assert_ne!(private[0].path(), first[0].path());
    let in_use = store.usage()?.records.iter().filter(|record| record.in_use).count();
    assert_eq!(in_use, 3);
    store.prune(&PruneOptions::default())?;
    assert_eq!(store.usage()?.records.len(), 3, "mounts in use stay");
    drop((first, second, private));
    let again = take(store, &[("m", Sharing::Private)])?;
    assert!(again[0].path().ends_with("0/data"));
    drop(again);
    assert_eq!(store.prune(&PruneOptions::default())?.records.len(), 3);
    assert_eq!(left(store)?, (0, 0, 0));
    Ok(())
}

#[test]
fn locked_excludes_and_keeps_its_content() -> Result<()> {
    let fixture = Fixture::new()?;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|n| {
                let root = fixture.root();
                scope.spawn(move || -> Result<()> {
                    let store = Store::open(root)?;
                    for _ in 0..10 {
                        // Names in different order must not lead to a deadlock.
                        let ids = if n % 2 == 0 { ["x", "y"] } else { ["y", "x"] };
                        let mounts = take(&store, &[(ids[0], Sharing::Locked), (ids[1], Sharing::Locked)])?;
                        let counter = mounts[usize::from(n % 2 != 0)].path().join("counter");
                        let count: u32 = std::fs::read_to_string(&counter).unwrap_or_default().parse().unwrap_or(0);
                        std::fs::write(&counter, (count + 1).to_string())?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })?;
    let mounts = take(&fixture.store, &[("x", Sharing::Shared)])?;
    assert_eq!(std::fs::read_to_string(mounts[0].path().join("counter"))?, "80");
    Ok(())
}

#[test]
fn is_seeded_once_and_reset_when_asked() -> Result<()> {
    let fixture = Fixture::new()?;
    let seeds = AtomicUsize::new(0);
    let get = |reset| -> Result<bool> {
        let request = CacheMountRequest { id: "m".to_owned(), sharing: Sharing::Shared, reset };
        let mounts = fixture.store.cache_mounts().acquire(&[request], |_, path| {
            seeds.fetch_add(1, Ordering::Relaxed);
            std::fs::write(path.join("seed"), "x")?;
            anyhow::Ok(())
        })?;
        let had = mounts[0].path().join("mine").exists();
        assert!(mounts[0].path().join("seed").exists());
        std::fs::write(mounts[0].path().join("mine"), "x")?;
        Ok(had)
    };
    assert!(!get(false)?);
    assert!(get(false)?);
    assert!(!get(true)?);
    assert!(get(false)?);
    assert_eq!(seeds.load(Ordering::Relaxed), 2);
    let request = CacheMountRequest { id: "failing".to_owned(), sharing: Sharing::Locked, reset: false };
    let failed = fixture.store.cache_mounts().acquire(std::slice::from_ref(&request), |_, path| {
        std::fs::write(path.join("half"), "x")?;
        anyhow::bail!("no source")
    });
    assert!(failed.is_err());
    let mounts = fixture.store.cache_mounts().acquire(&[request], |_, path| {
        anyhow::ensure!(std::fs::read_dir(path)?.count() == 0, "half a seed is no beginning");
        Ok(())
    })?;
    drop(mounts);
    Ok(())
}

#[test]
fn pruning_beside_use_loses_nothing_in_use() -> Result<()> {
    let fixture = Fixture::new()?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pruner = scope.spawn(|| -> Result<()> {
            let store = Store::open(fixture.root())?;
            while !done.load(Ordering::Relaxed) {
                store.prune(&PruneOptions::default())?;
            }
            Ok(())
        });
        let used = (0..200).try_for_each(|n| -> Result<()> {
            let sharing = [Sharing::Shared, Sharing::Private, Sharing::Locked][n % 3];
            let mounts = take(&fixture.store, &[("m", sharing)])?;
            let file = mounts[0].path().join("file");
            std::fs::write(&file, "x")?;
            std::thread::sleep(Duration::from_micros(200));
            anyhow::ensure!(file.exists());
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        used.and(pruner.join().expect("no panic"))
    })
}

#[test]
fn locks_by_name() -> Result<()> {
    use rbuild_store::LockMode::{Exclusive, Shared};
    let fixture = Fixture::new()?;
    let store = &fixture.store;
    let held = store.lock("step-sha256:abc", Exclusive)?;
    assert!(store.try_lock("step-sha256:abc", Shared)?.is_none());
    assert!(store.try_lock("other", Exclusive)?.is_some());
    drop(held);
    let readers = (store.lock("step-sha256:abc", Shared)?, store.lock("step-sha256:abc", Shared)?);
    assert!(store.try_lock("step-sha256:abc", Exclusive)?.is_none());
    drop(readers);
    let counter = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let _held = store.lock("counter", Exclusive).expect("the directory is there");
                    let seen = counter.load(Ordering::Relaxed);
                    std::thread::yield_now();
                    counter.store(seen + 1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(counter.into_inner(), 400);
    assert_eq!(std::fs::metadata(store.root().join("locks"))?.len(), 0);
    Ok(())
}

/// Whoever comes while a shared mount is seeded shares it afterwards, and does not wait until it is left.
#[test]
fn shared_mounts_are_shared_from_the_start() -> Result<()> {
    let fixture = Fixture::new()?;
    for round in 0..20 {
        let id = format!("m{round}");
        let begun = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let late = scope.spawn(|| {
                begun.wait();
                take(&fixture.store.session(), &[(&id, Sharing::Shared)]).map(drop)
            });
            let request = CacheMountRequest { id: id.clone(), sharing: Sharing::Shared, reset: false };
            let held = fixture.store.cache_mounts().acquire(&[request], |_, _| {
                begun.wait();
                std::thread::yield_now();
                anyhow::Ok(())
            })?;
            late.join().expect("no panic")?;
            drop(held);
            Ok::<_, anyhow::Error>(())
        })?;
    }
    Ok(())
}
