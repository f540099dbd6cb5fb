//! Which blobs a record keeps: what it names, and of images what says how they are made, but not their layers.

use std::collections::BTreeSet;

use rbuild_buildkit_api::control::{BuildHistoryRecord, BuildResultInfo, Descriptor};
use rbuild_oci::{Digest, Document, media_type};
use rbuild_store::Store;

/// The deepest nesting of indexes that is followed.
const DEPTH: usize = 4;
/// Largest manifest that is read.
const MOST_BYTES: u64 = 4 << 20;
/// The most blobs one record keeps.
const MOST_BLOBS: usize = 10_000;
/// Attestations are layers of images of their own.
const ATTESTATION: &str = "application/vnd.in-toto";

/// Returns the blobs that a record keeps.
pub(super) fn kept(store: &Store, record: &BuildHistoryRecord) -> BTreeSet<Digest> {
    let mut kept = BTreeSet::new();
    // What is read here is held for this long only.
    let store = &store.session();
    let single = [&record.logs, &record.trace, &record.external_error];
    for descriptor in single.into_iter().flatten() {
        add(store, &descriptor.media_type, digest(descriptor), 0, &mut kept);
    }
    for info in record.result.iter().chain(record.results.values()) {
        for descriptor in descriptors(info) {
            add(store, &descriptor.media_type, digest(descriptor), 0, &mut kept);
        }
    }
    kept
}

fn descriptors(info: &BuildResultInfo) -> impl Iterator<Item = &Descriptor> {
    info.result_deprecated.iter().chain(&info.attestations).chain(info.results.values())
}

fn digest(descriptor: &Descriptor) -> Option<Digest> {
    descriptor.digest.parse().ok()
}

fn add(store: &Store, kind: &str, digest: Option<Digest>, depth: usize, kept: &mut BTreeSet<Digest>) {
    let Some(digest) = digest else { return };
    if kept.len() >= MOST_BLOBS || !kept.insert(digest) || depth >= DEPTH {
        return;
    }
    if !media_type::is_index(kind) && !media_type::is_manifest(kind) {
        return;
    }
    // What is no longer there, or no manifest after all, has nothing more to keep.
    let Some(document) = store.blobs().read(&digest, MOST_BYTES).ok().and_then(|b| Document::parse(kind, &b).ok())
    else {
        return;
    };
    let children = match document {
        Document::Index(index) => index.manifests,
        Document::Manifest(manifest) => {
            let attestations = manifest.layers.into_iter().filter(|layer| layer.media_type.starts_with(ATTESTATION));
            std::iter::once(manifest.config).chain(attestations).collect()
        }
    };
    for child in children {
        add(store, &child.media_type, Some(child.digest), depth + 1, kept);
    }
}
