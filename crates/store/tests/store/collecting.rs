use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use rbuild_store::{CacheMountRequest, Filter, ImagePrune, LockMode, Options, PruneOptions, Sharing, Usage};

const EVERYTHING: PruneOptions =
    PruneOptions { all: true, images: ImagePrune::Unused, until: None, keep_storage: None, filters: Vec::new() };

/// Checks that the records add up to what the directories of content really take.
fn measured(store: &Store) -> Result<Usage> {
    let usage = store.usage()?;
    let mut real = 0;
    for (name, depth) in [("oci/blobs/sha256", 1), ("layers", 2), ("cachemounts", 2), ("contexts", 1)] {
        let mut level = vec![store.root().join(name)];
        for _ in 0..depth {
            let mut below = Vec::new();
            for path in level {
                below.extend(
                    std::fs::read_dir(path)?
                        .map(|entry| entry.map(|entry| entry.path()))
                        .collect::<Result<Vec<_>, _>>()?,
                );
            }
            level = below;
        }
        for path in level {
            real += disk_usage(&path)?;
        }
    }
    assert_eq!(usage.total, real);
    Ok(usage)
}

#[test]
fn frees_exactly_what_nothing_else_uses() -> Result<()> {
    let mut fixture = Fixture::new()?;
    let store = &fixture.store;
    let (base, app, other) = (layer(store, "base")?, layer(store, "app")?, layer(store, "other")?);
    let one = image(store, "one", &[base, app], &["one"])?;
    image(store, "two", &[base, other], &["two"])?;
    result(store, "cached", &[base, app])?;
    fixture.reopen()?;
    let before = measured(&fixture.store)?;
    assert_eq!(fixture.store.collect()?.bytes, 0, "everything is used");
    fixture.store.images().remove(&one)?;
    let freed = fixture.store.collect()?;
    assert_eq!(freed.records.len(), 2, "configuration and manifest; a result has the layers: {freed:?}");
    fixture.store.results().remove("cached")?;
    let more = fixture.store.collect()?;
    assert_eq!(more.records.iter().map(|record| record.id.clone()).collect::<Vec<_>>(), [format!("layer/{app}")]);
    let after = measured(&fixture.store)?;
    assert_eq!(before.total - after.total, freed.bytes + more.bytes);
    assert!(fixture.store.layers().get(base)?.tree.is_some());
    assert!(fixture.store.layers().get(app).is_err());
    Ok(())
}

#[test]
fn nothing_is_left_after_pruning_everything() -> Result<()> {
    let mut fixture = Fixture::new()?;
    let store = &fixture.store;
    let (a, b) = (layer(store, "a")?, layer(store, "b")?);
    image(store, "one", &[a, b], &["one"])?;
    result(store, "r", &[a])?;
    let unfinished = store.layers().create(&NewLayer::default())?;
    std::fs::create_dir_all(store.root().join(format!("layers/{unfinished}/fs/below")))?;
    let request = CacheMountRequest { id: "m".to_owned(), sharing: Sharing::Shared, reset: false };
    let mounts = store.cache_mounts().acquire(&[request], |_, _| anyhow::Ok(()))?;
    std::fs::write(mounts[0].path().join("big"), vec![0; 100_000])?;
    drop(mounts);
    std::fs::write(store.contexts_dir().join("memory"), vec![0; 10_000])?;
    std::fs::write(store.root().join("partial").join("0".repeat(64)), "left")?;
    std::fs::write(store.root().join("oci/blobs/sha256").join("1".repeat(64)), "stray")?;
    std::fs::create_dir(store.root().join("layers/4711"))?;
    fixture.reopen()?;
    let before = fixture.store.usage()?.total;
    let freed = fixture.store.prune(&EVERYTHING)?;
    assert_eq!(left(&fixture.store)?, (0, 0, 0));
    let usage = measured(&fixture.store)?;
    assert_eq!((usage.total, usage.records.len()), (0, 0));
    assert!(freed.bytes >= before && usage.overhead < 1 << 20, "{} {before}", freed.bytes);
    assert!(disk_usage(fixture.root())? < 1 << 20);
    Ok(())
}

#[test]
fn what_a_session_uses_stays() -> Result<()> {
    let fixture = Fixture::new()?;
    let store = &fixture.store;
    let made = layer(store, "made")?;
    let blob = store.blobs().put(b"made")?;
    let other = Store::open(fixture.root())?;
    other.prune(&EVERYTHING)?;
    assert!(store.layers().get(made)?.tree.is_some() && store.blobs().has(&blob)?);

    image(store, "one", &[made], &["one"])?;
    result(store, "r", &[made])?;
    let user = store.session();
    user.images().resolve("one")?;
    user.results().load("r")?;
    drop(fixture.store);
    other.prune(&EVERYTHING)?;
    assert_eq!(other.images().list()?.len(), 1);
    assert!(other.results().get("r")?.is_some());
    assert!(other.usage()?.records.iter().any(|record| record.in_use));
    assert!(!other.blobs().has(&blob)?, "the session that made it is over");
    let root = fixture.directory.path().join("store");
    drop(user);
    Store::open(&root)?.prune(&EVERYTHING)?;
    drop(other);
    assert_eq!(left(&Store::open(&root)?)?, (0, 0, 0));
    Ok(())
}

#[test]
fn a_spare_moment_clears_up_after_a_failed_build() -> Result<()> {
    let mut fixture = Fixture::new()?;
    let kept = layer(&fixture.store, "kept")?;
    result(&fixture.store, "kept", &[kept])?;
    layer(&fixture.store, "of a build that failed")?;
    let failing = fixture.store.layers().create(&NewLayer::default())?;
    drop(fixture.store.layers().begin_tree(failing)?);
    fixture.reopen()?;
    fixture.store.maintain()?;
    assert_eq!(left(&fixture.store)?, (1, 1, 0));
    assert!(fixture.store.layers().get(kept)?.tree.is_some());
    Ok(())
}

#[test]
fn what_a_pruning_process_clears_up_is_left_to_it() -> Result<()> {
    let fixture = Fixture::new()?;
    let trash = fixture.root().join("trash/one");
    std::fs::write(&trash, "")?;
    let pruning = fixture.store.lock("prune", LockMode::Exclusive)?;
    fixture.store.tidy(true)?;
    assert!(trash.exists());
    drop(pruning);
    fixture.store.tidy(true)?;
    assert!(!trash.exists());
    Ok(())
}

#[test]
fn pins_outlive_sessions() -> Result<()> {
    let mut fixture = Fixture::new()?;
    let id = layer(&fixture.store, "a")?;
    fixture.store.layers().pin("container/1", &[id])?;
    fixture.reopen()?;
    fixture.store.prune(&EVERYTHING)?;
    assert!(fixture.store.layers().get(id)?.tree.is_some());
    fixture.store.layers().unpin("container/1")?;
    fixture.store.collect()?;
    assert!(fixture.store.layers().get(id).is_err());
    Ok(())
}

static MINUTES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1000);

fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(60 * MINUTES.load(std::sync::atomic::Ordering::Relaxed))
}

#[test]
fn the_least_used_goes_first() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let store = Store::open_with(directory.path(), Options { clock })?;
    let wait = |minutes| MINUTES.fetch_add(minutes, std::sync::atomic::Ordering::Relaxed);
    let base = layer(&store, "base")?;
    let tops: Vec<LayerId> = (0..4).map(|n| layer(&store, &format!("top {n}"))).collect::<Result<_>>()?;
    result(&store, "base", &[base])?;
    for (n, top) in tops.iter().enumerate() {
        wait(10);
        result(&store, &format!("r{n}"), &[base, *top])?;
    }
    wait(10);
    store.results().load("r0")?;
    drop(store);
    let store = Store::open_with(directory.path(), Options { clock })?;
    let usage = store.usage()?;
    let one = usage.records[1].size;
    let ids = || {
        Ok::<_, anyhow::Error>(
            Store::open(directory.path())?.results().list()?.into_iter().map(|r| r.id).collect::<HashSet<_>>(),
        )
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<HashSet<String>>();

    let keep = PruneOptions { keep_storage: Some(usage.total - one), ..PruneOptions::default() };
    assert_eq!(store.prune(&keep)?.bytes, one);
    assert_eq!(
        ids()?,
        set(&["base", "r0", "r2", "r3"]),
        "r1 is the oldest unused; base frees nothing while others use it"
    );
    assert_eq!(store.prune(&keep)?.bytes, 0);

    let old = PruneOptions { until: Some(Duration::from_secs(25 * 60)), ..PruneOptions::default() };
    assert_eq!(store.prune(&old)?.bytes, 0, "base is shared with younger results, so its layer stays");
    assert_eq!(ids()?, set(&["r0", "r2", "r3"]));

    let named = PruneOptions { filters: vec![Filter::Description("r2".to_owned())], ..PruneOptions::default() };
    assert_eq!(store.prune(&named)?.bytes, one);
    image(&store, "i", &[base, tops[0]], &["i"])?;
    drop(store);
    let store = Store::open_with(directory.path(), Options { clock })?;
    store.prune(&PruneOptions::default())?;
    assert_eq!(ids()?, set(&["r0"]), "what images share is kept unless all is asked for");
    store.prune(&PruneOptions { all: true, ..PruneOptions::default() })?;
    assert_eq!(ids()?, set(&[]));
    assert!(store.layers().get(tops[0]).is_ok(), "the image has it");
    assert!(store.layers().get(tops[3]).is_err());
    Ok(())
}

#[test]
fn filters_are_read_or_refused() -> Result<()> {
    for (text, want) in [
        ("type=regular", Filter::Kind(Kind::Regular)),
        ("type==exec.cachemount", Filter::Kind(Kind::CacheMount)),
        ("type!=source.local", Filter::NotKind(Kind::Local)),
        ("id=abc", Filter::Id("abc".to_owned())),
        ("description~=RUN a=b", Filter::Description("RUN a=b".to_owned())),
        ("inuse", Filter::InUse(true)),
        ("private", Filter::Shared(false)),
        ("mutable", Filter::Mutable(true)),
    ] {
        assert_eq!(Filter::parse(text)?, want);
    }
    for bad in ["", "type=nonsense", "mutability", "until=24h", "size>1"] {
        assert!(Filter::parse(bad).is_err(), "{bad}");
    }
    Ok(())
}

#[test]
fn images_are_pruned_as_asked() -> Result<()> {
    let mut fixture = Fixture::new()?;
    image(&fixture.store, "named", &[layer(&fixture.store, "a")?], &["named"])?;
    image(&fixture.store, "dangling", &[layer(&fixture.store, "b")?], &[])?;
    fixture.reopen()?;
    let count = |images| -> Result<usize> {
        fixture.store.prune(&PruneOptions { images, ..PruneOptions::default() })?;
        Ok(fixture.store.images().list()?.len())
    };
    assert_eq!(count(ImagePrune::None)?, 2);
    assert_eq!(count(ImagePrune::Dangling)?, 1);
    assert_eq!(count(ImagePrune::Unused)?, 0);
    Ok(())
}

#[test]
fn removes_what_is_deep_long_and_forbidden() -> Result<()> {
    let fixture = Fixture::new()?;
    let top = fixture.directory.path().join("top");
    std::fs::create_dir(&top)?;
    let mut directory =
        rustix::fs::open(&top, rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::PATH, rustix::fs::Mode::empty())?;
    let long = "d".repeat(200);
    for _ in 0..500 {
        rustix::fs::mkdirat(&directory, &long, rustix::fs::Mode::RWXU)?;
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::PATH;
        directory = rustix::fs::openat(&directory, &long, flags, rustix::fs::Mode::empty())?;
    }
    assert!(disk_usage(&top)? > 0);
    std::fs::create_dir(top.join("work"))?;
    std::fs::write(top.join("work/file"), "x")?;
    std::os::unix::fs::symlink(fixture.directory.path(), top.join("work/link"))?;
    std::fs::set_permissions(top.join("work"), std::fs::Permissions::from_mode(0o000))?;
    fixture.store.discard(&top)?;
    assert!(!top.exists());
    fixture.store.discard(&top)?;
    fixture.store.maintain()?;
    assert_eq!(std::fs::read_dir(fixture.root().join("trash"))?.count(), 0);
    assert!(fixture.root().exists());
    Ok(())
}

#[test]
fn check_finds_what_would_be_trusted() -> Result<()> {
    let fixture = Fixture::new()?;
    let store = &fixture.store;
    let (a, b) = (layer(store, "a")?, layer(store, "b")?);
    let id = image(store, "one", &[a], &["one"])?;
    result(store, "r", &[b])?;
    assert_eq!(store.check(false)?, []);
    let config = store.blobs().path(&id.0);
    std::fs::remove_file(&config)?;
    std::fs::write(&config, "CONFIG of one")?;
    for layer in [a, b] {
        store.layers().discard_tree(layer)?;
    }
    std::fs::remove_file(store.blobs().path(&store.layers().get(b)?.blobs[0].descriptor.digest))?;
    let problems: Vec<String> = store.check(false)?.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 4, "{problems:?}");
    for part in ["has digest", "missing", &format!("layer {b}"), &format!("image {id}")] {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:?}");
    }
    store.check(true)?;
    assert_eq!(store.results().get("r")?, None);
    Ok(())
}
