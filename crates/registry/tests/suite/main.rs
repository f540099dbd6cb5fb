//! The client against registries: one in this process that misbehaves on demand, and Debian's
//! `docker-registry` where it is installed.

#![allow(clippy::print_stderr, reason = "skips are said aloud")]

mod auth;
mod fake;
mod list;
mod login;
mod mirrors;
mod pull;
mod push;
mod real;

use std::sync::Arc;
use std::time::Duration;

use rbuild_oci::{Descriptor, Digest, Reference, media_type};
use rbuild_registry::{Client, Credential, CredentialError, CredentialStore, Options, Timing};

/// Settings under which waiting takes no time.
fn options() -> Options {
    let timing = Timing {
        idle: Duration::from_millis(400),
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(20),
        ..Timing::default()
    };
    Options { timing, ca_bundles: Vec::new(), ..Options::default() }
}

fn client() -> Client {
    Client::new(options()).unwrap()
}

fn reference(host: &str, repository: &str, tag: &str) -> Reference {
    let (registry, repository) = (host.to_owned(), repository.to_owned());
    Reference { registry, repository, tag: Some(tag.to_owned()), digest: None }
}

fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type::OCI_LAYER, Digest::of(bytes), bytes.len() as u64)
}

/// Bytes that differ everywhere.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(next).collect()
}

/// One credential for one registry.
struct Only(String, Credential);

impl CredentialStore for Only {
    fn get(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        Ok((registry == self.0).then(|| self.1.clone()))
    }

    fn store(&self, _: &str, _: &Credential) -> Result<(), CredentialError> {
        Ok(())
    }

    fn erase(&self, _: &str) -> Result<bool, CredentialError> {
        Ok(false)
    }
}

fn client_of(host: &str, credential: Credential) -> Client {
    let credentials = Arc::new(Only(host.to_owned(), credential));
    Client::new(Options { credentials, ..options() }).unwrap()
}

/// Every verb can be spawned on a runtime of several threads.
#[tokio::test(flavor = "multi_thread")]
async fn verbs_are_send() {
    let fake = fake::Fake::start().await;
    fake.blob("app", b"content");
    let (client, app) = (client(), reference(&fake.host, "app", "1"));
    let work = async move {
        let source = Arc::new(bytes::Bytes::from_static(b"new"));
        client.push_blob(&app, &layer(b"new"), &[], source, rbuild_registry::Progress::silent()).await?;
        client.push_manifest(&app, media_type::OCI_MANIFEST, bytes::Bytes::from_static(b"{}")).await?;
        client.resolve(&app).await?;
        client.tags(&app).await?;
        client.referrers(&app, &Digest::of(b""), None).await?;
        rbuild_registry::login(&client, "127.0.0.1:1", &Credential::basic("u", "p")).await.ok();
        client.fetch_small(&app, &layer(b"content"), 99).await
    };
    // The manifest `{}` is refused when read again; what matters is that all this compiles.
    drop(tokio::spawn(work).await.unwrap());
}
