//! Processes that die and processes that compete. A child is this test binary, running one ignored test
//! that reads the store's path from standard input.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use rbuild_store::{CacheMountRequest, ImagePrune, LockMode, PruneOptions, Resumable, Sharing};

const EVERYTHING: PruneOptions =
    PruneOptions { all: true, images: ImagePrune::Unused, until: None, keep_storage: None, filters: Vec::new() };

fn spawn(test: &str, root: &Path) -> Result<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(root.to_str().expect("temporary paths are text").as_bytes())?;
    Ok(child)
}

fn root_from_stdin() -> Result<std::path::PathBuf> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text.into())
}

/// Makes and uses everything, over and over, until it is killed.
#[test]
#[ignore = "the body of a child process"]
fn child_working() -> Result<()> {
    let root = root_from_stdin()?;
    for round in 0.. {
        let store = Store::open(&root)?;
        let text = format!("{}-{round}", std::process::id());
        let id = layer(&store, &text)?;
        result(&store, &text, &[id])?;
        image(&store, &text, &[id], &["app"])?;
        let bytes = text.repeat(5000).into_bytes();
        if let Resumable::Resume(mut ingest) = store.blobs().ingest_resumable(&descriptor(&bytes))? {
            ingest.write_all(&bytes)?;
            ingest.commit()?;
        }
        let request = CacheMountRequest { id: "m".to_owned(), sharing: Sharing::Locked, reset: round % 5 == 0 };
        let mounts = store
            .cache_mounts()
            .acquire(&[request], |_, path| Ok::<_, anyhow::Error>(std::fs::write(path.join("x"), "x")?))?;
        drop(mounts);
        if round % 4 == 0 {
            store.prune(&EVERYTHING)?;
        }
    }
    Ok(())
}

/// Holds a lease, a lock, a half-written blob and a half-made tree, says so, and waits for its end.
#[test]
#[ignore = "the body of a child process"]
fn child_holding() -> Result<()> {
    let store = Store::open(&root_from_stdin()?)?;
    let id = layer(&store, "of the child")?;
    let unfinished = store.layers().create(&NewLayer::default())?;
    let _build = store.layers().begin_tree(unfinished)?;
    let mut ingest = store.blobs().ingest(None)?;
    ingest.write_all(&vec![1; 1 << 20])?;
    let _lock = store.lock("held", rbuild_store::LockMode::Exclusive)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\nholding {id}")?;
    stdout.flush()?;
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

#[test]
fn a_dead_process_holds_nothing() -> Result<()> {
    let fixture = Fixture::new()?;
    let mut child = spawn("processes::child_holding", fixture.root())?;
    let mut output = child.stdout.take().expect("it was asked for");
    let mut said = String::new();
    let mut byte = [0];
    while !said.contains("holding ") || !said.ends_with('\n') {
        anyhow::ensure!(output.read(&mut byte)? == 1, "the child ended: {said}");
        said.push(char::from(byte[0]));
    }
    let freed = fixture.store.prune(&EVERYTHING)?;
    assert!(freed.records.is_empty(), "a living process keeps what it made: {freed:?}");
    assert!(fixture.store.try_lock("held", rbuild_store::LockMode::Exclusive)?.is_none());
    child.kill()?;
    child.wait()?;
    let began = Instant::now();
    drop(fixture.store.lock("held", rbuild_store::LockMode::Exclusive)?);
    assert!(began.elapsed() < Duration::from_secs(1));
    fixture.store.prune(&EVERYTHING)?;
    assert_eq!(left(&fixture.store)?, (0, 0, 0));
    assert_eq!(std::fs::read_dir(fixture.root().join("leases"))?.count(), 0);
    Ok(())
}

#[test]
fn killed_at_any_moment_the_store_is_whole() -> Result<()> {
    let fixture = Fixture::new()?;
    for round in 0..30_u64 {
        let mut children =
            [spawn("processes::child_working", fixture.root())?, spawn("processes::child_working", fixture.root())?];
        std::thread::sleep(Duration::from_millis(15 + round * 7 % 60));
        for child in &mut children {
            let ended = child.try_wait()?;
            child.kill()?;
            child.wait()?;
            let mut said = String::new();
            child.stderr.take().expect("it was asked for").read_to_string(&mut said)?;
            assert!(ended.is_none(), "round {round}: a child failed by itself: {said}");
        }
        let store = Store::open(fixture.root())?;
        for blob in store.blobs().list()? {
            store.blobs().verify(&blob.digest)?;
        }
        for image in store.images().list()? {
            for layer in image.layers {
                assert!(store.layers().get(layer)?.tree.is_some(), "an image has its layers");
            }
        }
        let check: String =
            store.database().read("testing", |c| c.query_row("PRAGMA integrity_check", [], |r| r.get(0)))?;
        assert_eq!(check, "ok");
    }
    fixture.store.prune(&EVERYTHING)?;
    assert_eq!(left(&fixture.store)?, (0, 0, 0));
    Ok(())
}

/// Prunes once.
#[test]
#[ignore = "the body of a child process"]
fn child_pruning() -> Result<()> {
    Store::open(&root_from_stdin()?)?.prune(&EVERYTHING)?;
    Ok(())
}

#[test]
fn who_lists_does_not_wait_for_who_prunes() -> Result<()> {
    let fixture = Fixture::new()?;
    let id = layer(&fixture.store, "app")?;
    image(&fixture.store, "app", &[id], &["app"])?;
    let reader = Store::open(fixture.root())?;
    // What a command would clear up at its end: the lease of a process that died.
    std::fs::write(fixture.root().join("leases/dead"), "")?;
    let deadline = Instant::now() + Duration::from_secs(60);
    // As long as this transaction lasts, the pruning process stands in the middle of its work.
    let mut pruner = fixture.store.database().write("holding a pruner up", |_| {
        let pruner = spawn("processes::child_pruning", fixture.root()).expect("a child");
        while reader.try_lock("prune", LockMode::Shared).expect("a lock file").is_some() {
            assert!(Instant::now() < deadline, "nobody prunes");
            std::thread::sleep(Duration::from_millis(5));
        }
        let images = reader.images().list().expect("a list");
        assert_eq!(images.len(), 1);
        assert!(reader.layers().get(images[0].layers[0]).expect("a layer").tree.is_some());
        reader.tidy(true).expect("nothing to do");
        Ok(pruner)
    })?;
    assert!(fixture.root().join("leases/dead").exists(), "that is the pruner's, who still waits");
    assert!(pruner.wait()?.success());
    assert!(!fixture.root().join("leases/dead").exists());
    Ok(())
}

#[test]
fn builds_and_pruning_at_once_lose_nothing() -> Result<()> {
    let fixture = Fixture::new()?;
    let done = AtomicBool::new(false);
    let build = |n: usize| -> Result<()> {
        for round in 0..25 {
            let store = Store::open(fixture.root())?;
            // Half of the content is common to all builders.
            let base = match store.results().load("base")? {
                Some(found) => found.layers[0],
                None => layer(&store, "base")?,
            };
            result(&store, "base", &[base])?;
            let text = format!("{n}-{round}");
            let top = layer(&store, &text)?;
            std::thread::sleep(Duration::from_millis(1));
            image(&store, &text, &[base, top], &[&format!("app:{n}")])?;
            for id in [base, top] {
                let found = store.layers().get(id)?;
                let tree = found.tree.ok_or_else(|| anyhow::anyhow!("layer {id} lost its tree"))?;
                anyhow::ensure!(tree.path.join("file").exists());
                anyhow::ensure!(found.blobs.len() == 1, "layer {id} lost its blob");
                store.blobs().verify(&found.blobs[0].descriptor.digest)?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let pruner = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                Store::open(fixture.root())?.prune(&EVERYTHING)?;
            }
            Ok(())
        });
        let builders: Vec<_> = (0..4).map(|n| scope.spawn(move || build(n))).collect();
        let built = builders.into_iter().try_for_each(|builder| builder.join().expect("no panic"));
        done.store(true, Ordering::Relaxed);
        built.and(pruner.join().expect("no panic"))
    })?;
    fixture.store.prune(&EVERYTHING)?;
    assert_eq!(left(&fixture.store)?, (0, 0, 0));
    Ok(())
}

/// Fills the small file system it is given, and finds its way out.
#[test]
#[ignore = "the body of a child process"]
fn child_filling() -> Result<()> {
    let root = root_from_stdin()?;
    let store = Store::open(&root)?;
    let kept = store.blobs().put(b"kept")?;
    image(&store, "kept", &[], &["kept"])?;
    let fill = || -> Result<Digest, rbuild_store::Error> {
        let mut ingest = store.blobs().ingest(None)?;
        for n in 0..100_u8 {
            ingest.write_all(&vec![n; 100_000]).map_err(|error| ingest.explain(error))?;
        }
        ingest.commit()
    };
    let error = fill().expect_err("ten megabytes do not fit");
    anyhow::ensure!(error.is_no_space() && error.to_string().contains("no space left on device"), "{error}");
    anyhow::ensure!(error.to_string().contains("store/tmp/"), "{error}");
    store.blobs().put(b"small things fit again")?;
    let Resumable::Resume(mut download) = store.blobs().ingest_resumable(&descriptor(&[7; 10_000_000]))? else {
        anyhow::bail!("nobody has it yet")
    };
    download.write_all(&[7; 10_000_000]).expect_err("ten megabytes do not fit");
    drop(download);
    store.blobs().put(b"a download that did not fit gives its space back")?;
    for left in ["partial/left", "tmp/dead"] {
        fill_as_if_killed(&root, left)?;
        Store::open(&root)?.prune(&PruneOptions { images: ImagePrune::None, ..EVERYTHING })?;
        anyhow::ensure!(!root.join(left).exists());
    }
    // Until nothing fits at all, not even a row.
    let mut reasons = Vec::new();
    for n in 0_u32..100_000 {
        match store.blobs().put(&n.to_le_bytes().repeat(500)) {
            Ok(_) => {}
            Err(error) => reasons.push(error.to_string()),
        }
        if reasons.len() == 3 {
            break;
        }
    }
    anyhow::ensure!(reasons.iter().all(|reason| reason.contains("no space left on device")), "{reasons:?}");
    drop(store);
    let store = Store::open(&root)?;
    store.prune(&PruneOptions { images: ImagePrune::None, ..EVERYTHING })?;
    anyhow::ensure!(store.check(false)?.is_empty());
    anyhow::ensure!(!store.blobs().has(&kept)? && store.images().resolve("kept").is_ok());
    anyhow::ensure!(disk_usage(&root)? < 1 << 20);
    store.blobs().put(&[1; 1_000_000])?;
    Ok(())
}

/// Fills the disk up as a process does that is then killed.
fn fill_as_if_killed(root: &Path, name: &str) -> Result<()> {
    let mut file = std::fs::File::create(root.join(name))?;
    while file.write(&[0; 4096]).is_ok() {}
    anyhow::ensure!(Store::open(root)?.blobs().put(b"no room for this").is_err());
    Ok(())
}

#[test]
fn root_a_full_disk_is_survived() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can mount a small file system");
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let script = "mount -t tmpfs -o size=4m,mode=0700 tmpfs \"$1\" && exec \"$2\" --exact processes::child_filling --ignored --nocapture";
    let mut child = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(directory.path())
        .arg(std::env::current_exe()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let root = directory.path().join("store");
    child.stdin.take().expect("it was asked for").write_all(root.to_str().expect("text").as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    Ok(())
}
