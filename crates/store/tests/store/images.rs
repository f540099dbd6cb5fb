use super::*;
use rbuild_store::{BuildStatus, Error};

#[test]
fn names_move_and_images_stay() -> Result<()> {
    let fixture = Fixture::new()?;
    let images = fixture.store.images();
    let id = layer(&fixture.store, "a")?;
    let one = image(&fixture.store, "one", &[id], &["app:1", "app"])?;
    let two = image(&fixture.store, "two", &[id, id], &["app"])?;
    assert_eq!(images.resolve("app")?.id, two);
    assert_eq!(images.resolve("docker.io/library/app:latest")?.layers, [id, id]);
    assert_eq!(images.resolve("app:1")?.id, one);
    images.tag(&one, &name("h.io/x:y"))?;
    let names: Vec<String> = images.resolve("app:1")?.names.iter().map(Reference::familiar).collect();
    assert_eq!(names, ["app:1", "h.io/x:y"]);
    assert_eq!(images.untag(&name("app:1"))?.map(|untagged| untagged.has_names), Some(true));
    assert_eq!(images.untag(&name("h.io/x:y"))?.map(|untagged| untagged.has_names), Some(false));
    assert_eq!(images.untag(&name("app:1"))?, None);
    assert_eq!(images.list()?.len(), 2);
    assert!(images.remove(&one)? && !images.remove(&one)?);
    assert!(matches!(images.tag(&one, &name("x")), Err(Error::NoImage(_))));
    let missing = NewImage { layers: vec![id], blobs: vec![Digest::of(b"none")], ..new_image(two) };
    assert!(matches!(images.record(&missing, &[name("never")]), Err(Error::NoBlob(_))));
    assert!(matches!(images.resolve("never"), Err(Error::NoImage(_))));
    Ok(())
}

fn new_image(id: ImageId) -> NewImage {
    NewImage {
        id,
        target: None,
        layers: Vec::new(),
        blobs: Vec::new(),
        platform: Platform::host(),
        created: SystemTime::UNIX_EPOCH,
    }
}

#[test]
fn resolves_ids_and_digests() -> Result<()> {
    let fixture = Fixture::new()?;
    let (store, images) = (&fixture.store, fixture.store.images());
    let ids: Vec<ImageId> = (0..40).map(|n| image(store, &n.to_string(), &[], &[])).collect::<Result<_>>()?;
    for id in &ids {
        let hex = id.0.hex();
        assert_eq!(images.resolve(&hex)?.id, *id);
        assert_eq!(images.resolve(&id.to_string())?.id, *id);
        assert_eq!(images.resolve(&hex[..20])?.id, *id);
        let same = ids.iter().filter(|other| other.0.hex().starts_with(&hex[..1])).count();
        assert_eq!(matches!(images.resolve(&hex[..1]), Err(Error::Ambiguous(_))), same > 1);
    }
    for missing in ["zz", "", "sha256:", "0123456789abcdef0123456789abcdef", "A", "sha256:xyz"] {
        assert!(matches!(images.resolve(missing), Err(Error::NoImage(_))), "{missing}");
    }
    let digest = Digest::of(b"pushed");
    images.add_digest(&ids[0], &name("h.io/a:1"), &digest)?;
    assert_eq!(images.resolve(&format!("h.io/a@{digest}"))?.id, ids[0]);
    assert_eq!(images.resolve(&format!("h.io/a@{digest}"))?.digests[0].to_string(), format!("h.io/a@{digest}"));
    assert!(images.resolve(&format!("h.io/b@{digest}")).is_err());
    let deadbeef = image(store, "named like an id", &[], &["c0ffee"])?;
    assert_eq!(images.resolve("c0ffee")?.id, deadbeef);
    Ok(())
}

#[test]
fn other_tools_find_the_images() -> Result<()> {
    let mut fixture = Fixture::new()?;
    image(&fixture.store, "one", &[], &["app:1", "h.io/b"])?;
    image(&fixture.store, "nameless", &[], &[])?;
    fixture.reopen()?;
    let text = std::fs::read(fixture.root().join("oci/index.json"))?;
    let index: rbuild_oci::Index = rbuild_oci::json::from_slice(&text)?;
    let tags: Vec<&str> =
        index.manifests.iter().map(|entry| entry.annotations["org.opencontainers.image.ref.name"].as_str()).collect();
    assert_eq!(tags, ["1", "latest"]);
    assert!(index.manifests.iter().all(|entry| fixture.store.blobs().path(&entry.digest).exists()));
    Ok(())
}

#[test]
fn builds_are_remembered() -> Result<()> {
    let fixture = Fixture::new()?;
    let builds = fixture.store.builds();
    let ids: Vec<String> = (0..120).map(|n| builds.start(&n.to_string())).collect::<Result<_, _>>()?;
    builds.finish(&ids[119], BuildStatus::Failed, "{}")?;
    let list = builds.list()?;
    assert_eq!(list.len(), 100);
    assert_eq!((list[0].name.as_str(), list[0].status), ("119", BuildStatus::Failed));
    assert_eq!((list[99].name.as_str(), list[99].status), ("20", BuildStatus::Running));
    assert!(builds.remove(&ids[119])? && !builds.remove(&ids[0])?);
    Ok(())
}
