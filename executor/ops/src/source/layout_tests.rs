//! OCI layouts made by hand, and ones that lie.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbuild_oci::{Digest, Platform};

use crate::OciLayout;
use crate::source::LayoutSource;
use crate::source::testing::{Client, Done, Place, chain, op, run};

/// A layout in the making.
struct Layout(PathBuf);

impl Layout {
    fn new(place: &Place) -> Self {
        let path = place.path("layout");
        std::fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(path)
    }

    fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        std::fs::write(self.path(&digest), bytes).unwrap();
        digest
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.hex())
    }

    /// Adds an image with one file; returns the digests of manifest and layer.
    fn image(&self, content: &str) -> (Digest, Digest) {
        let mut writer = rbuild_tree::tar::LayerWriter::new(Vec::new());
        let metadata = rbuild_tree::Metadata::file(content.len() as u64);
        writer.file(Path::new("file"), &metadata, &mut content.as_bytes()).unwrap();
        let layer = writer.finish().unwrap();
        let (size, layer) = (layer.len(), self.blob(&layer));
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A=b"]}},"rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#
        );
        let (config_size, config) = (config.len(), self.blob(config.as_bytes()));
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{config_size}}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{size}}}]}}"#
        );
        (self.blob(manifest.as_bytes()), layer)
    }

    fn entry(&self, digest: Digest, more: &str) -> String {
        let size = std::fs::metadata(self.path(&digest)).unwrap().len();
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size}{more}}}"#
        )
    }

    fn index(&self, entries: &[String]) -> String {
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
            entries.join(",")
        );
        std::fs::write(self.0.join("index.json"), &index).unwrap();
        index
    }

    async fn fetch(&self, place: &Place, digest: Digest) -> Result<Done, String> {
        let worker = place
            .worker(Client { layouts: BTreeMap::from([("base".to_owned(), self.0.clone())]), ..Client::default() });
        let op = op(&format!("oci-layout://docker.io/library/base@{digest}"), &[("oci.store", "base")]);
        let platform = Some(Platform::new("linux", "amd64", None));
        let source = LayoutSource::new(worker.clone(), &op, platform).map_err(|error| chain(&error))?;
        run(&worker, &source).await.map_err(|error| chain(&*error))
    }
}

fn tag(name: &str) -> String {
    format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn x011_layouts_are_read() {
    let place = Place::new();
    let layout = Layout::new(&place);
    let ((one, _), (two, _)) = (layout.image("one"), layout.image("two"));
    let arm = r#","platform":{"os":"linux","architecture":"arm64"}"#;
    let amd = r#","platform":{"os":"linux","architecture":"amd64"}"#;
    let nested = layout.index(&[layout.entry(one, arm), layout.entry(two, amd)]);
    let nested = layout.blob(nested.as_bytes());
    layout.index(&[layout.entry(one, &tag("v1")), layout.entry(nested, &tag("docker.io/library/base:latest"))]);
    let opened = OciLayout::open(&layout.0).unwrap();
    assert_eq!((opened.find(None).unwrap(), opened.find(Some("v1")).unwrap()), (nested, one));
    assert!(opened.find(Some("v2")).unwrap_err().to_string().contains("no image `v2`"));
    let done = layout.fetch(&place, nested).await.unwrap();
    assert_eq!(done.read("file").as_deref(), Some("two"));
    assert_eq!(layout.fetch(&place, two).await.unwrap().key, done.key);
    assert_ne!(layout.fetch(&place, one).await.unwrap().key, done.key);
    let missing = layout.fetch(&place, Digest::of(b"")).await.err().unwrap();
    assert!(missing.contains("No such file"), "{missing}");
    layout.index(&[layout.entry(one, "")]);
    assert_eq!(opened.find(None).unwrap(), one);
}

/// X48
#[tokio::test(flavor = "multi_thread")]
async fn x48_blobs_are_what_their_names_say() {
    let place = Place::new();
    let layout = Layout::new(&place);
    let (manifest, blob) = layout.image("one");
    let truth = std::fs::read(layout.path(&blob)).unwrap();
    let mut lie = truth.clone();
    lie[600] ^= 1;
    std::fs::write(layout.path(&blob), &lie).unwrap();
    let error = layout.fetch(&place, manifest).await.err().unwrap();
    assert!(error.contains("digest") || error.contains(&blob.to_string()), "{error}");
    // A link would read what lies outside.
    std::fs::write(place.path("outside"), &truth).unwrap();
    std::fs::remove_file(layout.path(&blob)).unwrap();
    std::os::unix::fs::symlink(place.path("outside"), layout.path(&blob)).unwrap();
    let error = layout.fetch(&place, manifest).await.err().unwrap();
    assert!(error.contains("symbolic links"), "{error}");
    std::fs::write(layout.path(&manifest), "{}").unwrap();
    let error = layout.fetch(&place, manifest).await.err().unwrap();
    assert!(error.contains("other content than its name says"), "{error}");
}
