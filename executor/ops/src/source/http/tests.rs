//! Downloads from a server on the loopback.

use rbuild_graph::pb;
use rbuild_oci::Digest;

use super::HttpSource;
use crate::Algorithm;
use crate::source::testing::{Answer, Asked, Client, Done, Place, Server, chain, op, run};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

async fn fetch(place: &Place, client: &Client, op: &pb::SourceOp) -> Result<Done, String> {
    let worker = place.worker(client.clone());
    let source = HttpSource::new(worker.clone(), op).map_err(|error| error.to_string())?;
    run(&worker, &source).await.map_err(|error| chain(&*error))
}

fn tagged(tag: &'static str, body: &str) -> impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static {
    let body = body.to_owned();
    move |asked, _| {
        let headers = vec![("ETag", format!("W/\"{tag}\"")), ("Last-Modified", MODIFIED.to_owned())];
        let same = asked.header("if-none-match").is_some_and(|tags| tags.contains(tag));
        (if same { 304 } else { 200 }, headers, body.clone())
    }
}

/// D003, D004
// items: D003 D004
#[tokio::test(flavor = "multi_thread")]
async fn d004_once_by_get_then_by_head() {
    let (place, client) = (Place::new(), Client::default());
    let server = Server::start(tagged("one", "hello")).await;
    let address = format!("{}/dir/some%20file?x=1", server.address);
    let first = fetch(&place, &client, &op(&address, &[])).await.unwrap();
    let node = first.node("some file").unwrap();
    assert_eq!((node.metadata.mode, node.metadata.mtime.seconds), (0o600, 784_111_777));
    assert_eq!(first.read("some file").as_deref(), Some("hello"));
    let second = fetch(&place, &client, &op(&address, &[])).await.unwrap();
    assert_eq!(server.methods(), "GET HEAD");
    assert_eq!((second.key, second.value.layers().unwrap()), (first.key, first.value.layers().unwrap()));
    let attributes = [("http.filename", "../x"), ("http.perm", "0755"), ("http.uid", "7"), ("http.gid", "8")];
    let other = fetch(&place, &client, &op(&address, &attributes)).await.unwrap();
    let node = other.node("x").unwrap();
    assert_eq!((node.metadata.mode, node.metadata.uid, node.metadata.gid), (0o755, 7, 8));
    assert_ne!(other.key, first.key);
}

// items: D004 K010
#[tokio::test(flavor = "multi_thread")]
async fn d004_changes_are_seen() {
    let (place, client) = (Place::new(), Client::default());
    let server = Server::start(|_, count| {
        let version = if count > 1 { "two" } else { "one" };
        (200, vec![("ETag", format!("\"{version}\""))], version.to_owned())
    });
    let server = server.await;
    let op = op(&format!("{}/file", server.address), &[]);
    let first = fetch(&place, &client, &op).await.unwrap();
    let second = fetch(&place, &client, &op).await.unwrap();
    assert_eq!((first.read("file").as_deref(), second.read("file").as_deref()), (Some("one"), Some("two")));
    assert_ne!(first.key, second.key);
    assert_eq!(server.methods(), "GET HEAD GET");
}

/// D005
// items: D005
#[tokio::test(flavor = "multi_thread")]
async fn d005_checksums() {
    let (place, client) = (Place::new(), Client::default());
    let server = Server::start(tagged("one", "hello")).await;
    let address = format!("{}/file", server.address);
    let right = Digest::of(b"hello").to_string();
    fetch(&place, &client, &op(&address, &[("http.checksum", &right)])).await.unwrap();
    fetch(&place, &client, &op(&address, &[("http.checksum", &right)])).await.unwrap();
    assert_eq!(server.methods(), "GET", "a file of known content is not asked for again");
    let wrong = Digest::of(b"other").to_string();
    let error = fetch(&place, &client, &op(&address, &[("http.checksum", &wrong)])).await.err().unwrap();
    assert!(error.contains("digest mismatch") && error.contains(&right), "{error}");
    assert!(fetch(&place, &client, &op(&address, &[("http.checksum", "sha512:00")])).await.is_err());
}

/// D006, X51
// items: D006
#[tokio::test(flavor = "multi_thread")]
async fn d006_credentials_stay_at_their_host() {
    let place = Place::new();
    let other = Server::start(tagged("other", "from the other")).await;
    let target = format!("{}/target", other.address);
    let server = Server::start(move |_, _| (302, vec![("Location", target.clone())], String::new())).await;
    let secrets = [("HTTP_AUTH_TOKEN_127.0.0.1".to_owned(), "secret\n".to_owned())].into();
    let client = Client { secrets, ..Client::default() };
    let done = fetch(&place, &client, &op(&format!("{}/file", server.address), &[])).await.unwrap();
    assert_eq!(done.read("file").as_deref(), Some("from the other"));
    assert_eq!(server.asked()[0].header("authorization"), Some("Bearer secret"));
    assert_eq!(other.asked()[0].header("authorization"), None);
    assert_eq!(other.asked()[0].path, "/target");
}

/// X51
#[tokio::test(flavor = "multi_thread")]
async fn x51_other_protocols_are_not_followed() {
    let (place, client) = (Place::new(), Client::default());
    for location in ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://169.254.169.254/latest"] {
        let server = Server::start(move |_, _| (302, vec![("Location", location.to_owned())], String::new())).await;
        let error = fetch(&place, &client, &op(&format!("{}/file", server.address), &[])).await.err().unwrap();
        assert!(error.contains("followed"), "{location}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_sees_one_version() {
    let place = Place::new();
    let server = Server::start(|_, count| (200, vec![("ETag", format!("\"{count}\""))], count.to_string())).await;
    let op = op(&format!("{}/file", server.address), &[]);
    let worker = place.worker(Client::default());
    let told = worker.http_metadata(&op, None).await.unwrap();
    assert_eq!((told.digest, told.name.as_str(), told.last_modified), (Digest::of(b"1"), "file", None));
    let suffix = Some((Algorithm::Sha256, b"!".to_vec()));
    let told = worker.http_metadata(&op, suffix).await.unwrap();
    assert_eq!(told.with_suffix, Some(Digest::of(b"1!").to_string()));
    let done = run(&worker, &HttpSource::new(worker.clone(), &op).unwrap()).await.unwrap();
    assert_eq!((done.read("file").as_deref(), server.methods().as_str()), (Some("1"), "GET"));
    assert_eq!(fetch(&place, &Client::default(), &op).await.unwrap().read("file").as_deref(), Some("3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures() {
    let (place, client) = (Place::new(), Client::default());
    let server = Server::start(|asked, count| match asked.path.as_str() {
        "/busy" if count < 3 => (503, Vec::new(), String::new()),
        "/busy" => {
            (200, vec![("Content-Disposition", "attachment; filename=\"../named\"".to_owned())], "at last".to_owned())
        }
        _ => (404, Vec::new(), String::new()),
    });
    let server = server.await;
    let busy = fetch(&place, &client, &op(&format!("{}/busy", server.address), &[])).await.unwrap();
    assert_eq!(busy.read("named").as_deref(), Some("at last"));
    let error = fetch(&place, &client, &op(&format!("{}/none?token=x", server.address), &[])).await.err().unwrap();
    assert!(error.contains("404") && !error.contains("token"), "{error}");
    let unknown = [("http.signatureverify", "x")];
    let error = fetch(&place, &client, &op(&format!("{}/busy", server.address), &unknown)).await.err().unwrap();
    assert!(error.contains("is not supported"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_client_are_taken_from_it() {
    let mut client = Client::default();
    client.uploads.insert("/one".to_owned(), "hello".to_owned());
    let place = Place::new();
    let done = fetch(&place, &client, &op("http://buildkit-session/one", &[])).await.unwrap();
    assert_eq!(done.read("one").as_deref(), Some("hello"));
    let missing = fetch(&place, &client, &op("http://buildkit-session/two", &[])).await.err().unwrap();
    assert!(missing.contains("the client of this build offers no such file"), "{missing}");
}
