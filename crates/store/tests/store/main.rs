//! The store seen from outside: several handles, threads and processes upon one directory.

mod blobs;
mod collecting;
mod images;
mod layers;
mod mounts;
mod opening;
mod processes;

use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use rbuild_oci::{Descriptor, DiffId, Digest, Platform, Reference, media_type};
use rbuild_store::{ImageId, Kind, LayerBlob, LayerId, NewImage, NewLayer, NewResult, Store, TreeState, disk_usage};
use tempfile::TempDir;

/// A store in a directory that goes with it.
struct Fixture {
    store: Store,
    directory: TempDir,
}

impl Fixture {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let store = Store::open(&directory.path().join("store"))?;
        Ok(Self { store, directory })
    }

    fn root(&self) -> &Path {
        self.store.root()
    }

    /// Ends the lease, as the end of a command does.
    fn reopen(&mut self) -> Result<()> {
        let root = self.root().to_owned();
        self.store = Store::open(&root)?;
        Ok(())
    }
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type::OCI_LAYER, Digest::of(bytes), bytes.len() as u64)
}

fn diff_id(text: &str) -> DiffId {
    DiffId(Digest::of(text.as_bytes()))
}

fn name(text: &str) -> Reference {
    text.parse().expect("test names are well formed")
}

/// A layer with a tree of one file and a blob.
fn layer(store: &Store, text: &str) -> Result<LayerId> {
    let new = NewLayer { description: text.to_owned(), diff_id: Some(diff_id(text)), ..NewLayer::default() };
    let id = store.layers().create(&new)?;
    let TreeState::Build(build) = store.layers().begin_tree(id)? else { anyhow::bail!("a new layer has no tree") };
    std::fs::write(build.fs().join("file"), vec![7; 10_000])?;
    let size = disk_usage(&build.fs())?;
    build.finish(size, None)?;
    let bytes = format!("blob of {text}").repeat(1000).into_bytes();
    store.blobs().put(&bytes)?;
    store.layers().add_blob(id, &LayerBlob { descriptor: descriptor(&bytes), variant: "uncompressed".to_owned() })?;
    Ok(id)
}

/// An image upon layers; its id.
fn image(store: &Store, text: &str, layers: &[LayerId], names: &[&str]) -> Result<ImageId> {
    let config = store.blobs().put(format!("config of {text}").as_bytes())?;
    let manifest = format!("manifest of {text}");
    store.blobs().put(manifest.as_bytes())?;
    let new = NewImage {
        id: ImageId(config),
        target: Some(Descriptor { media_type: media_type::OCI_MANIFEST.to_owned(), ..descriptor(manifest.as_bytes()) }),
        layers: layers.to_vec(),
        blobs: Vec::new(),
        platform: Platform::host(),
        created: SystemTime::UNIX_EPOCH,
    };
    let names: Vec<Reference> = names.iter().map(|text| name(text)).collect();
    store.images().record(&new, &names)?;
    Ok(new.id)
}

fn result(store: &Store, id: &str, layers: &[LayerId]) -> Result<()> {
    store.results().put(&NewResult { id, kind: Kind::Regular, description: id, layers, value: b"value" })?;
    Ok(())
}

/// How many blobs, layers, and entries of the directories that are empty at rest there are.
fn left(store: &Store) -> Result<(usize, usize, usize)> {
    let count = |name: &str| Ok::<_, anyhow::Error>(std::fs::read_dir(store.root().join(name))?.count());
    let rest = count("tmp")? + count("trash")? + count("partial")? + count("cachemounts")?;
    Ok((count("oci/blobs/sha256")?, count("layers")?, rest))
}
