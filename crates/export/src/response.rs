//! What an exporter answers, by BuildKit's keys: clients write it to metadata files and merge images by it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rbuild_oci::{Descriptor, Digest, json};

/// The digest of the manifest or index.
pub const DIGEST: &str = "containerimage.digest";
/// The digest of the configuration of an image of one platform.
pub const CONFIG_DIGEST: &str = "containerimage.config.digest";
/// The descriptor of the manifest or index, as JSON in base64.
pub const DESCRIPTOR: &str = "containerimage.descriptor";
/// The names of the image, separated by commas.
pub const NAME: &str = "image.name";

/// What an exporter answers.
pub type Response = BTreeMap<String, String>;

/// Returns the response for an image.
pub(crate) fn of_image(root: &Descriptor, config: Option<&Digest>) -> Response {
    let mut response = Response::new();
    response.insert(DIGEST.to_owned(), root.digest.to_string());
    response.insert(DESCRIPTOR.to_owned(), base64(&json::to_vec(root)));
    response.extend(config.map(|digest| (CONFIG_DIGEST.to_owned(), digest.to_string())));
    response
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
