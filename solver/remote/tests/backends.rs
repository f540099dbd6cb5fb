//! One suite for all backends: whatever is put there comes back, and nothing else does.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rbuild_images::Images;
use rbuild_oci::{Descriptor, Digest, Reference, media_type};
use rbuild_registry::{Options, Progress};
use rbuild_remote::{Backend, BoxError, ContentStore, Directory, Local, Put, Registry};

fn described(kind: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64)
}

/// A manifest as small as registries take.
fn manifest(config: &Descriptor) -> Bytes {
    let kind = media_type::OCI_MANIFEST;
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[]}}"#,
        config.media_type, config.digest, config.size
    )
    .into()
}

/// Carries the suite out on an empty place.
async fn check(backend: &dyn Backend) {
    let place = backend.place();
    assert!(backend.root().await.is_err(), "{place}: there is nothing yet");
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (big, config) = (Bytes::from(big), Bytes::from_static(b"{}"));
    let layer = described(media_type::OCI_LAYER, &big);
    let small = described(rbuild_remote::config::MEDIA_TYPE, &config);
    assert!(!backend.has(&layer).await.unwrap(), "{place}");
    for expected in [Put::Written, Put::Existed] {
        let put = backend.put(&layer, Arc::new(big.clone()), &[], Progress::silent()).await.unwrap();
        assert_eq!(put, expected, "{place}");
    }
    backend.put(&small, Arc::new(config.clone()), &[], Progress::silent()).await.unwrap();
    assert!(backend.has(&layer).await.unwrap(), "{place}");
    let other_size = Descriptor { size: layer.size + 1, ..layer.clone() };
    assert!(!backend.has(&other_size).await.unwrap(), "{place}: it counts differently");
    let mut fetched = Vec::new();
    backend.fetch(&layer, &mut fetched, Progress::silent()).await.unwrap();
    assert_eq!(fetched, big, "{place}");
    assert_eq!(backend.small(&small).await.unwrap(), config, "{place}");
    let absent = described(media_type::OCI_LAYER, b"absent");
    assert!(!backend.has(&absent).await.unwrap(), "{place}");
    assert!(backend.fetch(&absent, &mut Vec::new(), Progress::silent()).await.is_err(), "{place}");
    assert!(backend.small(&absent).await.is_err(), "{place}");
    let bytes = manifest(&small);
    let root = described(media_type::OCI_MANIFEST, &bytes);
    for _ in 0..2 {
        backend.put_root(&root, bytes.clone()).await.unwrap();
        let (found, read) = backend.root().await.unwrap();
        assert_eq!((found.digest, found.size, read), (root.digest, root.size, bytes.clone()), "{place}");
    }
    assert_eq!(backend.manifest(&root).await.unwrap(), bytes, "{place}");
}

fn local(store: Arc<dyn ContentStore>) -> Local {
    Local::new(store, "a place".to_owned(), "latest".to_owned(), None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory() {
    let directory = tempfile::tempdir().unwrap();
    check(&local(Arc::new(Directory::new(directory.path().join("cache"))))).await;
}

/// What a client's session may be: blobs, and no names.
#[derive(Default)]
struct Nameless {
    blobs: Mutex<std::collections::HashMap<Digest, Bytes>>,
    tagged: Mutex<Option<Digest>>,
    lies: bool,
}

#[async_trait::async_trait]
impl ContentStore for Nameless {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, BoxError> {
        Ok(self.blobs.lock().unwrap().get(digest).map(|bytes| bytes.len() as u64))
    }

    async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Bytes, BoxError> {
        let blobs = self.blobs.lock().unwrap();
        let bytes = blobs.get(digest).ok_or("it is not there")?;
        // Less than was asked for, as a message may hold no more.
        let end = (offset + length.min(100_000)).min(bytes.len() as u64);
        let part = bytes.slice(offset as usize..end as usize);
        Ok(if self.lies { part.iter().map(|byte| byte ^ 1).collect() } else { part })
    }

    async fn write(&self, descriptor: &Descriptor, source: Arc<dyn rbuild_registry::Source>) -> Result<(), BoxError> {
        let mut bytes = Vec::new();
        source.open(0)?.read_to_end(&mut bytes)?;
        self.blobs.lock().unwrap().insert(descriptor.digest, bytes.into());
        Ok(())
    }

    async fn tagged(&self, _: &str) -> Result<Option<Digest>, BoxError> {
        Ok(*self.tagged.lock().unwrap())
    }

    async fn tag(&self, _: &str, root: &Descriptor, _: bool) -> Result<(), BoxError> {
        *self.tagged.lock().unwrap() = Some(root.digest);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_content_store() {
    check(&local(Arc::new(Nameless::default()))).await;
}

#[tokio::test]
async fn other_bytes_are_refused() {
    let store = Nameless { lies: true, ..Nameless::default() };
    let layer = described(media_type::OCI_LAYER, b"layer");
    store.write(&layer, Arc::new(Bytes::from_static(b"layer"))).await.unwrap();
    let backend = local(Arc::new(store));
    let error = backend.fetch(&layer, &mut Vec::new(), Progress::silent()).await.unwrap_err();
    assert!(error.to_string().contains("has other bytes than those of"), "{error}");
    assert!(backend.small(&layer).await.is_err());
}

/// Debian's registry, which ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(data: &Path) -> Option<(Server, String)> {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
        data.display()
    );
    std::fs::write(data.join("config.yml"), config).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(data.join("config.yml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().ok()?;
    while std::net::TcpStream::connect(&address).is_err() {
        std::thread::yield_now();
    }
    Some((Server(child), address))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry() {
    let directory = tempfile::tempdir().unwrap();
    let Some((_server, address)) = serve(directory.path()) else {
        use std::io::Write as _;
        writeln!(std::io::stderr(), "SKIPPED a_registry: `docker-registry` is not installed").unwrap();
        return;
    };
    let store = rbuild_store::Store::open(&directory.path().join("store")).unwrap();
    let unpack = rbuild_snapshot::UnpackOptions::default();
    let images = Images::new(store, Options::default(), tokio::runtime::Handle::current(), unpack);
    for (name, insecure) in [("cache", false), ("other", true)] {
        let reference = Reference::parse(&format!("{address}/{name}")).unwrap();
        let backend = Registry::new(&images, &reference, insecure).unwrap();
        assert_eq!(backend.repository().is_some(), !insecure, "others know nothing of the exception");
        check(&backend).await;
    }
}
