//! Sources: what a build takes from outside.

mod attributes;
mod blob;
pub(crate) mod git;
pub(crate) mod http;
pub(crate) mod image;
#[cfg(test)]
mod layout_tests;
pub(crate) mod local;
pub(crate) mod look;
pub(crate) mod metadata;
pub(crate) mod oci_layout;
pub(crate) mod resolved;
#[cfg(test)]
pub(crate) mod testing;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::OpsError;
use crate::worker::Worker;

pub(crate) use blob::BlobSource;
pub(crate) use git::GitSource;
pub(crate) use http::HttpSource;
pub(crate) use image::ImageSource;
pub(crate) use local::LocalSource;
pub(crate) use oci_layout::LayoutSource;

/// Returns a secret that becomes part of a header.
async fn secret_line(worker: &Worker, id: &str) -> Result<Option<String>, OpsError> {
    let secret = worker.session().secret(id).await;
    let secret = secret.map_err(|source| OpsError::Secret { id: id.to_owned(), source })?;
    let Some(bytes) = secret else { return Ok(None) };
    let text = String::from_utf8(bytes).unwrap_or_default();
    let line = text.trim();
    if line.is_empty() || line.contains(char::is_control) {
        return Err(OpsError::SecretLine(id.to_owned()));
    }
    Ok(Some(line.to_owned()))
}

/// Returns the credentials of basic authentication.
fn basic(user: &str, password: &str) -> String {
    format!("basic {}", STANDARD.encode(format!("{user}:{password}")))
}
