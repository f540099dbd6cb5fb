//! Images as archives and layouts hold them.

use std::path::{Path, PathBuf};

use rbuild_build::OutputSpec;
use rbuild_oci::{Digest, Reference};
use serde_json::Value;

use crate::files::Files;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Builds a layout and returns its directory.
async fn layout(files: &Files, dockerfile: &str, compression: &str, tags: &[&str]) -> PathBuf {
    let layout = files.place.path(&format!("layout-{compression}"));
    let attributes = [("dest", layout.to_str().unwrap()), ("tar", "false"), ("compression", compression)];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let outputs = vec![OutputSpec { kind: "oci".to_owned(), attributes }];
    let tags = tags.iter().map(|tag| Reference::parse(tag).unwrap()).collect();
    files.image_with(dockerfile, |request| (request.outputs, request.tags) = (outputs, tags)).await;
    layout
}

fn blob(layout: &Path, digest: &Value) -> PathBuf {
    layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"))
}

// items: H003 H004 H008
#[tokio::test(flavor = "multi_thread")]
async fn h004_diff_ids_are_those_of_plain_layers() {
    let files = Files::new("a=A b=B");
    let dockerfile = "FROM scratch\nENV x=1\nCOPY a /\nLABEL y=2\nCOPY b /\nCMD z\n";
    let mut ids = Vec::new();
    for compression in ["uncompressed", "gzip", "zstd"] {
        let layout = layout(&files, dockerfile, compression, &["app"]).await;
        let manifest = json(&blob(&layout, &json(&layout.join("index.json"))["manifests"][0]["digest"]));
        let config = json(&blob(&layout, &manifest["config"]["digest"]));
        let layers = manifest["layers"].as_array().unwrap();
        let sums = layers.iter().map(|layer| std::fs::read(blob(&layout, &layer["digest"])).unwrap());
        let sums: Vec<_> = sums.map(|bytes| Value::from(Digest::of(&bytes).to_string())).collect();
        if compression == "uncompressed" {
            assert_eq!(config["rootfs"]["diff_ids"], Value::from(sums));
        }
        let times: Vec<_> =
            config["history"].as_array().unwrap().iter().map(|entry| entry["created"].clone()).collect();
        assert_eq!(times.len(), 5);
        // Entries without a layer are as old as the first layer, or as the one before.
        assert!(times[0] == times[1] && times[2] == times[1] && times[4] == times[3], "{times:?}");
        assert_eq!(config["created"], times[4]);
        ids.push(config["rootfs"]["diff_ids"].clone());
    }
    assert!(ids.iter().all(|other| *other == ids[0]), "{ids:?}");
}

// items: H009
#[tokio::test(flavor = "multi_thread")]
async fn h009_names_have_entries_of_their_own() {
    let files = Files::new("a=A");
    let tags = ["example.com/one:1", "example.com/one:2", "two"];
    let layout = layout(&files, "FROM scratch\nCOPY a /\n", "gzip", &tags).await;
    let index = json(&layout.join("index.json"));
    let manifests = index["manifests"].as_array().unwrap();
    let annotation =
        |name: &str| -> Vec<_> { manifests.iter().map(|entry| entry["annotations"][name].clone()).collect() };
    let names = ["example.com/one:1", "example.com/one:2", "docker.io/library/two:latest"];
    assert_eq!(annotation("io.containerd.image.name"), names);
    assert_eq!(annotation("org.opencontainers.image.ref.name"), ["1", "2", "latest"]);
    assert!(manifests.iter().all(|entry| entry["digest"] == manifests[0]["digest"]));
}
