//! Tokens and credentials: what is asked for, and who gets to see it.

use std::sync::Arc;

use rbuild_oci::Digest;
use rbuild_registry::{Client, Credential, Error, Options, Progress, TrustedRealm, login};

use crate::fake::{Fake, Fault, Guard};
use crate::{Only, client, client_of, layer, options, reference};

async fn guarded(uses: usize) -> Fake {
    let fake = Fake::start().await;
    let realm = format!("http://{}/token", fake.host);
    fake.state().guard = Guard::Bearer { realm, uses };
    fake.blob("app", b"content");
    fake
}

fn tokens(fake: &Fake) -> Vec<String> {
    fake.lines().into_iter().filter(|line| line.contains("/token")).collect()
}

#[tokio::test]
async fn pulls_ask_for_pull_once() {
    let fake = guarded(99).await;
    let client = client();
    for _ in 0..3 {
        client.fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await.unwrap();
    }
    assert_eq!(tokens(&fake), ["GET /token?service=fake&scope=repository%3Aapp%3Apull"]);
    assert_eq!(fake.count("/blobs/"), 4);
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let fake = guarded(99).await;
    let client = client();
    let fetch = || async {
        client.fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await.unwrap();
    };
    futures::future::join_all((0..8).map(|_| fetch())).await;
    assert_eq!(tokens(&fake).len(), 1);
}

#[tokio::test]
async fn pushes_ask_for_what_they_need() {
    let fake = guarded(99).await;
    let source = Arc::new(bytes::Bytes::from_static(b"content"));
    let target = reference(&fake.host, "team/new", "1");
    let from = ["app".to_owned()];
    client().push_blob(&target, &layer(b"content"), &from, source, Progress::silent()).await.unwrap();
    assert_eq!(
        tokens(&fake),
        [
            "GET /token?service=fake&scope=repository%3Ateam%2Fnew%3Apull%2Cpush",
            "GET /token?service=fake&scope=repository%3Aapp%3Apull&scope=repository%3Ateam%2Fnew%3Apull%2Cpush",
        ]
    );
}

#[tokio::test]
async fn used_up_tokens_are_renewed() {
    let fake = guarded(1).await;
    let client = client();
    for _ in 0..5 {
        client.fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await.unwrap();
    }
    assert_eq!(tokens(&fake).len(), 5);
}

#[tokio::test]
async fn token_servers_may_stumble() {
    let fake = guarded(99).await;
    fake.plan("/token", 2, Fault::Answer(503, String::new(), String::new()));
    client().fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await.unwrap();
    fake.plan("/token", 99, Fault::Answer(200, String::new(), "{}".into()));
    let error = client().fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await.unwrap_err();
    assert!(error.to_string().contains("holds no token"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_not_enough_ends_it() {
    let fake = guarded(0).await;
    let error = client().fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await.unwrap_err();
    assert!(error.is_denied() && error.to_string().contains("UNAUTHORIZED"), "{error}");
    assert_eq!(fake.count("/blobs/"), 2);
}

#[tokio::test]
async fn credentials_reach_their_own_token_server() {
    let fake = guarded(9).await;
    let client = client_of(&fake.host, Credential::basic("u", "p"));
    client.fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await.unwrap();
    let seen = fake.state().seen.clone();
    let token = seen.iter().find(|seen| seen.line.contains("/token")).unwrap();
    assert_eq!(token.authorization.as_deref(), Some("Basic dTpw"));
    assert!(token.line.ends_with("&account=u"));
    assert!(
        seen.iter().all(|seen| seen.line.contains("/token") || seen.authorization.as_deref() != Some("Basic dTpw"))
    );
}

#[tokio::test]
async fn identity_tokens_are_exchanged() {
    let fake = guarded(9).await;
    let client = client_of(&fake.host, Credential::Identity("refresh me".into()));
    client.fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await.unwrap();
    let seen = fake.state().seen.clone();
    let token = seen.iter().find(|seen| seen.line.contains("/token")).unwrap();
    let body = String::from_utf8_lossy(&token.body);
    assert_eq!(token.line, "POST /token");
    assert!(body.contains("grant_type=refresh_token") && body.contains("refresh_token=refresh+me"), "{body}");
    assert!(body.contains("scope=repository%3Aapp%3Apull"), "{body}");
}

#[tokio::test]
async fn strangers_see_no_credentials() {
    let (fake, evil) = (Fake::start().await, Fake::start().await);
    fake.blob("app", b"content");
    fake.state().guard = Guard::Bearer { realm: format!("http://{}/token", evil.host), uses: 9 };
    for credential in [Credential::basic("u", "secret"), Credential::Identity("secret".into())] {
        let client = client_of(&fake.host, credential);
        let outcome = client.fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await;
        let error = outcome.unwrap_err();
        assert!(error.is_denied() && !error.to_string().contains("secret"), "{error}");
    }
    assert_eq!(evil.count("GET /token"), 2);
    assert!(evil.state().seen.iter().all(|seen| seen.authorization.is_none() && seen.body.is_empty()));
    // Nobody has looked at credentials that were not sent.
    let client = client_of(&fake.host, Credential::basic("u", "secret"));
    let error = login(&client, &fake.host, &Credential::basic("u", "wrong")).await.unwrap_err().to_string();
    let hint = format!("RBUILD_TRUSTED_REALMS={}={}", fake.host, evil.host);
    assert!(error.contains(&hint) && !error.contains("wrong"), "{error}");
    // Unless the user says so.
    let mut options =
        Options { credentials: Arc::new(Only(fake.host.clone(), Credential::basic("u", "p"))), ..options() };
    options.hosts.trusted_realms.push(TrustedRealm { registry: fake.host.clone(), realm: evil.host.clone() });
    let client = Client::new(options).unwrap();
    drop(client.fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await);
    assert_eq!(evil.state().seen.last().unwrap().authorization.as_deref(), Some("Basic dTpw"));
}

#[tokio::test]
async fn basic_credentials_are_sent_when_asked_for() {
    let fake = Fake::start().await;
    fake.blob("app", b"content");
    fake.state().guard = Guard::Basic("dTpw".into());
    let client = client_of(&fake.host, Credential::basic("u", "p"));
    for _ in 0..2 {
        client.fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await.unwrap();
    }
    let sent: Vec<_> = fake.state().seen.iter().map(|seen| seen.authorization.is_some()).collect();
    assert_eq!(sent, [false, true, true]);
    let error =
        crate::client().fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await.unwrap_err();
    assert!(error.to_string().contains("not logged in"), "{error}");
    let wrong = client_of(&fake.host, Credential::basic("u", "hunter2"));
    let error = wrong.fetch_small(&reference(&fake.host, "app", "1"), &layer(b"content"), 99).await.unwrap_err();
    assert!(error.is_denied() && !format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[tokio::test]
async fn uploads_elsewhere_get_no_credentials() {
    let (fake, evil) = (Fake::start().await, Fake::start().await);
    fake.state().guard = Guard::Basic("dTpw".into());
    let location = format!("Location: http://{}/v2/app/blobs/uploads/0?state=a%2Bb", evil.host);
    let client = client_of(&fake.host, Credential::basic("u", "p"));
    let source = Arc::new(bytes::Bytes::from_static(b"new"));
    let target = reference(&fake.host, "app", "1");
    fake.plan("POST", 1, Fault::Answer(401, "WWW-Authenticate: Basic".into(), String::new()));
    fake.plan("POST", 9, Fault::Answer(202, location, String::new()));
    let outcome = client.push_blob(&target, &layer(b"new"), &[], source, Progress::silent()).await;
    assert!(matches!(outcome, Err(Error::Refused { status: 404, .. })), "{outcome:?}");
    assert!(evil.count("PUT") > 0 && evil.state().seen.iter().all(|seen| seen.authorization.is_none()));
    assert!(!fake.state().blobs.contains_key(&("app".into(), Digest::of(b"new"))));
}
