use super::*;
use rbuild_oci::ChainId;
use rbuild_store::{Error, PruneOptions, Remote};

#[test]
fn a_layer_has_its_forms_when_they_are_whole() -> Result<()> {
    let fixture = Fixture::new()?;
    let layers = fixture.store.layers();
    let id = layers.create(&NewLayer::default())?;
    assert!(!layers.get(id)?.is_available());
    let TreeState::Build(build) = layers.begin_tree(id)? else { panic!("no tree yet") };
    std::fs::write(build.fs().join("half"), "x")?;
    assert!(layers.get(id)?.tree.is_none());
    drop(build);
    assert!(!fixture.root().join(format!("layers/{id}")).exists());
    let TreeState::Build(build) = layers.begin_tree(id)? else { panic!("no tree yet") };
    let tree = build.finish(123, None)?;
    assert_eq!(layers.get(id)?.tree, Some(tree.clone()));
    assert!(tree.path.is_dir() && !tree.path.with_file_name("work").exists());
    assert!(matches!(layers.begin_tree(id)?, TreeState::Ready(_)));
    layers.discard_tree(id)?;
    assert!(layers.get(id)?.tree.is_none());

    let bytes = b"a tar".as_slice();
    let blob = LayerBlob { descriptor: descriptor(bytes), variant: "gzip:6".to_owned() };
    assert!(matches!(layers.add_blob(id, &blob), Err(Error::NoBlob(_))));
    let digest = fixture.store.blobs().put(bytes)?;
    layers.add_blob(id, &blob)?;
    let remote = Remote { reference: "docker.io/library/a".to_owned(), descriptor: descriptor(b"far") };
    layers.add_remote(id, &remote)?;
    layers.set_diff_id(id, diff_id("a"))?;
    let layer = layers.get(id)?;
    assert_eq!((layer.blobs, layer.remotes, layer.diff_id), (vec![blob], vec![remote], Some(diff_id("a"))));
    std::fs::remove_file(fixture.store.blobs().path(&digest))?;
    assert!(layers.get(id)?.blobs.is_empty(), "the file is the proof");
    Ok(())
}

#[test]
fn equal_layers_are_found() -> Result<()> {
    let fixture = Fixture::new()?;
    let layers = fixture.store.layers();
    let new = NewLayer { diff_id: Some(diff_id("a")), ..NewLayer::default() };
    let plain = layers.create(&new)?;
    assert_eq!(layers.find_by_diff_id(diff_id("a"))?, Some(plain));
    assert_eq!(layers.find_tree(diff_id("a"), None)?, None);
    let below = ChainId::bottom(diff_id("below"));
    let bound = layers.create(&new)?;
    if let TreeState::Build(build) = layers.begin_tree(bound)? {
        build.finish(1, Some(below))?;
    }
    assert_eq!(layers.find_by_diff_id(diff_id("a"))?, Some(bound), "one with a tree is better");
    assert_eq!(layers.find_tree(diff_id("a"), Some(below))?, Some(bound));
    assert_eq!(layers.find_tree(diff_id("a"), None)?, None);
    assert_eq!(layers.find_by_diff_id(diff_id("b"))?, None);
    Ok(())
}

/// X20, X40: an image could put its own blob under the diff id of a layer that others use.
#[test]
fn a_diff_id_is_a_word_until_it_is_proven() -> Result<()> {
    let fixture = Fixture::new()?;
    let layers = fixture.store.layers();
    let (evil, good) = (descriptor(b"evil"), descriptor(b"good"));
    let new = NewLayer::default();
    let first = layers.find_or_create(diff_id("a"), &evil.digest, &new)?;
    layers.add_remote(first, &Remote { reference: "evil.example/a".to_owned(), descriptor: evil.clone() })?;
    assert_eq!(layers.find_or_create(diff_id("a"), &evil.digest, &new)?, first, "the same blob is the same layer");
    let second = layers.find_or_create(diff_id("a"), &good.digest, &new)?;
    assert_ne!(second, first);
    layers.add_remote(second, &Remote { reference: "docker.io/library/a".to_owned(), descriptor: good })?;
    assert_eq!(layers.find_verified(diff_id("a"))?, None);
    if let TreeState::Build(build) = layers.begin_tree(second)? {
        build.finish(1, None)?;
    }
    assert_eq!(layers.find_verified(diff_id("a"))?, Some(second));
    assert_eq!(layers.find_or_create(diff_id("a"), &descriptor(b"other").digest, &new)?, second);
    Ok(())
}

#[test]
fn a_tree_of_another_boot_is_made_again() -> Result<()> {
    let fixture = Fixture::new()?;
    let id = layer(&fixture.store, "a")?;
    result(&fixture.store, "r", &[id])?;
    fixture.store.database().write("testing", |tx| {
        tx.execute("UPDATE layers SET tree_boot = 'before'", [])?;
        tx.execute("DELETE FROM layer_blobs", [])
    })?;
    assert!(fixture.store.layers().get(id)?.tree.is_none());
    assert_eq!(fixture.store.results().load("r")?, None, "a result without its layer is forgotten");
    assert!(matches!(fixture.store.layers().begin_tree(id)?, TreeState::Build(_)));
    Ok(())
}

#[test]
fn what_is_settled_outlives_the_boot() -> Result<()> {
    let fixture = Fixture::new()?;
    let id = layer(&fixture.store, "a")?;
    fixture.store.settle(std::time::Duration::ZERO)?;
    let waiting: i64 = fixture.store.database().read("testing", |c| {
        c.query_row("SELECT (SELECT count(boot) FROM blobs) + (SELECT count(tree_boot) FROM layers)", [], |r| r.get(0))
    })?;
    assert_eq!(waiting, 0);
    assert!(fixture.store.layers().get(id)?.tree.is_some());
    Ok(())
}

#[test]
fn results_count_their_uses() -> Result<()> {
    let fixture = Fixture::new()?;
    let results = fixture.store.results();
    let id = layer(&fixture.store, "a")?;
    result(&fixture.store, "r", &[id, id])?;
    let loaded = results.load("r")?.expect("it was put");
    assert_eq!((loaded.layers, loaded.value.as_slice()), (vec![id, id], b"value".as_slice()));
    assert_eq!(results.get("r")?.expect("it was put").uses, 1);
    assert_eq!(results.load("s")?, None);
    result(&fixture.store, "empty", &[])?;
    assert!(results.load("empty")?.is_some(), "scratch is a result too");
    assert_eq!(results.list()?.len(), 2);
    assert!(results.remove("r")? && !results.remove("r")?);
    Ok(())
}

#[test]
fn the_solvers_rows_go_with_the_result() -> Result<()> {
    let fixture = Fixture::new()?;
    let database = fixture.store.database();
    database.ensure_schema("solver", 1, |tx, _| {
        tx.execute_batch("CREATE TABLE solver_links(key TEXT, result TEXT REFERENCES results(id) ON DELETE CASCADE)")
    })?;
    result(&fixture.store, "r", &[])?;
    database.write("testing", |tx| tx.execute("INSERT INTO solver_links VALUES('k', 'r')", []))?;
    let count =
        || database.read("testing", |c| c.query_row("SELECT count(*) FROM solver_links", [], |r| r.get::<_, i64>(0)));
    result(&fixture.store, "r", &[])?;
    assert_eq!(count()?, 1, "replacing a result keeps what refers to it");
    fixture.store.results().remove("r")?;
    assert_eq!(count()?, 0);
    Ok(())
}

#[test]
fn disk_usage_is_that_of_du() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut path = directory.path().to_owned();
    for depth in 0..200 {
        path.push(format!("directory-{depth}"));
        std::fs::create_dir(&path)?;
        std::fs::write(path.join("file"), vec![1; depth * 100])?;
    }
    std::fs::hard_link(path.join("file"), directory.path().join("link"))?;
    std::os::unix::fs::symlink("/", directory.path().join("root"))?;
    let du = std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(directory.path()).output()?;
    let text = String::from_utf8(du.stdout)?;
    let want: u64 = text.split_whitespace().next().expect("du prints a number").parse()?;
    assert_eq!(disk_usage(directory.path())?, want);
    assert_eq!(disk_usage(&directory.path().join("missing"))?, 0);
    Ok(())
}

/// R9: the lock files of steps that ended by force stayed for ever; those in use have to.
#[test]
fn pruning_removes_forgotten_locks_of_steps() -> Result<()> {
    let fixture = Fixture::new()?;
    let steps = fixture.store.steps_dir()?;
    std::fs::write(steps.join("step-dead"), "")?;
    let held = std::fs::File::create(steps.join("step-held"))?;
    held.lock()?;
    fixture.store.prune(&PruneOptions::default())?;
    assert!(!steps.join("step-dead").exists());
    assert!(steps.join("step-held").exists());
    Ok(())
}
