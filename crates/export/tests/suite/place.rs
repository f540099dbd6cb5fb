//! A place for one test: a store with layers, a destination that remembers, a reporter that listens.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rbuild_events::{Event, Reporter};
use rbuild_export::{
    Asker, Blob, BuildResult, Destination, DirectoryMode, Documents, ExportError, Exported, Exporter, InlineCache,
    Output, OutputSpec, StoredImages, TarStream,
};
use rbuild_images::Images;
use rbuild_oci::{Descriptor, DiffId, Digest, media_type};
use rbuild_registry::Options;
use rbuild_snapshot::UnpackOptions;
use rbuild_store::{Kind, LayerBlob, LayerId, NewLayer, Store};
use rbuild_tree::tar::{Archive, LayerWriter};
use rbuild_tree::{FileTree, Metadata};
use serde_json::Value;

pub(crate) struct Place {
    _folder: tempfile::TempDir,
    pub(crate) images: Images,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Reporter for Heard {
    fn report(&self, event: Event) {
        let mut heard = self.0.lock().unwrap();
        match event {
            Event::Vertex(vertex) => heard.push(vertex.name),
            Event::Status(status) if status.completed.is_some() => {
                heard.push(status.id.split("sha256:").next().unwrap_or_default().trim_end().to_owned());
            }
            _ => {}
        }
    }
}

/// What a destination was given.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) tar: Mutex<Vec<u8>>,
    pub(crate) files: Mutex<Vec<String>>,
    pub(crate) blobs: Mutex<Vec<Digest>>,
    pub(crate) documents: Mutex<Vec<&'static str>>,
    pub(crate) has_it: bool,
}

struct Stream(Arc<Taken>);

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.has_it {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "target already exists"));
        }
        self.0.tar.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TarStream for Stream {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// The destination as exporters have it.
struct Client(Arc<Taken>);

impl Destination for Client {
    fn stream(&self, _: &BTreeMap<String, String>) -> Result<Box<dyn TarStream>, ExportError> {
        Ok(Box::new(Stream(self.0.clone())))
    }

    fn directory(
        &self,
        tree: Arc<dyn FileTree>,
        mode: DirectoryMode,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ExportError> {
        let mut files = self.0.files.lock().unwrap();
        files.push(format!("{mode:?}"));
        let mut waiting = vec![std::path::PathBuf::new()];
        while let Some(path) = waiting.pop() {
            for node in tree.children(&path)? {
                if node.metadata.kind.is_directory() {
                    waiting.push(node.path);
                    continue;
                }
                let mut text = String::new();
                tree.open(&node)?.read_to_string(&mut text).map_err(|error| ExportError::Destination(error.into()))?;
                files.push(format!("{}={text}", node.path.display()));
                progress(text.len() as u64);
            }
        }
        Ok(())
    }

    fn content(&self, blobs: &mut dyn Iterator<Item = Blob<'_>>, documents: &Documents) -> Result<(), ExportError> {
        for blob in blobs {
            let mut bytes = Vec::new();
            blob.open()?.read_to_end(&mut bytes).map_err(|error| ExportError::Destination(error.into()))?;
            assert_eq!(Digest::of(&bytes), blob.descriptor.digest);
            self.0.blobs.lock().unwrap().push(blob.descriptor.digest);
        }
        self.0.documents.lock().unwrap().extend(documents.iter().map(|(name, _)| *name));
        Ok(())
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let runtime = tokio::runtime::Handle::current();
        let images = Images::new(store, Options::default(), runtime, UnpackOptions::default());
        Self { _folder: folder, images, heard: Arc::default() }
    }

    /// Puts a layer with files into the store.
    pub(crate) fn layer(&self, files: &[(&str, &str)]) -> LayerId {
        let mut writer = LayerWriter::new(Vec::new());
        for (name, text) in files {
            writer.file(Path::new(name), &Metadata::file(text.len() as u64), &mut text.as_bytes()).unwrap();
        }
        let tar = writer.finish().unwrap();
        let store = self.images.store();
        let digest = store.blobs().put(&tar).unwrap();
        let diff_id = DiffId(digest);
        let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        let new =
            NewLayer { description: format!("files {}", names.join(" ")), diff_id: Some(diff_id), kind: Kind::Regular };
        let layer = store.layers().find_or_create(diff_id, &digest, &new).unwrap();
        let descriptor = Descriptor::new(media_type::OCI_LAYER, digest, tar.len() as u64);
        let blob = LayerBlob { descriptor, variant: "uncompressed".to_owned() };
        store.layers().add_blob(layer, &blob).unwrap();
        layer
    }

    /// Exports a result as a client asks for it.
    pub(crate) fn export(
        &self,
        output: &str,
        result: &BuildResult,
        taken: &Arc<Taken>,
        cache: Option<Arc<dyn InlineCache>>,
    ) -> Result<Exported, String> {
        let mut attributes: BTreeMap<String, String> = output
            .split(',')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.replace(';', ",")))
            .collect();
        let kind = attributes.remove("type").unwrap_or_default();
        let output = Output::parse(&OutputSpec { kind, attributes }, Asker::Client).map_err(|e| e.to_string())?;
        let exporter = Exporter {
            images: self.images.clone(),
            reporter: self.heard.clone(),
            stored: StoredImages::Whole,
            inline_cache: cache,
        };
        let destination: Arc<dyn Destination> = Arc::new(Client(taken.clone()));
        let exported = exporter.export(&output, Arc::new(result.clone()), destination, "exporter/0");
        tokio::runtime::Handle::current().block_on(exported).map_err(|error| error.to_string())
    }

    /// Returns what was heard since the last call.
    pub(crate) fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.0.lock().unwrap())
    }

    /// Returns a document of the store.
    pub(crate) fn document(&self, digest: &Value) -> Value {
        let digest: Digest = digest.as_str().unwrap().parse().unwrap();
        serde_json::from_slice(&self.images.store().blobs().read(&digest, 1 << 20).unwrap()).unwrap()
    }
}

/// Returns the members of a tar with their contents.
pub(crate) fn members(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = Archive::new(tar);
    let mut found = Vec::new();
    while let Some(mut entry) = archive.next_entry().unwrap() {
        let mut bytes = Vec::new();
        let name = entry.header.clean_path().display().to_string();
        entry.read_to_end(&mut bytes).unwrap();
        found.push((name, bytes));
    }
    found
}
