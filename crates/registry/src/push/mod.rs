//! Into a registry: blobs, then manifests.

mod chunks;
pub(crate) mod upload;

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rbuild_oci::{Descriptor, Digest, Reference};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use url::Url;

use crate::call::{Ask, Endpoint, Retry, Trouble};
use crate::origin;
use crate::pull::{header_digest, name_of, place, shown};
use crate::scope::Scopes;
use crate::transport::{Answer, Payload};
use crate::{Client, Error, Progress};
use upload::Upload;

/// Where a blob's bytes come from; opened again for each attempt.
pub trait Source: Send + Sync {
    /// Returns a reader of the bytes from `offset` on.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>>;
}

impl Source for Bytes {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(Box::new(io::Cursor::new(self.slice(start..))))
    }
}

/// How a blob came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there already.
    Existed,
    /// It was mounted from another repository of the registry.
    Mounted,
    /// It was uploaded.
    Uploaded,
}

/// A manifest that a registry took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedManifest {
    /// Its digest.
    pub digest: Digest,
    /// Whether the registry keeps the list of referrers of the manifest's subject itself.
    pub subject_listed: bool,
}

/// One blob on its way out.
pub(crate) struct Outgoing<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) scopes: Scopes,
    pub(crate) action: String,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) progress: Arc<Mutex<Progress>>,
}

impl Client {
    /// Makes a blob be in the repository of `reference`: finds it there, mounts it from one of the
    /// repositories `mount_from` (names on the same registry), or uploads it from `source`.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        mount_from: &[String],
        source: Arc<dyn Source>,
        mut progress: Progress,
    ) -> Result<Pushed, Error> {
        let endpoint = self.upstream(reference).await?;
        let _turn = self.turn(&endpoint).await;
        progress.begin(descriptor.size);
        let out = Outgoing {
            endpoint: &endpoint,
            descriptor,
            scopes: Scopes::push(&endpoint.repository),
            action: format!("pushing {} to {}", descriptor.digest, place(reference)),
            source,
            progress: Arc::new(Mutex::new(progress)),
        };
        let pushed = self.deliver(&out, mount_from).await?;
        out.progress.lock().unwrap_or_else(PoisonError::into_inner).complete();
        Ok(pushed)
    }

    /// Puts a manifest or index under the tag of `reference`, or by digest if it has no tag.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        body: Bytes,
    ) -> Result<PushedManifest, Error> {
        let endpoint = self.upstream(reference).await?;
        let action = format!("pushing manifest {}", shown(reference));
        let digest = Digest::of(&body);
        if let Some(want) = reference.digest.filter(|want| *want != digest) {
            let size = body.len() as u64;
            return Err(Error::Mismatch { action, want, want_size: size, got: digest, got_size: size });
        }
        let name = match &reference.tag {
            Some(_) => name_of(&Reference { digest: None, ..reference.clone() })?,
            None => digest.to_string(),
        };
        let kind = HeaderValue::from_str(media_type)
            .map_err(|_| Error::Setting { what: "media type".to_owned(), reason: "not plain text".to_owned() })?;
        let url = endpoint.url(&format!("manifests/{name}"))?;
        let mut ask = Ask::new(&action, Method::PUT, url, Scopes::push(&endpoint.repository))
            .expect(&[200, 201, 202])
            .payload(Payload::Bytes(body.clone()));
        ask.headers().insert(CONTENT_TYPE, kind);
        let answer = self.call(&endpoint, &ask).await?;
        if let Some(got) = header_digest(&answer).filter(|got| *got != digest) {
            let size = body.len() as u64;
            return Err(Error::Mismatch { action, want: digest, want_size: size, got, got_size: size });
        }
        Ok(PushedManifest { digest, subject_listed: answer.header("oci-subject").is_some() })
    }

    async fn deliver(&self, out: &Outgoing<'_>, mount_from: &[String]) -> Result<Pushed, Error> {
        let mut patience = self.patience();
        let mut session = None;
        if self.is_there(out).await? {
            return Ok(Pushed::Existed);
        }
        for repository in mount_from.iter().filter(|from| **from != out.endpoint.repository) {
            match self.mount(out, repository).await? {
                Mount::Done => return Ok(Pushed::Mounted),
                Mount::Session(url) => {
                    session = Some(url);
                    break;
                }
                Mount::No => {}
            }
        }
        let mut chunked = false;
        loop {
            let trouble = match self.upload(out, session.take(), chunked).await {
                Ok(()) => return Ok(Pushed::Uploaded),
                // Proxies limit the size of one request, old servers know only parts.
                Err(Trouble { error: Error::Refused { status: 405 | 411 | 413 | 415 | 501, .. }, .. }) if !chunked => {
                    chunked = true;
                    continue;
                }
                Err(trouble) => trouble,
            };
            let passing = trouble.retry != Retry::Never;
            patience.pause(trouble).await?;
            // The answer may have been lost, not the blob.
            if passing && self.is_there(out).await? {
                return Ok(Pushed::Uploaded);
            }
        }
    }

    /// Whether the repository holds the blob.
    async fn is_there(&self, out: &Outgoing<'_>) -> Result<bool, Error> {
        let url = out.endpoint.url(&format!("blobs/{}", out.descriptor.digest))?;
        let ask = Ask::new(out.action.as_str(), Method::HEAD, url, out.scopes.clone()).expect(&[200, 404]);
        match self.call(out.endpoint, &ask).await {
            Ok(answer) if answer.status() == 200 => {
                let size = answer.header("content-length").and_then(|size| size.parse::<u64>().ok());
                // A registry that counts differently holds something else.
                Ok(size.is_none_or(|size| size == out.descriptor.size))
            }
            // A server that does not know HEAD for blobs gets the blob again.
            Ok(_) | Err(Error::Refused { status: 400..=499, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn mount(&self, out: &Outgoing<'_>, from: &str) -> Result<Mount, Error> {
        let mut url = out.endpoint.url("blobs/uploads/")?;
        url.query_pairs_mut().append_pair("mount", &out.descriptor.digest.to_string()).append_pair("from", from);
        let scopes = out.scopes.clone().union(&Scopes::pull(from));
        let ask = Ask::new(out.action.as_str(), Method::POST, url, scopes).expect(&[201, 202]);
        match self.call(out.endpoint, &ask).await {
            Ok(answer) if answer.status() == 201 => Ok(Mount::Done),
            Ok(answer) => Ok(session(&answer, out).map_or(Mount::No, Mount::Session)),
            // Mounting is a favour: without it the blob is uploaded.
            Err(Error::Refused { .. } | Error::Denied { .. }) => Ok(Mount::No),
            Err(error) => Err(error),
        }
    }

    async fn upload(&self, out: &Outgoing<'_>, ready: Option<Url>, chunked: bool) -> Result<(), Trouble> {
        let session = match ready {
            Some(session) => session,
            None => self.begin(out).await?,
        };
        let session = if chunked { self.send_chunks(out, session).await? } else { session };
        self.conclude(out, session, !chunked).await
    }

    async fn begin(&self, out: &Outgoing<'_>) -> Result<Url, Trouble> {
        let url = out.endpoint.url("blobs/uploads/")?;
        let ask = Ask::new(out.action.as_str(), Method::POST, url, out.scopes.clone()).expect(&[202]);
        let answer = self.attempt(out.endpoint, &ask).await?;
        Ok(session(&answer, out)?)
    }

    /// Names the digest, with all the content or after it, upon which the blob exists.
    async fn conclude(&self, out: &Outgoing<'_>, mut session: Url, with_content: bool) -> Result<(), Trouble> {
        session.query_pairs_mut().append_pair("digest", &out.descriptor.digest.to_string());
        let payload = if with_content { out.part(0, out.descriptor.size) } else { Payload::Bytes(Bytes::new()) };
        let mut ask = Ask::new(out.action.as_str(), Method::PUT, session, out.scopes.clone())
            .expect(&[200, 201, 204])
            .payload(payload);
        ask.headers().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let answer = self.attempt(out.endpoint, &ask).await.map_err(lost_session)?;
        match header_digest(&answer).filter(|got| *got != out.descriptor.digest) {
            None => Ok(()),
            Some(got) => {
                let size = out.descriptor.size;
                let (action, want) = (out.action.clone(), out.descriptor.digest);
                Err(Error::Mismatch { action, want, want_size: size, got, got_size: size }.into())
            }
        }
    }
}

/// What became of a mount.
enum Mount {
    Done,
    Session(Url),
    No,
}

impl Outgoing<'_> {
    /// Returns a part of the content as a body.
    pub(crate) fn part(&self, offset: u64, length: u64) -> Payload {
        let (source, progress) = (Arc::clone(&self.source), Arc::clone(&self.progress));
        Payload::Upload(Upload { source, offset, length, progress })
    }
}

/// Returns the address at which an upload goes on.
pub(crate) fn session(answer: &Answer, out: &Outgoing<'_>) -> Result<Url, Error> {
    let location = answer.header("location");
    let location = location.ok_or_else(|| answer.protocol(&out.action, "it did not say where to upload to"))?;
    origin::follow(&answer.url, location).map_err(|(target, reason)| Error::Unsafe {
        action: out.action.clone(),
        host: answer.host(),
        target,
        reason: reason.to_owned(),
    })
}

/// An upload that the server forgot, or whose state it disputes, begins anew.
pub(crate) fn lost_session(mut trouble: Trouble) -> Trouble {
    if let Error::Refused { status: 404 | 416, .. } = trouble.error {
        trouble.retry = Retry::Soon;
    }
    trouble
}
