use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rbuild_oci::Reference;
use rbuild_registry::{Options, Timing};
use rbuild_snapshot::UnpackOptions;
use rbuild_store::Store;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::Mode;

const V1: &str = "https://slsa.dev/provenance/v1";
const SBOM: &str = "https://spdx.dev/Document";
const PLENTY: u64 = 1 << 20;

/// What a registry answers, by path: a type and a body.
type Documents = Arc<Mutex<HashMap<String, (String, Vec<u8>)>>>;

/// A registry in this process with an image, and a store that has nothing of it.
struct Place {
    _folder: tempfile::TempDir,
    images: Images,
    address: String,
    documents: Documents,
}

impl Place {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let documents = Documents::default();
        let served = documents.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, served.clone()));
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let runtime = tokio::runtime::Handle::current();
        let waits = Timing { first_wait: Duration::from_millis(5), ..Timing::default() };
        let options = Options { timing: waits, ca_bundles: Vec::new(), ..Options::default() };
        let images = Images::new(store, options, runtime, UnpackOptions::default());
        Self { _folder: folder, images, address, documents }
    }

    fn put(&self, kind: &str, name: &str, media_type: &str, bytes: &[u8]) {
        let document = (media_type.to_owned(), bytes.to_vec());
        self.documents.lock().unwrap().insert(format!("/v2/app/{kind}/{name}"), document);
    }

    /// Serves a blob or, if it is one, a manifest, and returns its descriptor.
    fn add(&self, media_type: &str, bytes: &[u8], more: &Value) -> Value {
        let digest = Digest::of(bytes).to_string();
        let is_document = media_type::is_manifest(media_type) || media_type::is_index(media_type);
        self.put(if is_document { "manifests" } else { "blobs" }, &digest, media_type, bytes);
        let mut descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        descriptor.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        descriptor
    }

    fn manifest(&self, config: &Value, layers: &[Value], more: &Value) -> Value {
        let document =
            json!({ "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers });
        self.add(media_type::OCI_MANIFEST, document.to_string().as_bytes(), more)
    }

    /// Serves an image with these statements, of a predicate type each.
    fn image(&self, statements: &[(&str, &[u8])]) {
        let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] } });
        let config = self.add(media_type::OCI_CONFIG, config.to_string().as_bytes(), &json!({}));
        let platform = json!({ "platform": { "os": "linux", "architecture": "amd64" } });
        let image = self.manifest(&config, &[], &platform);
        let layer = |(kind, bytes): &(&str, &[u8])| {
            self.add(IN_TOTO, bytes, &json!({ "annotations": { PREDICATE_TYPE: kind } }))
        };
        let layers: Vec<_> = statements.iter().map(layer).collect();
        let about = json!({
            "annotations": { REFERENCE_TYPE: "attestation-manifest", REFERENCE_DIGEST: image["digest"] },
            "platform": { "os": "unknown", "architecture": "unknown" },
        });
        let attestations = self.manifest(&config, &layers, &about);
        self.tag("latest", &[image, attestations]);
    }

    /// Signs the attestations of the image.
    fn sign(&self, signature: &[u8]) {
        let index: Value =
            serde_json::from_slice(&self.documents.lock().unwrap()["/v2/app/manifests/latest"].1).unwrap();
        let subject = index["manifests"][1]["digest"].as_str().unwrap().to_owned();
        let layer = self.add(SIGNATURES[0], signature, &json!({}));
        let config = self.add("application/vnd.oci.empty.v1+json", b"{}", &json!({}));
        let entry = self.manifest(&config, &[layer], &json!({ "artifactType": SIGNATURES[0] }));
        self.tag(&subject.replace(':', "-"), &[entry]);
    }

    fn tag(&self, tag: &str, entries: &[Value]) {
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries }).to_string();
        self.add(media_type::OCI_INDEX, index.as_bytes(), &json!({}));
        self.put("manifests", tag, media_type::OCI_INDEX, index.as_bytes());
    }

    async fn chain(&self, wanted: &[&str], limit: u64) -> Result<Option<AttestationChain>, ImagesError> {
        let reference = Reference::parse(&format!("{}/app", self.address)).unwrap();
        let platform = Platform::parse("linux/amd64").unwrap();
        let image = self.images.resolve(&reference, &platform, Mode::Always).await.unwrap();
        let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
        self.images.attestation_chain(&image, &platform, &wanted, limit).await
    }

    async fn fails(&self, wanted: &[&str], limit: u64, with: &str) {
        let error = self.chain(wanted, limit).await.unwrap_err().to_string();
        assert!(error.contains(with), "{error} lacks {with}");
    }
}

/// Answers one request.
async fn answer(mut stream: TcpStream, documents: Documents) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            // No letter: somebody tries TLS.
            Ok(byte) if byte.is_ascii_alphabetic() || !head.is_empty() => head.push(byte),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let (method, rest) = head.split_once(' ').unwrap();
    let path = rest.split(' ').next().unwrap();
    let found = documents.lock().unwrap().get(path).cloned();
    let (status, (kind, body)) = match found {
        Some(found) => ("200 OK", found),
        None if path == "/v2/" => ("200 OK", Default::default()),
        None => ("404 Not Found", Default::default()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let body = if method == "HEAD" { Vec::new() } else { body };
    let _ = stream.write_all(&[head.into_bytes(), body].concat()).await;
}

/// Returns what was read besides the index and the manifest of attestations.
fn others(chain: &AttestationChain) -> Vec<&[u8]> {
    assert_eq!(chain.blobs[0].0.digest, chain.root);
    assert_eq!(Some(chain.blobs[1].0.digest), chain.attestations);
    for (descriptor, bytes) in &chain.blobs {
        assert_eq!((descriptor.digest, descriptor.size), (Digest::of(bytes), bytes.len() as u64));
        assert_ne!(descriptor.digest, chain.image, "the image's own manifest proves nothing");
    }
    chain.blobs[2..].iter().map(|(_, bytes)| &bytes[..]).collect()
}

#[tokio::test]
async fn chains_lead_to_statements_and_signatures() {
    let place = Place::new().await;
    place.image(&[(V1, b"made so"), (SBOM, b"made of"), (V1, b"made so, too")]);
    let chain = place.chain(&[], PLENTY).await.unwrap().unwrap();
    assert_eq!((chain.signature, others(&chain)), (None, vec![]));
    let chain = place.chain(&[V1, ""], PLENTY).await.unwrap().unwrap();
    assert_eq!(others(&chain), [&b"made so"[..], b"made so, too"]);
    // Who signed is asked each time: it may have happened since.
    place.sign(b"me");
    let chain = place.chain(&[SBOM], PLENTY).await.unwrap().unwrap();
    let told = others(&chain);
    assert_eq!(told[1..], [&b"me"[..], b"made of"]);
    assert_eq!(chain.signature, Some(Digest::of(told[0])));
}

#[tokio::test]
async fn chains_are_bounded_and_their_bytes_checked() {
    let place = Place::new().await;
    place.image(&[(V1, &[b'x'; 4000]), (SBOM, b"made of")]);
    place.fails(&[V1], 4500, "may be read").await;
    place.chain(&[SBOM], 4500).await.unwrap().unwrap();
    place.put("blobs", &Digest::of(&[b'x'; 4000]).to_string(), IN_TOTO, &[b'y'; 4000]);
    place.fails(&[V1], PLENTY, "sha256").await;
    let many = Place::new().await;
    let statements: Vec<_> = (0..300).map(|number: u16| number.to_be_bytes()).collect();
    many.image(&statements.iter().map(|bytes| (V1, &bytes[..])).collect::<Vec<_>>());
    many.fails(&[V1], PLENTY, "more than 256").await;
}

#[tokio::test]
async fn images_without_index_or_attestations_have_none() {
    let place = Place::new().await;
    place.image(&[]);
    let index: Value = serde_json::from_slice(&place.documents.lock().unwrap()["/v2/app/manifests/latest"].1).unwrap();
    let image = &index["manifests"][0];
    place.tag("latest", std::slice::from_ref(image));
    let chain = place.chain(&[V1], PLENTY).await.unwrap().unwrap();
    assert_eq!((chain.attestations, chain.blobs.len()), (None, 1));
    let alone = Place::new().await;
    let path = format!("/v2/app/manifests/{}", image["digest"].as_str().unwrap());
    let (kind, bytes) = place.documents.lock().unwrap()[&path].clone();
    alone.image(&[]);
    alone.put("manifests", "latest", &kind, &bytes);
    assert_eq!(alone.chain(&[V1], PLENTY).await.unwrap(), None);
}

#[test]
fn entries_are_what_they_say() {
    let entry = |more: Value| {
        let mut entry = json!({ "mediaType": media_type::OCI_MANIFEST, "digest": Digest::of(b"x"), "size": 1 });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let index = |entries: &[Value], annotations: Value| -> Index {
        let index = json!({ "schemaVersion": 2, "manifests": entries, "annotations": annotations });
        serde_json::from_value(index).unwrap()
    };
    let signed = |types: &[&str]| {
        let entries: Vec<_> = types.iter().map(|kind| entry(json!({ "artifactType": kind }))).collect();
        signature_of(&index(&entries, json!({}))).and_then(|entry| entry.artifact_type.clone())
    };
    assert_eq!(signed(&["text/plain", SIGNATURES[1], SIGNATURES[0]]).as_deref(), Some(SIGNATURES[0]));
    assert_eq!(signed(&[SIGNATURES[1]]).as_deref(), Some(SIGNATURES[1]));
    assert_eq!(signed(&["text/plain"]), None);
    let built = entry(json!({ "annotations": { "com.docker.dhi.build.id": "1" } }));
    let title = |title: &str| json!({ "org.opencontainers.image.title": title });
    assert!(is_hardened(&index(std::slice::from_ref(&built), title("dhi/app"))));
    assert!(!is_hardened(&index(&[built.clone(), entry(json!({}))], title("dhi/app"))));
    assert!(!is_hardened(&index(&[built], title("app"))));
}
