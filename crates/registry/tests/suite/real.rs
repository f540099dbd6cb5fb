//! Against Debian's `docker-registry`, over plain HTTP and over TLS with a CA of our own.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rbuild_events::{Event, Reporter};
use rbuild_oci::{Descriptor, Digest, Reference, media_type};
use rbuild_registry::{Client, Error, Options, Progress, Pushed};

use crate::{layer, noise, options, reference};

const BINARY: &str = "/usr/bin/docker-registry";

struct Registry {
    child: Child,
    host: String,
    home: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts a registry; none, said aloud, if there is no binary to start.
fn start(tls: Option<&str>) -> Option<Registry> {
    if !Path::new(BINARY).exists() {
        eprintln!("skipped: {BINARY} is not installed");
        return None;
    }
    let home = tempfile::tempdir().unwrap();
    let root = home.path().display();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n"
    );
    if let Some(script) = tls {
        certificates(home.path(), script)?;
        config += &format!("  tls: {{certificate: {root}/server.crt, key: {root}/server.key}}\n");
    }
    let path = home.path().join("config.yml");
    fs::File::create(&path).unwrap().write_all(config.as_bytes()).unwrap();
    let child =
        Command::new(BINARY).arg("serve").arg(path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let registry = Registry { child, host: format!("127.0.0.1:{port}"), home };
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(&registry.host).is_err() {
        assert!(Instant::now() < deadline, "the registry did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(registry)
}

/// Makes a CA, and a certificate of it for 127.0.0.1.
const SIGNED_BY_CA: &str =
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt &&
    openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr &&
    printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > ext &&
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.crt";
/// Makes a certificate as most instructions for a private registry say, which is a CA, too.
const SIGNED_BY_ITSELF: &str = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=server \
    -addext subjectAltName=IP:127.0.0.1 -keyout server.key -out server.crt && cp server.crt ca.crt";
/// The same for another machine.
const OF_ANOTHER_HOST: &str = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=server \
    -addext subjectAltName=IP:127.0.0.2 -keyout server.key -out server.crt && cp server.crt ca.crt";

fn certificates(home: &Path, script: &str) -> Option<()> {
    let made = Command::new("sh").arg("-c").arg(script).current_dir(home).stderr(Stdio::null()).status().unwrap();
    if !made.success() {
        eprintln!("skipped: no certificates without openssl");
        return None;
    }
    Some(())
}

#[derive(Default)]
struct Events(Mutex<Vec<Event>>);

impl Reporter for Events {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Pushes an image of a few layers, pulls it again, mounts it elsewhere.
async fn round_trip(client: &Client, host: &str) {
    let app = reference(host, "team/app", "1.0");
    let layers: Vec<Vec<u8>> = (1..4).map(|n| noise(n * 1_500_000)).collect();
    let events = Arc::new(Events::default());
    let push = |bytes: Vec<u8>| {
        let progress = Progress::new(events.clone(), Digest::of(b"vertex"), layer(&bytes).digest.to_string());
        let (descriptor, app) = (layer(&bytes), app.clone());
        async move { client.push_blob(&app, &descriptor, &[], Arc::new(Bytes::from(bytes)), progress).await }
    };
    let pushed = futures::future::try_join_all(layers.iter().cloned().map(push)).await.unwrap();
    assert!(pushed.iter().all(|pushed| *pushed == Pushed::Uploaded));
    let last = events.0.lock().unwrap().pop();
    assert!(
        matches!(last, Some(Event::Status(status)) if status.completed.is_some() && status.current == status.total)
    );
    let config = Bytes::from_static(b"{}");
    push(config.to_vec()).await.unwrap();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": Descriptor::new(media_type::OCI_CONFIG, Digest::of(&config), 2),
        "layers": layers.iter().map(|bytes| layer(bytes)).collect::<Vec<_>>(),
    });
    let body = Bytes::from(manifest.to_string());
    client.push_manifest(&app, media_type::OCI_MANIFEST, body.clone()).await.unwrap();
    let resolved = client.resolve(&app).await.unwrap().descriptor;
    assert_eq!((resolved.digest, resolved.media_type.as_str()), (Digest::of(&body), media_type::OCI_MANIFEST));
    assert_eq!(client.fetch_manifest(&app, &resolved).await.unwrap(), body);
    for bytes in &layers {
        let mut file = tempfile::tempfile().unwrap();
        client.fetch_blob(&app, &layer(bytes), &mut file, Progress::silent()).await.unwrap();
        assert_eq!(file.metadata().unwrap().len(), bytes.len() as u64);
    }
    let other = reference(host, "team/other", "1");
    let source = Arc::new(Bytes::from(layers[0].clone()));
    let from = ["team/app".to_owned()];
    let mounted = client.push_blob(&other, &layer(&layers[0]), &from, source, Progress::silent()).await.unwrap();
    assert_eq!(mounted, Pushed::Mounted);
    assert_eq!(client.tags(&app).await.unwrap(), ["1.0"]);
    let by_digest = Reference { tag: None, digest: Some(resolved.digest), ..app.clone() };
    client.delete_manifest(&by_digest).await.unwrap();
    assert!(client.resolve(&app).await.unwrap_err().to_string().contains("MANIFEST_UNKNOWN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_loopback() {
    let Some(registry) = start(None) else { return };
    round_trip(&Client::new(Options::default()).unwrap(), &registry.host).await;
    let host = registry.host.replace("127.0.0.1", "localhost");
    let error = crate::client().resolve(&reference(&host, "none", "1")).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_a_ca_of_our_own() {
    for script in [SIGNED_BY_CA, SIGNED_BY_ITSELF] {
        let Some(registry) = start(Some(script)) else { return };
        let app = reference(&registry.host, "app", "1");
        let error = Client::new(options()).unwrap().resolve(&app).await.unwrap_err();
        assert!(matches!(error, Error::Certificate { .. }), "{error}");
        let words = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
        assert!(error.to_string().contains(words), "{error}");
        round_trip(&trusting(&registry), &registry.host).await;
        let mut insecure = options();
        insecure.hosts.insecure.insert(registry.host.clone());
        let error = Client::new(insecure).unwrap().resolve(&reference(&registry.host, "other", "1")).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_of_another_host_is_refused() {
    let Some(registry) = start(Some(OF_ANOTHER_HOST)) else { return };
    let error = trusting(&registry).resolve(&reference(&registry.host, "app", "1")).await.unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error}");
    assert!(error.to_string().ends_with("x509: certificate is valid for 127.0.0.2, not 127.0.0.1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_where_tls_is_wanted() {
    let Some(registry) = start(None) else { return };
    if certificates(registry.home.path(), SIGNED_BY_ITSELF).is_none() {
        return;
    }
    // Whoever keeps certificates for a host expects it to use them.
    let error = trusting(&registry).resolve(&reference(&registry.host, "app", "1")).await.unwrap_err();
    let want = format!("{}: http: server gave HTTP response to HTTPS client", registry.host);
    assert!(error.to_string().ends_with(&want), "{error}");
}

/// A client that has the registry's `ca.crt` in `certs.d`.
fn trusting(registry: &Registry) -> Client {
    let folder = registry.home.path().join("certs.d").join(&registry.host);
    fs::create_dir_all(&folder).unwrap();
    fs::copy(registry.home.path().join("ca.crt"), folder.join("ca.crt")).unwrap();
    let directories = vec![registry.home.path().join("certs.d"), "/nonexistent".into()];
    Client::new(Options { certificate_directories: directories, ..options() }).unwrap()
}
