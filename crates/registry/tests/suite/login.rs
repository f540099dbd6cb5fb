//! Logging in and out.

use std::sync::Arc;

use rbuild_registry::{Client, Credential, CredentialStore, DockerConfig, Options, login, logout};

use crate::fake::{Fake, Guard};
use crate::options;

#[tokio::test]
async fn keeps_only_what_the_registry_takes() {
    let home = tempfile::tempdir().unwrap();
    let config = DockerConfig::new(home.path().join("config.json"), "");
    let client = Client::new(Options { credentials: Arc::new(config.clone()), ..options() }).unwrap();
    let fake = Fake::start().await;
    fake.state().guard = Guard::Basic("dTpw".into());
    let error = login(&client, &fake.host, &Credential::basic("u", "wrong")).await.unwrap_err();
    assert!(error.is_denied() && !error.to_string().contains("wrong"), "{error}");
    assert_eq!(config.get(&fake.host).unwrap(), None);
    login(&client, &fake.host, &Credential::basic("u", "p")).await.unwrap();
    assert_eq!(config.get(&fake.host).unwrap(), Some(Credential::basic("u", "p")));
    assert!(logout(&client, &fake.host).await.unwrap());
    assert!(!logout(&client, &fake.host).await.unwrap());
}

#[tokio::test]
async fn asks_token_servers_too() {
    let fake = Fake::start().await;
    fake.state().guard = Guard::Bearer { realm: "/token".into(), uses: 9 };
    let client = crate::client();
    rbuild_registry::verify(&client, &fake.host, &Credential::basic("u", "p")).await.unwrap();
    let token = fake.state().seen[1].clone();
    assert_eq!(
        (token.line.as_str(), token.authorization.as_deref()),
        ("GET /token?service=fake&account=u", Some("Basic dTpw"))
    );
    // An open registry takes everyone.
    fake.state().guard = Guard::Open;
    rbuild_registry::verify(&client, &fake.host, &Credential::basic("u", "p")).await.unwrap();
}
