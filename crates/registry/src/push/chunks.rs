//! Uploading in parts, for servers that do not take a blob in one request.

use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use url::Url;

use super::{Outgoing, lost_session, session};
use crate::Client;
use crate::call::{Ask, Trouble};

/// Bytes in one part.
const CHUNK: u64 = 16 << 20;

impl Client {
    /// Sends all the content in parts; returns the address at which the upload is concluded.
    pub(super) async fn send_chunks(&self, out: &Outgoing<'_>, mut location: Url) -> Result<Url, Trouble> {
        let size = out.descriptor.size;
        let mut offset = 0;
        while offset < size {
            let length = CHUNK.min(size - offset);
            let range = format!("{offset}-{}", offset + length - 1);
            let mut ask = Ask::new(out.action.as_str(), Method::PATCH, location, out.scopes.clone())
                .expect(&[202, 204])
                .payload(out.part(offset, length));
            ask.headers().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            ask.headers().insert(CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are plain text"));
            let answer = self.attempt(out.endpoint, &ask).await.map_err(lost_session)?;
            location = session(&answer, out)?;
            offset += length;
        }
        Ok(location)
    }
}
