//! What only the exporter knows of an SBOM: which layer of the image each file is in.

use std::path::Path;

use rbuild_images::{Images, MadeBlob};
use rbuild_oci::{Digest, json};
use rbuild_store::LayerId;
use rbuild_tree::FileTree;
use rbuild_tree::select::clamp;
use serde_json::{Map, Value};

use crate::ExportError;
use crate::attestation::{Attestation, Content, SBOM_CORE, tree};

/// The type of SPDX documents.
const SPDX: &str = "https://spdx.dev/Document";

/// A layer that may have a file, looked into when somebody asks.
struct Layer<'a> {
    id: LayerId,
    blob: &'a MadeBlob,
    tree: Option<Box<dyn FileTree>>,
}

/// Returns an SBOM that tells the layer of each file, if it is the main one and can be read; any other attestation
/// stays as it is.
///
/// # Errors
/// If the attestation or a layer cannot be had.
pub(crate) fn with_layers(
    images: &Images,
    layers: &[(LayerId, MadeBlob)],
    attestation: Attestation,
) -> Result<Attestation, ExportError> {
    let name = Path::new(&attestation.path).file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or_default();
    let is_core = attestation.metadata.get(SBOM_CORE).is_some_and(|core| core == stem.as_bytes());
    if !is_core || attestation.predicate_type != SPDX || layers.is_empty() {
        return Ok(attestation);
    }
    let Ok(Value::Object(mut document)) = serde_json::from_slice(&attestation.read(images)?) else {
        return Ok(attestation);
    };
    if !document.get("spdxVersion").and_then(Value::as_str).is_some_and(|version| version.starts_with("SPDX-2")) {
        return Ok(attestation);
    }
    let mut layers: Vec<_> = layers.iter().map(|(id, blob)| Layer { id: *id, blob, tree: None }).collect();
    for file in files(&mut document) {
        tell_layer(images, &mut layers, file)?;
    }
    tell_tool(&mut document);
    Ok(Attestation { content: Content::Made(json::to_vec(&document).into()), ..attestation })
}

/// Returns the files of a document, those of packages among them.
fn files(document: &mut Map<String, Value>) -> Vec<&mut Map<String, Value>> {
    let mut lists = Vec::new();
    for (key, value) in document.iter_mut() {
        match (key.as_str(), value) {
            ("files", Value::Array(files)) => lists.extend(files.iter_mut()),
            ("packages", Value::Array(packages)) => {
                let inner = packages.iter_mut().filter_map(|package| package.get_mut("files")?.as_array_mut());
                lists.extend(inner.flatten());
            }
            _ => {}
        }
    }
    lists.into_iter().filter_map(Value::as_object_mut).collect()
}

/// A comment that somebody made stays: nobody knows what reads it.
fn tell_layer(images: &Images, layers: &mut [Layer<'_>], file: &mut Map<String, Value>) -> Result<(), ExportError> {
    let commented = file.get("comment").and_then(Value::as_str).is_some_and(|comment| !comment.is_empty());
    let Some(name) = file.get("fileName").and_then(Value::as_str).filter(|_| !commented) else { return Ok(()) };
    if let Some(digest) = layer_of(images, layers, &clamp(Path::new(name)))? {
        file.insert("comment".to_owned(), format!("layerID: {digest}").into());
    }
    Ok(())
}

/// Returns the topmost layer that has a file.
fn layer_of(images: &Images, layers: &mut [Layer<'_>], path: &Path) -> Result<Option<Digest>, ExportError> {
    for layer in layers.iter_mut().rev() {
        let tree = match &mut layer.tree {
            Some(tree) => tree,
            none => none.insert(tree(images, &[layer.id])?),
        };
        if tree.node(path)?.is_some() {
            return Ok(Some(layer.blob.descriptor.digest));
        }
    }
    Ok(None)
}

fn tell_tool(document: &mut Map<String, Value>) {
    let creation = document.entry("creationInfo").or_insert_with(|| Map::new().into());
    let Some(creation) = creation.as_object_mut() else { return };
    let creators = creation.entry("creators").or_insert_with(|| Value::Array(Vec::new()));
    if let Some(creators) = creators.as_array_mut() {
        creators.push(concat!("Tool: rbuild-v", env!("CARGO_PKG_VERSION")).into());
    }
}
