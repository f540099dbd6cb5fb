use std::os::unix::fs::PermissionsExt;

use super::*;
use rbuild_store::Error;

#[test]
fn makes_a_private_directory_whatever_was_there() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let root = directory.path().join("deep/er/store");
    std::fs::create_dir_all(&root)?;
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777))?;
    drop(Store::open(&root)?);
    assert_eq!(std::fs::metadata(&root)?.permissions().mode() & 0o7777, 0o700);
    assert_eq!(std::fs::read_to_string(root.join("version"))?, "1\n");
    assert_eq!(std::fs::read_to_string(root.join("oci/oci-layout"))?, "{\"imageLayoutVersion\":\"1.0.0\"}\n");
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755))?;
    drop(Store::open(&root)?);
    assert_eq!(std::fs::metadata(&root)?.permissions().mode() & 0o7777, 0o700);
    Ok(())
}

#[test]
fn refuses_what_is_newer_or_not_a_store() -> Result<()> {
    let fixture = Fixture::new()?;
    let root = fixture.root();
    fixture.store.database().write("testing", |tx| tx.pragma_update(None, "user_version", 99))?;
    assert!(matches!(Store::open(root), Err(Error::Newer { found: 99, .. })));
    std::fs::write(root.join("version"), "2\n")?;
    let error = Store::open(root).expect_err("a newer layout").to_string();
    assert!(error.contains("version 2") && error.contains("only up to 1"), "{error}");
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("letter.txt"), "precious")?;
    assert!(matches!(Store::open(home.path()), Err(Error::NotAStore { .. })));
    assert_eq!(std::fs::read_dir(home.path())?.count(), 1);
    Ok(())
}

#[test]
fn continues_what_a_killed_process_began_to_make() -> Result<()> {
    let directory = tempfile::tempdir()?;
    for name in ["oci/blobs", "db/v1", "layers"] {
        std::fs::create_dir_all(directory.path().join(name))?;
    }
    std::fs::write(directory.path().join(".version-abc"), "")?;
    std::fs::write(directory.path().join("db/v1/store.sqlite"), "")?;
    Store::open(directory.path())?.blobs().put(b"x")?;
    Ok(())
}

#[test]
fn rooms_have_versions_of_their_own() -> Result<()> {
    let fixture = Fixture::new()?;
    let database = fixture.store.database();
    let mut from = Vec::new();
    for version in [1, 1, 3] {
        database.ensure_schema("test", version, |_, found| {
            from.push(found);
            Ok(())
        })?;
    }
    assert_eq!(from, [0, 1]);
    assert!(matches!(database.ensure_schema("test", 2, |_, _| Ok(())), Err(Error::Newer { found: 3, .. })));
    Ok(())
}

#[test]
fn paths_may_hold_anything() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let store = Store::open(&directory.path().join("a b'\"\nü:,%?#"))?;
    let digest = store.blobs().put(b"x")?;
    assert!(Store::open(store.root())?.blobs().has(&digest)?);
    Ok(())
}
