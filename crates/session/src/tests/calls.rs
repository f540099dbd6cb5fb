//! Secrets, agents, archives and credentials through a session.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use rbuild_buildkit_api::exporter::ExporterRequest;
use rbuild_oci::Digest;
use rbuild_ops::Agent;
use rbuild_registry::{Credential, CredentialError, CredentialStore, TokenRequest};

use super::*;
use crate::SessionCredentials;

/// Credentials of one registry.
struct One;

impl CredentialStore for One {
    fn get(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        Ok((registry == "docker.io").then(|| Credential::basic("user", "password")))
    }

    fn store(&self, _: &str, _: &Credential) -> Result<(), CredentialError> {
        Err(CredentialError::ReadOnly)
    }

    fn erase(&self, _: &str) -> Result<bool, CredentialError> {
        Ok(false)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_asked_of_the_client() {
    let pair = Daemon::pair(ClientSession::new("").with_credentials(Arc::new(One))).await;
    let credentials = SessionCredentials::new(pair.group());
    let found = tokio::task::spawn_blocking(move || {
        let token = TokenRequest {
            registry: "docker.io".to_owned(),
            realm: "https://auth.docker.io/token".to_owned(),
            service: String::new(),
            scopes: Vec::new(),
        };
        [credentials.get("docker.io"), credentials.get("ghcr.io"), credentials.token(&token).map(|_| None)]
            .map(Result::unwrap)
    });
    let found = found.await.unwrap();
    assert_eq!(found, [Some(Credential::basic("user", "password")), None, None]);
    let none = Daemon::pair(ClientSession::new("")).await;
    let credentials = SessionCredentials::new(none.group());
    let anonymous = tokio::task::spawn_blocking(move || credentials.get("docker.io")).await.unwrap().unwrap();
    assert_eq!(anonymous, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_reached_and_each_direction_ends_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut client, _) = listener.accept().unwrap();
            let mut said = String::new();
            client.read_to_string(&mut said).unwrap();
            client.write_all(said.to_uppercase().as_bytes()).unwrap();
        }
    });
    let pair = Daemon::pair(ClientSession::new("").with_agent("default", path)).await;
    assert!(pair.session.ssh_agent("other").await.unwrap().is_none());
    let agent = pair.session.ssh_agent("default").await.unwrap().unwrap();
    let answers = tokio::task::spawn_blocking(move || {
        ["hello", "again"].map(|word| {
            let mut socket = agent.connect().unwrap();
            socket.write_all(word.as_bytes()).unwrap();
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            answer
        })
    });
    assert_eq!(answers.await.unwrap(), ["HELLO", "AGAIN"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_are_pulled() {
    let content = vec![7; 300_000];
    let offered = content.clone();
    let open = Box::new(move || Ok(Box::new(std::io::Cursor::new(offered.clone())) as Box<dyn Read + Send>));
    let pair = Daemon::pair(ClientSession::new("").with_upload("/one", open)).await;
    assert!(pair.session.upload("buildkit-session", "/two").await.unwrap().is_none());
    let mut reader = pair.session.upload("buildkit-session", "/one").await.unwrap().unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    assert!(read.await.unwrap().unwrap() == content);
}

/// A file that tells what was written to it, and whether it was whole.
#[derive(Clone, Default)]
struct Kept(Arc<std::sync::Mutex<(Vec<u8>, bool)>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.lock().unwrap().1 = true;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_sent_whole_or_not_at_all() {
    let (kept, seen) = (Kept::default(), Arc::new(std::sync::Mutex::new(BTreeMap::new())));
    let open = {
        let (kept, seen) = (kept.clone(), seen.clone());
        Box::new(move |metadata: &BTreeMap<String, String>| {
            seen.lock().unwrap().clone_from(metadata);
            Ok(Some(Box::new(kept.clone()) as Box<dyn Write + Send>))
        })
    };
    let client = ClientSession::new("").with_file(3, open).with_file(4, Box::new(|_| Ok(None)));
    let pair = Daemon::pair(client).await;
    let metadata = BTreeMap::from([("image.name".to_owned(), "grün".to_owned())]);
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| at as u8).collect();
    let send = |exporter: usize, finish: bool| {
        let (session, metadata, content) = (pair.session.clone(), metadata.clone(), content.clone());
        let mut writer = session.send_file(exporter, &metadata).unwrap();
        async move {
            let writer = tokio::task::spawn_blocking(move || writer.write_all(&content).map(|()| writer));
            let writer = writer.await.unwrap().unwrap();
            if finish { Some(writer.finish().await) } else { None }
        }
    };
    send(3, false).await;
    assert!(!kept.0.lock().unwrap().1);
    kept.0.lock().unwrap().0.clear();
    assert_eq!(send(4, true).await.unwrap().unwrap(), crate::Sent::Existed);
    let error = send(5, true).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "sending a file to the client: exporter 5 not found");
    let pair_of_its_own = Kept::default();
    let open = {
        let kept = pair_of_its_own.clone();
        Box::new(move |_: &BTreeMap<String, String>| Ok(Some(Box::new(kept.clone()) as Box<dyn Write + Send>)))
    };
    let pair = Daemon::pair(ClientSession::new("").with_file(0, open)).await;
    let mut writer = pair.session.send_file(0, &metadata).unwrap();
    let whole = content.clone();
    let writer = tokio::task::spawn_blocking(move || writer.write_all(&whole).map(|()| writer)).await.unwrap().unwrap();
    assert_eq!(writer.finish().await.unwrap(), crate::Sent::Whole);
    let kept = pair_of_its_own.0.lock().unwrap();
    assert!(kept.0 == content && kept.1);
    assert_eq!(*seen.lock().unwrap(), metadata);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_taken_and_given() {
    let directory = tempfile::tempdir().unwrap();
    let pair = Daemon::pair(ClientSession::new("").with_store("local:cache", directory.path())).await;
    let content = pair.session.content("local:cache").unwrap();
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|at| (at / 7) as u8).collect();
    let digest = Digest::of(&bytes);
    assert_eq!(content.size(&digest).await.unwrap(), None);
    let write = |announced: Digest| {
        let (content, bytes) = (content.clone(), bytes.clone());
        async move {
            let Some(mut writer) = content.writer("ref", &announced, bytes.len() as u64).await? else {
                return Ok(false);
            };
            let written = tokio::task::spawn_blocking(move || {
                writer.write_all(&bytes).unwrap();
                writer.commit().map(|()| true)
            });
            written.await.unwrap()
        }
    };
    let error: crate::SessionError = write(Digest::of(b"other")).await.unwrap_err();
    assert!(error.to_string().contains("unexpected digest"), "{error}");
    assert!(write(digest).await.unwrap());
    assert!(!write(digest).await.unwrap(), "it is there");
    assert_eq!(content.size(&digest).await.unwrap(), Some(bytes.len() as u64));
    assert_eq!(std::fs::read_dir(directory.path().join("ingest")).unwrap().count(), 0);
    let mut reader = content.reader(&digest, 1_999_990).await.unwrap();
    let layout = content.clone();
    // A thread that knows nothing of a runtime.
    let read = std::thread::spawn(move || {
        let mut tail = Vec::new();
        reader.read_to_end(&mut tail).unwrap();
        (tail, rbuild_ops::LayoutBlobs::document(&layout, &digest, 99).unwrap())
    });
    let (tail, document) = tokio::task::spawn_blocking(|| read.join()).await.unwrap().unwrap();
    assert_eq!(tail, bytes[1_999_990..]);
    assert_eq!(document, bytes[..100], "one byte more than was allowed");
    let other = pair.session.content("local:other").unwrap();
    assert_eq!(other.size(&digest).await.unwrap(), None);
}

#[tokio::test]
async fn exporters_are_chosen_by_the_client() {
    let chosen = |metadata: &BTreeMap<String, Vec<u8>>| {
        let attrs = metadata.keys().map(|key| (key.clone(), "1".to_owned())).collect();
        vec![ExporterRequest { r#type: "oci".to_owned(), attrs }]
    };
    let pair = Daemon::pair(ClientSession::new("").with_exporters(Box::new(chosen))).await;
    let metadata = BTreeMap::from([("key".to_owned(), b"value".to_vec())]);
    let found = pair.session.find_exporters(metadata.clone(), Vec::new()).await.unwrap();
    assert_eq!((found.len(), found[0].r#type.as_str(), found[0].attrs["key"].as_str()), (1, "oci", "1"));
    pair.session.finalize_export(BTreeMap::new()).await.unwrap();
    let none = Daemon::pair(ClientSession::new("")).await;
    assert_eq!(none.session.find_exporters(metadata, Vec::new()).await.unwrap(), []);
}
