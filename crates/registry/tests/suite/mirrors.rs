//! Mirrors are asked first, for pulls only, and never decide what is right.

use std::sync::Arc;

use rbuild_registry::{Client, Mirror, Options, Progress};

use crate::fake::{Fake, Fault};
use crate::{layer, options, reference};

/// Where nothing listens.
const NOBODY: &str = "127.0.0.1:1";

fn mirrored(upstream: &str, mirrors: &[&str]) -> Client {
    let mut options: Options = options();
    let mirror = |host: &&str| Mirror { host: (*host).to_owned(), prefix: "hub/".to_owned() };
    options.hosts.mirrors.insert(upstream.to_owned(), mirrors.iter().map(mirror).collect());
    Client::new(options).unwrap()
}

#[tokio::test]
async fn mirrors_come_first_and_the_registry_last() {
    let (upstream, mirror) = (Fake::start().await, Fake::start().await);
    upstream.blob("app", b"one");
    upstream.blob("app", b"two");
    mirror.blob("hub/app", b"one");
    let client = mirrored(&upstream.host, &[NOBODY, &mirror.host]);
    let app = reference(&upstream.host, "app", "1");
    client.fetch_small(&app, &layer(b"one"), 9).await.unwrap();
    assert!(upstream.lines().is_empty());
    client.fetch_small(&app, &layer(b"two"), 9).await.unwrap();
    assert_eq!(upstream.count("/blobs/"), 1);
    // Wrong bytes of a mirror are no better than none.
    mirror.plan("/blobs/", 9, Fault::Flip);
    upstream.blob("app", b"one");
    client.fetch_small(&app, &layer(b"one"), 9).await.unwrap();
    assert_eq!(upstream.count("/blobs/"), 2);
}

#[tokio::test]
async fn pushes_go_to_the_registry() {
    let (upstream, mirror) = (Fake::start().await, Fake::start().await);
    let client = mirrored(&upstream.host, &[&mirror.host]);
    let source = Arc::new(bytes::Bytes::from_static(b"new"));
    let app = reference(&upstream.host, "app", "1");
    client.push_blob(&app, &layer(b"new"), &[], source, Progress::silent()).await.unwrap();
    assert!(mirror.lines().is_empty() && upstream.count("PUT") == 1);
}

#[tokio::test]
async fn without_the_registry_a_mirrors_words_count() {
    let mirror = Fake::start().await;
    let client = mirrored(NOBODY, &[&mirror.host]);
    let error = client.resolve(&reference(NOBODY, "app", "1")).await.unwrap_err().to_string();
    let refused =
        format!("resolving {NOBODY}/app:1: dial tcp {NOBODY}: connect: connection refused; from its mirror: ");
    let lacks = format!("resolving {NOBODY}/app:1: not found: {} answered 404 Not Found", mirror.host);
    assert!(error.starts_with(&(refused + &lacks)), "{error}");
}

#[tokio::test]
async fn the_registrys_words_count_more_than_its_mirrors() {
    let upstream = Fake::start().await;
    let client = mirrored(&upstream.host, &[NOBODY]);
    let error = client.resolve(&reference(&upstream.host, "app", "1")).await.unwrap_err();
    assert!(error.is_not_found() && !error.to_string().contains(NOBODY), "{error}");
}
