//! Blobs and manifests into a registry that misbehaves.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rbuild_oci::{Descriptor, Digest, Reference, media_type};
use rbuild_registry::{Error, Progress, Pushed, Source};

use crate::fake::{Fake, Fault};
use crate::{client, layer, noise, reference};

async fn push(fake: &Fake, bytes: &[u8], from: &[&str]) -> Result<Pushed, Error> {
    let from: Vec<_> = from.iter().map(|name| (*name).to_owned()).collect();
    let source = Arc::new(Bytes::copy_from_slice(bytes));
    let target = reference(&fake.host, "app", "1");
    let pushed = client().push_blob(&target, &layer(bytes), &from, source, Progress::silent()).await;
    if pushed.is_ok() {
        let held = fake.state().blobs.get(&("app".into(), Digest::of(bytes))).cloned();
        assert!(held.as_deref() == Some(bytes), "the registry holds the blob");
    }
    pushed
}

fn status(status: u16) -> Fault {
    Fault::Answer(status, String::new(), r#"{"errors":[{"code":"SOME_CODE","message":"words"}]}"#.into())
}

#[tokio::test]
async fn uploads_once() {
    let fake = Fake::start().await;
    let bytes = noise(3_000_000);
    assert_eq!(push(&fake, &bytes, &[]).await.unwrap(), Pushed::Uploaded);
    assert_eq!(push(&fake, &bytes, &[]).await.unwrap(), Pushed::Existed);
    assert_eq!((fake.count("POST"), fake.count("PUT"), fake.count("PATCH")), (1, 1, 0));
    assert_eq!(push(&fake, b"", &[]).await.unwrap(), Pushed::Uploaded);
}

#[tokio::test]
async fn mounts_from_neighbours() {
    let fake = Fake::start().await;
    fake.blob("base", b"layer");
    assert_eq!(push(&fake, b"layer", &["app", "base"]).await.unwrap(), Pushed::Mounted);
    assert_eq!(fake.count("PUT"), 0);
    // The registry offers a session instead: it is used.
    assert_eq!(push(&fake, b"other", &["base", "more"]).await.unwrap(), Pushed::Uploaded);
    assert_eq!(fake.count("POST"), 2);
    for code in [403, 404, 405] {
        fake.plan("POST /v2/app/blobs/uploads/?mount", 1, status(code));
        assert_eq!(push(&fake, code.to_string().as_bytes(), &["base"]).await.unwrap(), Pushed::Uploaded);
    }
}

#[tokio::test]
async fn trouble_on_the_way_is_overcome() {
    for on in ["HEAD", "POST", "PUT"] {
        for fault in [status(503), status(500), Fault::Lost] {
            let fake = Fake::start().await;
            fake.plan(on, 2, fault.clone());
            let pushed = push(&fake, &noise(300_000), &[]).await;
            pushed.unwrap_or_else(|error| panic!("{on} {fault:?}: {error}"));
        }
    }
}

#[tokio::test]
async fn a_lost_answer_is_not_a_lost_blob() {
    let fake = Fake::start().await;
    fake.plan("PUT", 9, Fault::Lost);
    assert_eq!(push(&fake, &noise(300_000), &[]).await.unwrap(), Pushed::Uploaded);
    assert_eq!(fake.count("PUT"), 1);
}

#[tokio::test]
async fn forgotten_sessions_begin_anew() {
    for code in [404, 416] {
        let fake = Fake::start().await;
        fake.plan("PUT", 1, status(code));
        push(&fake, b"blob", &[]).await.unwrap();
        assert_eq!(fake.count("POST"), 2);
    }
}

#[tokio::test]
async fn parts_are_sent_where_the_whole_is_too_much() {
    for code in [405, 413] {
        let fake = Fake::start().await;
        fake.plan("PUT", 1, status(code));
        push(&fake, &noise(20 << 20), &[]).await.unwrap();
        assert_eq!(fake.count("PATCH"), 2, "{code}");
    }
}

#[tokio::test]
async fn refusals_are_told() {
    let fake = Fake::start().await;
    fake.plan("POST", 9, status(403));
    let error = push(&fake, b"blob", &[]).await.unwrap_err();
    assert!(error.is_denied() && error.to_string().contains("SOME_CODE: words"), "{error}");
    let fake = Fake::start().await;
    fake.plan("POST", 9, Fault::Without("Location"));
    let error = push(&fake, b"blob", &[]).await.unwrap_err();
    assert!(error.to_string().contains("where to upload"), "{error}");
}

struct Failing;

impl Source for Failing {
    fn open(&self, _: u64) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(io::Cursor::new(b"not all")))
    }
}

#[tokio::test]
async fn a_broken_source_is_told() {
    let fake = Fake::start().await;
    let target = reference(&fake.host, "app", "1");
    let wanted = Descriptor { size: 1000, ..layer(b"blob") };
    let outcome = client().push_blob(&target, &wanted, &[], Arc::new(Failing), Progress::silent()).await;
    assert!(matches!(outcome, Err(Error::Local { .. })), "{outcome:?}");
}

#[tokio::test]
async fn manifests_go_by_tag_or_digest() {
    let fake = Fake::start().await;
    let body = Bytes::from_static(br#"{"schemaVersion":2,"config":{},"layers":[]}"#);
    let (client, tagged) = (client(), reference(&fake.host, "app", "1"));
    fake.plan("PUT", 2, status(502));
    let pushed = client.push_manifest(&tagged, media_type::OCI_MANIFEST, body.clone()).await.unwrap();
    assert_eq!((pushed.digest, pushed.subject_listed), (Digest::of(&body), false));
    assert_eq!(client.resolve(&tagged).await.unwrap().descriptor.digest, pushed.digest);
    let by_digest = Reference { tag: None, ..tagged.clone() };
    client.push_manifest(&by_digest, media_type::OCI_MANIFEST, body.clone()).await.unwrap();
    assert_eq!(fake.count(&format!("PUT /v2/app/manifests/{}", pushed.digest)), 1);
    let wrong = Reference { digest: Some(Digest::of(b"else")), ..tagged };
    assert!(matches!(client.push_manifest(&wrong, "t", body).await, Err(Error::Mismatch { .. })));
}
