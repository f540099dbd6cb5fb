//! Sources as materials: addresses with digests.

use std::collections::BTreeMap;

use rbuild_oci::{Digest, Platform};
use serde::Serialize;

use super::capture::{Sources, redacted};
use crate::attestation::package_url_of;

/// Something that went into a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Material {
    /// Its address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Its digests in hexadecimal, by algorithm.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
}

/// Where a build's instructions came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConfigSource {
    /// The repository or file.
    #[serde(flatten)]
    pub material: Material,
    /// The path in it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
}

impl Material {
    fn new(uri: &str, algorithm: &str, digest: String) -> Self {
        Self { uri: uri.to_owned(), digest: BTreeMap::from([(algorithm.to_owned(), digest)]) }
    }

    fn commit(uri: &str, commit: &str) -> Self {
        Self::new(uri, if commit.len() == 64 { "sha256" } else { "sha1" }, commit.to_owned())
    }
}

/// Returns everything that has an address: images, repositories, files.
pub(super) fn materials(sources: &Sources) -> Vec<Material> {
    let of_image = |uri: String, digest: Option<Digest>| match digest {
        Some(digest) => Material::new(&uri, "sha256", digest.hex()),
        None => Material { uri, ..Material::default() },
    };
    let kind = |local: bool| if local { "oci" } else { "docker" };
    let image = |image: &super::ImageSource| {
        let platform = image.platform.clone().map(Platform::normalise);
        of_image(package_url_of(kind(image.local), &image.reference, platform.as_ref()), image.digest)
    };
    let blob = |blob: &super::BlobSource| {
        let url = package_url_of(kind(blob.local), &blob.reference, None);
        of_image(format!("{url}&ref_type=blob"), blob.reference.digest)
    };
    let images = sources.images.iter().map(image);
    let git = sources.git.iter().map(|git| Material::commit(&git.url, &git.commit));
    let http = sources.http.iter().map(|http| Material::new(&http.url, "sha256", http.digest.hex()));
    let blobs = sources.blobs.iter().map(blob);
    images.chain(blobs).chain(git).chain(http).collect()
}

/// Takes the place of a build's instructions out of what the frontend was told.
pub(super) fn config_source(args: &mut BTreeMap<String, String>, sources: &Sources) -> ConfigSource {
    let given = |key: &&str| args.get(*key).is_some_and(|value| !value.is_empty());
    let key = match args.get("contextkey").filter(|key| !key.is_empty()) {
        Some(key) => key.clone(),
        None => Some("input:context").filter(given).unwrap_or("context").to_owned(),
    };
    let context = take(args, &key);
    ConfigSource {
        material: context.map(|context| found(sources, &context)).unwrap_or_default(),
        path: take(args, "filename").unwrap_or_default(),
    }
}

/// Takes a value that says something.
fn take(args: &mut BTreeMap<String, String>, key: &str) -> Option<String> {
    args.get(key).filter(|value| !value.is_empty())?;
    args.remove(key)
}

/// Looks a context's address up among the sources; a repository may be told with a directory in it.
fn found(sources: &Sources, context: &str) -> Material {
    let shown = redacted(context);
    let (remote, fragment) = shown.split_once('#').unwrap_or((&shown, ""));
    let reference = fragment.split(':').next().unwrap_or_default();
    let whole = if reference.is_empty() { remote.to_owned() } else { format!("{remote}#{reference}") };
    if let Some(git) = sources.git.iter().find(|git| git.url == whole) {
        return Material::commit(&shown, &git.commit);
    }
    match sources.http.iter().find(|http| http.url == shown) {
        Some(http) => Material::new(&http.url, "sha256", http.digest.hex()),
        None => Material { uri: shown, ..Material::default() },
    }
}
