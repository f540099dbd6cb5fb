//! Manifests and blobs out of a registry that misbehaves.

use rbuild_oci::{Descriptor, Digest, Reference, media_type};
use rbuild_registry::{Error, Progress};

use crate::fake::{Fake, Fault};
use crate::{client, layer, noise, reference};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;

/// Fetches a blob of noise past a fault; returns the registry and the outcome.
async fn fetch(size: usize, times: usize, fault: Fault) -> (Fake, Result<(), Error>) {
    let fake = Fake::start().await;
    let bytes = noise(size);
    fake.blob("app", &bytes);
    fake.plan("GET /v2/app/blobs/", times, fault);
    let mut sink = b"left over".to_vec();
    let outcome =
        client().fetch_blob(&reference(&fake.host, "app", "1"), &layer(&bytes), &mut sink, Progress::silent()).await;
    if outcome.is_ok() {
        assert!(sink == bytes, "the blob is exact");
    }
    (fake, outcome)
}

fn status(status: u16) -> Fault {
    Fault::Answer(status, String::new(), r#"{"errors":[{"code":"SOME_CODE","message":"words"}]}"#.into())
}

#[tokio::test]
async fn passing_trouble_is_waited_for() {
    for code in [408, 429, 500, 502, 503, 504] {
        let (fake, outcome) = fetch(1000, 2, status(code)).await;
        outcome.unwrap();
        assert_eq!(fake.count("/blobs/"), 3, "{code}");
    }
    let (fake, outcome) = fetch(1000, 99, status(503)).await;
    assert!(outcome.unwrap_err().to_string().contains("503 Service Unavailable: SOME_CODE: words"));
    assert_eq!(fake.count("/blobs/"), 4);
}

#[tokio::test]
async fn refusals_are_not_repeated() {
    for code in [400, 401, 403, 404] {
        let (fake, outcome) = fetch(1000, 99, status(code)).await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("SOME_CODE: words") && error.contains(&code.to_string()), "{error}");
        assert_eq!(fake.count("/blobs/"), 1, "{code}");
    }
}

#[tokio::test]
async fn absurd_waits_are_refused() {
    let (fake, outcome) = fetch(10, 9, Fault::Answer(429, "Retry-After: 86400".into(), String::new())).await;
    assert!(matches!(outcome, Err(Error::RetryLater { seconds: 86400, .. })), "{outcome:?}");
    assert_eq!(fake.count("/blobs/"), 1);
}

#[tokio::test]
async fn broken_transfers_are_resumed() {
    let size = 2_000_000;
    for fault in [Fault::Reset(500_000), Fault::NoLength(500_000), Fault::Stall(500_000), Fault::Short(500_000)] {
        let (fake, outcome) = fetch(size, 3, fault.clone()).await;
        outcome.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        let sent: usize = fake.state().seen.iter().map(|seen| seen.sent).sum();
        assert!(sent < size * 6 / 5, "{fault:?}: {sent} bytes");
        assert!(fake.state().seen.last().unwrap().range.is_some());
    }
}

#[tokio::test]
async fn more_resets_than_attempts_are_fine_while_it_moves() {
    fetch(2_000_000, 9, Fault::Reset(200_000)).await.1.unwrap();
    let (_, outcome) = fetch(2_000_000, 99, Fault::Reset(10)).await;
    assert!(matches!(outcome, Err(Error::Unreachable { .. })), "{outcome:?}");
}

#[tokio::test]
async fn wrong_content_is_asked_for_once_more() {
    for fault in [Fault::Flip, Fault::Extra] {
        let (fake, outcome) = fetch(100_000, 1, fault.clone()).await;
        outcome.unwrap();
        assert_eq!(fake.count("/blobs/"), 2);
        let (fake, outcome) = fetch(100_000, 99, fault).await;
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains(&Digest::of(&noise(100_000)).to_string()), "{error}");
        assert!(matches!(error, Error::Mismatch { want, got, .. } if want != got), "{error}");
        assert_eq!(fake.count("/blobs/"), 2);
    }
}

#[tokio::test]
async fn a_blob_that_is_cut_short_for_good_is_an_error() {
    let fake = Fake::start().await;
    let bytes = noise(1000);
    fake.state().blobs.insert(("app".into(), Digest::of(&bytes)), bytes[..900].to_vec());
    let outcome = client().fetch_small(&reference(&fake.host, "app", "1"), &layer(&bytes), 2000).await;
    assert!(matches!(outcome, Err(Error::Mismatch { got_size: 900, .. })), "{outcome:?}");
}

#[tokio::test]
async fn servers_without_ranges_start_over() {
    for fault in [Fault::NoRange, Fault::BadRange, status(416)] {
        let fake = Fake::start().await;
        let bytes = noise(1_000_000);
        fake.blob("app", &bytes);
        fake.plan("GET /v2/app/blobs/", 1, Fault::Reset(300_000));
        fake.plan("GET /v2/app/blobs/", 1, fault.clone());
        let mut sink = Vec::new();
        let target = reference(&fake.host, "app", "1");
        client().fetch_blob(&target, &layer(&bytes), &mut sink, Progress::silent()).await.unwrap();
        assert!(sink == bytes, "{fault:?}");
    }
}

#[tokio::test]
async fn empty_blobs_and_wrong_sizes() {
    fetch(0, 0, Fault::Flip).await.1.unwrap();
    let fake = Fake::start().await;
    fake.blob("app", b"content");
    for size in [0, 3, 100] {
        let wrong = Descriptor { size, ..layer(b"content") };
        let outcome = client().fetch_small(&reference(&fake.host, "app", "1"), &wrong, 1000).await;
        assert!(matches!(outcome, Err(Error::Mismatch { .. })), "{size}: {outcome:?}");
    }
    let outcome = client().fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 3).await;
    assert!(outcome.unwrap_err().to_string().contains("at most 3"));
}

async fn resolve(fault: Option<(&str, Fault)>, digest: Option<Digest>) -> (Fake, Result<Descriptor, Error>) {
    let fake = Fake::start().await;
    fake.manifest("app", "1", media_type::OCI_MANIFEST, MANIFEST);
    if let Some((on, fault)) = fault {
        fake.plan(on, 9, fault);
    }
    let wanted = Reference { digest, ..reference(&fake.host, "app", "1") };
    let outcome = client().resolve(&wanted).await;
    (fake, outcome.map(|resolved| resolved.descriptor))
}

#[tokio::test]
async fn resolves_by_head_and_otherwise_by_get() {
    let want = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(MANIFEST), MANIFEST.len() as u64);
    let (fake, found) = resolve(None, None).await;
    assert_eq!((found.unwrap(), fake.count("GET")), (want.clone(), 0));
    let ctype = Fault::Answer(200, "Content-Type: text/plain".into(), String::from_utf8_lossy(MANIFEST).into());
    for fault in [status(405), Fault::Without("Docker-Content-Digest"), ctype] {
        let (fake, found) = resolve(Some(("HEAD", fault)), None).await;
        assert_eq!((found.unwrap(), fake.count("GET")), (want.clone(), 1));
    }
}

#[tokio::test]
async fn a_wrong_digest_header_is_not_believed() {
    let other = Digest::of(b"other");
    let lie =
        || Fault::Answer(200, format!("Docker-Content-Digest: {other}"), String::from_utf8_lossy(MANIFEST).into());
    let (_, outcome) = resolve(Some(("/manifests/", lie())), None).await;
    assert!(matches!(outcome, Err(Error::Mismatch { .. })), "{outcome:?}");
    let (_, outcome) = resolve(Some(("/manifests/", lie())), Some(Digest::of(MANIFEST))).await;
    assert!(matches!(outcome, Err(Error::Mismatch { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_missing_manifest_is_told_in_the_registrys_words() {
    let fake = Fake::start().await;
    let error = client().resolve(&reference(&fake.host, "app", "1")).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("MANIFEST_UNKNOWN: said the fake"), "{error}");
    assert!(fake.lines().len() <= 2);
}

#[tokio::test]
async fn manifests_are_checked() {
    let fake = Fake::start().await;
    fake.manifest("app", "1", media_type::OCI_MANIFEST, MANIFEST);
    let (client, app) = (client(), reference(&fake.host, "app", "1"));
    let good = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(MANIFEST), MANIFEST.len() as u64);
    assert_eq!(client.fetch_manifest(&app, &good).await.unwrap(), MANIFEST);
    let typed = Descriptor::new(media_type::OCI_INDEX, good.digest, good.size);
    assert!(matches!(client.fetch_manifest(&app, &typed).await, Err(Error::Protocol { .. })));
    for size in [0, 5, 100] {
        let sized = Descriptor { size, ..good.clone() };
        assert!(matches!(client.fetch_manifest(&app, &sized).await, Err(Error::Mismatch { .. })), "{size}");
    }
    let huge = Descriptor { size: 9 << 20, ..good.clone() };
    assert!(client.fetch_manifest(&app, &huge).await.unwrap_err().to_string().contains("larger than 8 MiB"));
    fake.plan("GET", 1, Fault::Flip);
    assert_eq!(client.fetch_manifest(&app, &good).await.unwrap(), MANIFEST);
}

#[tokio::test]
async fn redirects_lose_the_credentials() {
    let (fake, storage) = (Fake::start().await, Fake::start().await);
    let bytes = noise(1000);
    fake.state().guard = crate::fake::Guard::Basic("dTpw".into());
    fake.blob("app", &bytes);
    storage.blob("app", &bytes);
    let away = format!("Location: http://{}/storage/{}", storage.host, Digest::of(&bytes));
    fake.plan("/blobs/", 1, Fault::Answer(307, away.clone(), String::new()));
    let client = crate::client_of(&fake.host, rbuild_registry::Credential::basic("u", "p"));
    // The address expired, then broke, then worked.
    storage.plan("/storage/", 1, status(403));
    storage.plan("/storage/", 1, Fault::Reset(100));
    for _ in 0..5 {
        fake.plan("/blobs/", 1, Fault::Answer(307, away.clone(), String::new()));
    }
    let got = client.fetch_small(&reference(&fake.host, "app", "1"), &layer(&bytes), 2000).await.unwrap();
    assert!(got == bytes);
    assert!(storage.state().seen.iter().all(|seen| seen.authorization.is_none()));
    assert_eq!(storage.count("/storage/"), 3);
}

#[tokio::test]
async fn bad_redirects_are_refused() {
    for (location, part) in [
        ("file:///etc/passwd", "only http"),
        ("http://u:secret@127.0.0.1/", "user"),
        ("http://169.254.169.254/latest?x=secret", "link-local"),
    ] {
        let (_, outcome) = fetch(10, 9, Fault::Answer(302, format!("Location: {location}"), String::new())).await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
    }
    let (fake, outcome) = fetch(10, 99, Fault::Answer(302, "Location: ?again".into(), String::new())).await;
    assert!(outcome.unwrap_err().to_string().contains("more than 10 redirects"));
    assert_eq!(fake.count("GET"), 11);
}

#[tokio::test]
async fn garbage_is_an_error_without_control_bytes() {
    let words = "\u{1b}[31mboo\u{9b}";
    let (_, outcome) = fetch(10, 9, Fault::Answer(404, String::new(), words.into())).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("boo") && !error.contains(char::is_control), "{error:?}");
}

#[tokio::test]
async fn warnings_are_kept_once() {
    let fake = Fake::start().await;
    fake.blob("app", b"x");
    fake.plan("/blobs/", 9, Fault::Header("Warning: 299 - \"use \\\"new\\\" names\"".into()));
    let client = client();
    for _ in 0..3 {
        client.fetch_small(&reference(&fake.host, "app", "1"), &layer(b"x"), 9).await.unwrap();
    }
    assert_eq!(client.take_warnings(), [format!("{}: use \"new\" names", fake.host)]);
    assert_eq!(client.take_warnings(), [""; 0]);
}

#[tokio::test]
async fn an_unreachable_registry_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = client().resolve(&reference(&host, "app", "1")).await.unwrap_err().to_string();
    assert!(error.contains(&host) && error.contains("refused"), "{error}");
}
