//! Sessions that come, are found, and end.

use super::*;
use crate::SessionError;
use crate::session::{Exposed, header};

#[test]
fn headers_introduce_a_session() {
    let exposed = Exposed::read(&map(&[
        (header::ID, "one"),
        (header::SHARED_KEY, "ctx:1"),
        (header::METHOD, "/moby.filesync.v1.FileSync/DiffCopy"),
        (header::METHOD, "/moby.filesync.v1.auth/FetchToken"),
        (header::HEALTH_TIMEOUT, "1500"),
    ]));
    let exposed = exposed.unwrap();
    assert_eq!((exposed.id.as_str(), exposed.shared_key.as_str()), ("one", "ctx:1"));
    assert_eq!(exposed.health_timeout, Some(Duration::from_millis(1500)));
    assert!(exposed.methods.contains("/moby.filesync.v1.filesync/diffcopy"));
    let long = "x".repeat(5000);
    let refused: [&[(&'static str, &str)]; 3] =
        [&[], &[(header::ID, "")], &[(header::ID, "one"), (header::SHARED_KEY, &long)]];
    for headers in refused {
        assert!(Exposed::read(&map(headers)).is_err(), "{headers:?}");
    }
}

#[tokio::test]
async fn sessions_are_waited_for_and_found_by_prefixed_ids() {
    let daemon = Daemon::start();
    let client = ClientSession::new("key").with_secret("s", b"secret".to_vec());
    let id = client.id().to_owned();
    let (sessions, wanted) = (daemon.sessions.clone(), format!("prefix:{id}"));
    let waiting = tokio::spawn(async move { sessions.get(&wanted, TIMEOUT).await });
    let served = client.attach(daemon.channel.clone()).await.unwrap();
    let session = waiting.await.unwrap().unwrap();
    assert_eq!((session.id(), session.shared_key()), (id.as_str(), "key"));
    assert!(session.supports("/moby.buildkit.secrets.v1.secrets/getsecret"));
    assert!(!session.supports(crate::file_sync::METHOD));
    drop(served);
    session.closed().await;
    let gone = daemon.sessions.get(&id, Duration::ZERO).await.unwrap_err();
    assert!(matches!(gone, SessionError::NotFound { .. }), "{gone}");
}

#[tokio::test]
async fn several_sessions_share_a_connection_and_any_of_a_build_answers() {
    let daemon = Daemon::start();
    let (one, two) = (ClientSession::new(""), ClientSession::new("").with_secret("s", b"two".to_vec()));
    let group = daemon.sessions.group([one.id().to_owned(), two.id().to_owned()]);
    let _one = one.attach(daemon.channel.clone()).await.unwrap();
    let _two = two.attach(daemon.channel.clone()).await.unwrap();
    let store = rbuild_store::Store::open(tempfile::tempdir().unwrap().path()).unwrap();
    let client = crate::RemoteClient::new(group, store);
    let secret = rbuild_ops::Session::secret(&client, "s").await.unwrap();
    assert_eq!(secret.as_deref(), Some(&b"two"[..]));
    assert_eq!(rbuild_ops::Session::secret(&client, "other").await.unwrap(), None);
}

#[tokio::test]
async fn closing_a_session_ends_what_waits_for_it() {
    let daemon = Daemon::start();
    let methods = [(header::ID, "silent"), (header::METHOD, crate::file_send::METHOD)];
    let (session, _client) = silent(&daemon, &methods).await;
    let waiting = session.clone();
    let waiting = tokio::spawn(async move { waiting.secret("s").await });
    let mut file = session.send_file(0, &Default::default()).unwrap();
    let writing = tokio::task::spawn_blocking(move || {
        let chunk = vec![0; 1 << 20];
        loop {
            if let Err(error) = std::io::Write::write_all(&mut file, &chunk) {
                return error.to_string();
            }
        }
    });
    session.close("no reason at all");
    let error = waiting.await.unwrap().unwrap_err().to_string();
    assert_eq!(error, "session `silent` ended: no reason at all");
    assert_eq!(writing.await.unwrap(), error);
}

#[tokio::test]
async fn a_silent_client_is_given_up() {
    let daemon = Daemon::start();
    let (session, _client) = silent(&daemon, &[(header::ID, "silent"), (header::HEALTH_TIMEOUT, "1")]).await;
    let error = session.secret("s").await.unwrap_err().to_string();
    assert!(error.contains("session healthcheck failed fatally"), "{error}");
    assert!(!daemon.sessions.contains("silent"));
    let error = daemon.sessions.get("nobody", Duration::from_millis(1)).await.unwrap_err().to_string();
    assert!(error.contains("no active session for nobody"), "{error}");
}
