use std::io::{Read, Write};

use super::*;
use rbuild_store::{Error, Resumable};

fn write(store: &Store, bytes: &[u8], expected: Option<&Descriptor>) -> Result<Digest, Error> {
    let mut ingest = store.blobs().ingest(expected)?;
    for chunk in bytes.chunks(1000) {
        ingest.write_all(chunk).map_err(|error| ingest.explain(error))?;
    }
    ingest.commit()
}

#[test]
fn keeps_only_what_was_expected() -> Result<()> {
    let fixture = Fixture::new()?;
    let store = &fixture.store;
    let bytes = vec![1; 300_000];
    let good = descriptor(&bytes);
    assert!(matches!(write(store, &bytes[1..], Some(&good)), Err(Error::SizeMismatch { got: 299_999, .. })));
    assert!(matches!(write(store, &vec![1; 300_001], Some(&good)), Err(Error::SizeMismatch { .. })));
    assert!(matches!(write(store, &vec![2; 300_000], Some(&good)), Err(Error::DigestMismatch { .. })));
    assert!(!store.blobs().has(&good.digest)?);
    assert_eq!(left(store)?, (0, 0, 1), "only the session's empty directory for temporary files");
    assert_eq!(write(store, &bytes, Some(&good))?, good.digest);
    assert_eq!(write(store, &bytes, None)?, good.digest);
    assert_eq!(store.blobs().size(&good.digest)?, Some(300_000));
    assert_eq!(store.blobs().read(&good.digest, 300_000)?, bytes);
    assert!(matches!(store.blobs().read(&good.digest, 299_999), Err(Error::TooLarge { .. })));
    assert!(matches!(store.blobs().open(&Digest::of(b"other")), Err(Error::NoBlob(_))));
    drop(store.blobs().ingest(None)?);
    assert_eq!(left(store)?, (1, 0, 1));
    Ok(())
}

#[test]
fn finds_a_corrupt_blob_before_its_last_byte() -> Result<()> {
    let fixture = Fixture::new()?;
    let blobs = fixture.store.blobs();
    let bytes = vec![5; 100_000];
    let damage = |bytes: &[u8]| -> Result<Digest> {
        let digest = blobs.put(&[5; 100_000])?;
        std::fs::remove_file(blobs.path(&digest))?;
        std::fs::write(blobs.path(&digest), bytes)?;
        Ok(digest)
    };
    let mut flipped = bytes.clone();
    flipped[50_000] ^= 1;
    let digest = damage(&flipped)?;
    let mut got = Vec::new();
    let error = blobs.reader(&digest)?.read_to_end(&mut got).expect_err("a flipped bit");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(got.len() < bytes.len());
    assert!(!blobs.has(&digest)?, "a corrupt blob is removed");

    let digest = damage(&flipped)?;
    assert!(matches!(blobs.verify(&digest), Err(Error::Corrupt { .. })));
    let digest = damage(&bytes[1..])?;
    assert!(!blobs.has(&digest)?, "a shorter file is no proof of the row");
    assert!(matches!(blobs.open(&digest), Err(Error::NoBlob(_))));

    let digest = blobs.put(&bytes)?;
    std::fs::remove_file(blobs.path(&digest))?;
    let outside = fixture.directory.path().join("outside");
    std::fs::write(&outside, &bytes)?;
    std::os::unix::fs::symlink(&outside, blobs.path(&digest))?;
    assert!(blobs.open(&digest).is_err(), "links are not followed");
    blobs.put(&bytes)?;
    blobs.verify(&digest)?;
    assert_eq!(std::fs::read(outside)?, bytes);
    Ok(())
}

#[test]
fn continues_a_download() -> Result<()> {
    let mut fixture = Fixture::new()?;
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let expected = descriptor(&bytes);
    let resume = |store: &Store| match store.blobs().ingest_resumable(&expected) {
        Ok(Resumable::Resume(ingest)) => Ok(ingest),
        Ok(Resumable::Have) => anyhow::bail!("not yet"),
        Err(error) => Err(error.into()),
    };
    let mut first = resume(&fixture.store)?;
    first.write_all(&bytes[..70_000])?;
    drop(first);
    fixture.reopen()?;
    let mut second = resume(&fixture.store)?;
    assert_eq!(second.written(), 70_000);
    second.write_all(&bytes[70_000..80_000])?;
    let Err(Error::SizeMismatch { got: 80_000, .. }) = second.commit() else { panic!("too short") };
    let mut third = resume(&fixture.store)?;
    assert_eq!(third.written(), 80_000);
    third.restart()?;
    third.write_all(&bytes)?;
    assert_eq!(third.commit()?, expected.digest);
    assert!(matches!(fixture.store.blobs().ingest_resumable(&expected)?, Resumable::Have));
    fixture.store.blobs().verify(&expected.digest)?;
    assert_eq!(std::fs::read_dir(fixture.root().join("partial"))?.count(), 0);
    Ok(())
}

#[test]
fn does_not_continue_wrong_bytes() -> Result<()> {
    let fixture = Fixture::new()?;
    let expected = descriptor(&[1; 1000]);
    let path = fixture.root().join("partial").join(expected.digest.hex());
    for wrong in [vec![2; 500], vec![2; 5000]] {
        std::fs::write(&path, &wrong)?;
        let Resumable::Resume(mut ingest) = fixture.store.blobs().ingest_resumable(&expected)? else {
            panic!("not yet")
        };
        assert_eq!(ingest.written(), if wrong.len() > 1000 { 0 } else { 500 });
        let rest = 1000 - ingest.written() as usize;
        ingest.write_all(&vec![2; rest])?;
        assert!(matches!(ingest.commit(), Err(Error::DigestMismatch { .. })));
        assert!(!path.exists());
    }
    Ok(())
}

#[test]
fn one_session_downloads_and_the_others_have_it() -> Result<()> {
    let fixture = Fixture::new()?;
    let bytes = vec![9; 100_000];
    let expected = descriptor(&bytes);
    let downloads = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let store = Store::open(fixture.root())?;
                    if let Resumable::Resume(mut ingest) = store.blobs().ingest_resumable(&expected)? {
                        downloads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        ingest.write_all(&bytes)?;
                        ingest.commit()?;
                    }
                    store.blobs().verify(&expected.digest)?;
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })?;
    assert_eq!(downloads.into_inner(), 1);
    assert_eq!(left(&fixture.store)?, (1, 0, 0));
    Ok(())
}

#[test]
fn bytes_of_another_boot_are_checked_before_they_are_handed_out() -> Result<()> {
    let fixture = Fixture::new()?;
    let blobs = fixture.store.blobs();
    let (good, bad) = (blobs.put(&[1; 5000])?, blobs.put(&[2; 5000])?);
    fixture.store.database().write("testing", |tx| tx.execute("UPDATE blobs SET boot = 'before'", []))?;
    // What a power cut leaves: the right size, but zeros.
    std::fs::remove_file(blobs.path(&bad))?;
    std::fs::write(blobs.path(&bad), [0; 5000])?;
    assert!(matches!(blobs.open(&bad), Err(Error::Corrupt { .. })));
    blobs.open(&good)?;
    let boots: i64 =
        fixture.store.database().read("testing", |c| c.query_row("SELECT count(boot) FROM blobs", [], |r| r.get(0)))?;
    assert_eq!(boots, 0, "what was checked is durable");
    Ok(())
}

#[test]
fn a_full_disk_is_named() -> Result<()> {
    let error = Error::NoSpace { action: "writing", path: "/x".into(), source: std::io::ErrorKind::StorageFull.into() };
    assert!(error.to_string().contains("no space left on device") && error.to_string().contains("/x"));
    Ok(())
}

#[test]
fn reads_json_strictly() -> Result<()> {
    let fixture = Fixture::new()?;
    let blobs = fixture.store.blobs();
    let good = blobs.put(br#"{"schemaVersion":2,"manifests":[]}"#)?;
    let bad = blobs.put(br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#)?;
    blobs.read_json::<rbuild_oci::Index>(&good)?;
    assert!(matches!(blobs.read_json::<rbuild_oci::Index>(&bad), Err(Error::Json { .. })));
    Ok(())
}
