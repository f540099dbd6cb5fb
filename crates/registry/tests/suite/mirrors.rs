//! Mirrors are asked first, for pulls only, and never decide what is right.

use std::sync::Arc;

use rbuild_registry::{Client, Mirror, Options, Progress};

use crate::fake::{Fake, Fault};
use crate::{layer, options, reference};

fn mirrored(upstream: &Fake, mirrors: &[&str]) -> Client {
    let mut options: Options = options();
    let mirror = |host: &&str| Mirror { host: (*host).to_owned(), prefix: "hub/".to_owned() };
    options.hosts.mirrors.insert(upstream.host.clone(), mirrors.iter().map(mirror).collect());
    Client::new(options).unwrap()
}

#[tokio::test]
async fn mirrors_come_first_and_the_registry_last() {
    let (upstream, mirror) = (Fake::start().await, Fake::start().await);
    upstream.blob("app", b"one");
    upstream.blob("app", b"two");
    mirror.blob("hub/app", b"one");
    let client = mirrored(&upstream, &["127.0.0.1:1", &mirror.host]);
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
    let client = mirrored(&upstream, &[&mirror.host]);
    let source = Arc::new(bytes::Bytes::from_static(b"new"));
    let app = reference(&upstream.host, "app", "1");
    client.push_blob(&app, &layer(b"new"), &[], source, Progress::silent()).await.unwrap();
    assert!(mirror.lines().is_empty() && upstream.count("PUT") == 1);
}
