//! Out of a registry: resolve a name, fetch manifests and blobs.

mod blob;
mod find;

use std::io::{self, Write};

use bytes::Bytes;
use rbuild_oci::{Descriptor, Digest, Reference};
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderValue};

use crate::call::{Ask, Endpoint, Trouble};
use crate::content::{self, ACCEPT as TYPES, MOST_MANIFEST_BYTES};
use crate::scope::Scopes;
use crate::transport::Answer;
use crate::{Client, Error, Progress};

/// What a reference stands for at this moment.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The manifest's or index's type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes, if they had to be fetched to know.
    pub body: Option<Bytes>,
}

/// Where a blob's bytes go; must be able to start over.
///
/// The client calls from async code: a sink may wait for a disk, not for other tasks.
pub trait Sink: Send {
    /// Takes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Forgets all bytes: the transfer starts again from the first.
    fn restart(&mut self) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

impl Sink for std::fs::File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.set_len(0)?;
        io::Seek::rewind(self)
    }
}

impl Client {
    /// Finds out which manifest or index a reference stands for, from mirrors or the registry.
    ///
    /// A reference with a digest is checked to exist; one with neither tag nor digest means `latest`.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, Error> {
        let mut failed = Vec::new();
        for source in self.sources(reference).await {
            let found = match source {
                Ok(endpoint) => self.resolve_at(&endpoint, reference).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(found) => return Ok(found),
                Err(error) => self.note_failure(&mut failed, error)?,
            }
        }
        Err(nowhere(failed))
    }

    /// Fetches a manifest or index by its digest from the repository of `reference`: at most 8 MiB,
    /// digest, size and type checked.
    pub async fn fetch_manifest(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let mut failed = Vec::new();
        for source in self.sources(reference).await {
            let fetched = match source {
                Ok(endpoint) => self.fetch_manifest_at(&endpoint, reference, descriptor).await,
                Err(error) => Err(error),
            };
            match fetched {
                Ok(body) => return Ok(body),
                Err(error) => self.note_failure(&mut failed, error)?,
            }
        }
        Err(nowhere(failed))
    }

    /// Fetches a blob from the repository of `reference` into `sink`; on success exactly the
    /// descriptor's bytes were written since the last restart.
    pub async fn fetch_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: &mut dyn Sink,
        mut progress: Progress,
    ) -> Result<(), Error> {
        progress.begin(descriptor.size);
        let mut failed = Vec::new();
        for source in self.sources(reference).await {
            let fetched = match source {
                Ok(endpoint) => self.fetch_blob_at(&endpoint, reference, descriptor, sink, &mut progress).await,
                Err(error) => Err(error),
            };
            match fetched {
                Ok(()) => {
                    progress.complete();
                    return Ok(());
                }
                Err(error) => self.note_failure(&mut failed, error)?,
            }
        }
        Err(nowhere(failed))
    }

    /// Fetches a small blob, such as an image configuration, into memory: at most `limit` bytes.
    pub async fn fetch_small(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Bytes, Error> {
        if descriptor.size > limit {
            return Err(Error::Protocol {
                action: format!("fetching {} from {}", descriptor.digest, place(reference)),
                host: reference.registry.clone(),
                reason: format!("it has {} bytes, at most {limit} are read", descriptor.size),
            });
        }
        let mut bytes = Vec::new();
        self.fetch_blob(reference, descriptor, &mut bytes, Progress::silent()).await?;
        Ok(bytes.into())
    }

    /// Asks whether the repository of `reference`, or a mirror of it, holds a blob; fetches nothing.
    ///
    /// A server that does not answer such questions counts as having it.
    pub async fn has_blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<bool, Error> {
        let mut failed = Vec::new();
        let mut answered = false;
        for source in self.sources(reference).await {
            let found = match source {
                Ok(endpoint) => self.has_blob_at(&endpoint, reference, descriptor).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(true) => return Ok(true),
                Ok(false) => answered = true,
                Err(error) => self.note_failure(&mut failed, error)?,
            }
        }
        if answered { Ok(false) } else { Err(nowhere(failed)) }
    }

    async fn has_blob_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<bool, Error> {
        let _turn = self.turn(endpoint).await;
        let action = format!("looking for {} at {}", descriptor.digest, place(reference));
        let url = endpoint.url(&format!("blobs/{}", descriptor.digest))?;
        let ask = Ask::new(&action, Method::HEAD, url, Scopes::pull(&endpoint.repository)).expect(&[200, 404]);
        match self.call(endpoint, &ask).await {
            Ok(answer) if answer.status() == 200 => {
                let size = answer.header("content-length").and_then(|size| size.parse::<u64>().ok());
                Ok(size.is_none_or(|size| size == descriptor.size))
            }
            Ok(_) => Ok(false),
            Err(Error::Refused { status: 405 | 501, .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Keeps an error for the case that no other source helps; the caller's own errors end all.
    pub(super) fn note_failure(&self, failed: &mut Vec<Error>, error: Error) -> Result<(), Error> {
        if matches!(error, Error::Local { .. } | Error::Setting { .. } | Error::Credentials { .. }) {
            return Err(error);
        }
        if let Error::Unreachable { host, .. } | Error::Stalled { host, .. } = &error {
            self.avoid(host);
        }
        failed.push(error);
        Ok(())
    }

    async fn resolve_at(&self, endpoint: &Endpoint, reference: &Reference) -> Result<Resolved, Error> {
        let name = name_of(reference)?;
        let action = format!("resolving {}", shown(reference));
        let head = manifest_ask(endpoint, Method::HEAD, &action, &name, None)?;
        match self.call(endpoint, &head).await {
            Ok(answer) => {
                if let Some(descriptor) = described(&answer, reference, &action)? {
                    return Ok(Resolved { descriptor, body: None });
                }
            }
            // Some servers do not know HEAD; and the answer to HEAD has no words.
            Err(Error::Refused { status: 400..=499, .. }) => {}
            Err(Error::Denied { ref codes, .. }) if codes.is_empty() && self.knows_no_grant(endpoint) => {}
            Err(error) => return Err(error),
        }
        let (body, kind) = self.get_manifest(endpoint, reference, &action, &name, None).await?;
        let digest = Digest::of(&body);
        Ok(Resolved { descriptor: Descriptor::new(kind, digest, body.len() as u64), body: Some(body) })
    }

    /// Whether asking again costs no second round of authorization.
    fn knows_no_grant(&self, endpoint: &Endpoint) -> bool {
        self.grants().find(endpoint, &Scopes::pull(&endpoint.repository)).is_none()
    }

    async fn fetch_manifest_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Bytes, Error> {
        let action = format!("fetching manifest {} from {}", descriptor.digest, place(reference));
        let name = descriptor.digest.to_string();
        let (body, _) = self.get_manifest(endpoint, reference, &action, &name, Some(descriptor)).await?;
        Ok(body)
    }

    /// Gets a manifest and its type; what does not match its digest is asked for once more.
    async fn get_manifest(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        action: &str,
        name: &str,
        want: Option<&Descriptor>,
    ) -> Result<(Bytes, String), Error> {
        let expected = want.map(|want| want.media_type.as_str()).filter(|kind| content::is_known(kind));
        let digest = want.map(|want| want.digest).or(reference.digest);
        let ask = manifest_ask(endpoint, Method::GET, action, name, expected)?;
        let mut patience = self.patience();
        let mut mismatched = false;
        loop {
            let trouble = match self.read_manifest(endpoint, &ask, digest, want.map(|want| want.size)).await {
                Ok((body, content_type)) => {
                    let kind = content::manifest_type(&body, content_type.as_deref(), expected);
                    let broken = |reason| Error::Protocol { action: action.to_owned(), host: endpoint.host(), reason };
                    return kind.map(|kind| (body, kind)).map_err(broken);
                }
                Err(Trouble { error: error @ Error::Mismatch { .. }, .. }) if !mismatched => {
                    mismatched = true;
                    Trouble::passing(error)
                }
                Err(trouble) => trouble,
            };
            patience.pause(trouble).await?;
        }
    }

    async fn read_manifest(
        &self,
        endpoint: &Endpoint,
        ask: &Ask,
        digest: Option<Digest>,
        size: Option<u64>,
    ) -> Result<(Bytes, Option<String>), Trouble> {
        let mut answer = self.attempt(endpoint, ask).await?;
        let content_type = answer.header("content-type").map(str::to_owned);
        let promised = header_digest(&answer);
        let limit = size.unwrap_or(MOST_MANIFEST_BYTES);
        if limit > MOST_MANIFEST_BYTES {
            return Err(answer.protocol(&ask.action, "the manifest is larger than 8 MiB").into());
        }
        let body = answer.body(limit).await.map_err(|failure| Trouble::of(failure, &ask.action))?;
        if size.is_none() && body.len() as u64 > limit {
            return Err(answer.protocol(&ask.action, "the manifest is larger than 8 MiB").into());
        }
        let (got, got_size) = (Digest::of(&body), body.len() as u64);
        for want in [digest, promised].into_iter().flatten() {
            if got != want || size.is_some_and(|size| size != got_size) {
                let want_size = size.unwrap_or(got_size);
                let action = ask.action.clone();
                return Err(Error::Mismatch { action, want, want_size, got, got_size }.into());
            }
        }
        Ok((body, content_type))
    }
}

/// Joins what became of all sources into one error, the last being the registry itself.
fn nowhere(mut failed: Vec<Error>) -> Error {
    let registry = failed.pop().expect("the registry itself is always a source");
    // What the registry answers counts; only if it cannot be asked, a mirror's answer is all that there is to know.
    if failed.is_empty() || !registry.is_silence() {
        return registry;
    }
    Error::Nowhere { registry: Box::new(registry), mirrors: failed }
}

/// Returns the request for a manifest by tag or digest.
pub(crate) fn manifest_ask(
    endpoint: &Endpoint,
    method: Method,
    action: &str,
    name: &str,
    kind: Option<&str>,
) -> Result<Ask, Error> {
    let url = endpoint.url(&format!("manifests/{name}"))?;
    let mut ask = Ask::new(action, method, url, Scopes::pull(&endpoint.repository));
    let accept = match kind {
        Some(kind) => format!("{kind}, */*;q=0.1"),
        None => format!("{}, */*;q=0.1", TYPES.join(", ")),
    };
    let accept = HeaderValue::from_str(&accept).expect("known media types are plain text");
    ask.headers().insert(ACCEPT, accept);
    Ok(ask)
}

/// Returns what a HEAD answer says of a manifest, if it says all.
fn described(answer: &Answer, reference: &Reference, action: &str) -> Result<Option<Descriptor>, Error> {
    let size = answer.header("content-length").and_then(|size| size.parse::<u64>().ok()).filter(|size| *size > 0);
    let kind = answer.header("content-type").map(content::essence).filter(|kind| content::is_known(kind));
    let (Some(digest), Some(size), Some(kind)) = (header_digest(answer), size, kind) else { return Ok(None) };
    if size > MOST_MANIFEST_BYTES {
        return Err(answer.protocol(action, "the manifest is larger than 8 MiB"));
    }
    match reference.digest {
        Some(want) if want != digest => {
            let action = action.to_owned();
            Err(Error::Mismatch { action, want, want_size: size, got: digest, got_size: size })
        }
        _ => Ok(Some(Descriptor::new(kind, digest, size))),
    }
}

/// Returns the digest a registry says its answer has; a form we do not know counts as silence.
pub(crate) fn header_digest(answer: &Answer) -> Option<Digest> {
    answer.header("docker-content-digest")?.parse().ok()
}

/// Returns what a reference is asked for by: its digest, its tag, or `latest`.
pub(crate) fn name_of(reference: &Reference) -> Result<String, Error> {
    if let Some(digest) = reference.digest {
        return Ok(digest.to_string());
    }
    let tag = reference.tag.as_deref().unwrap_or("latest");
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let good = tag.bytes().next().is_some_and(word)
        && tag.len() <= 128
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if good {
        return Ok(tag.to_owned());
    }
    let reason = "not a valid tag".to_owned();
    Err(Error::Setting { what: format!("tag `{}`", tag.escape_default()), reason })
}

/// Returns a reference's registry and repository, for errors.
pub(crate) fn place(reference: &Reference) -> String {
    format!("{}/{}", reference.registry, reference.repository).escape_default().to_string()
}

/// Returns a whole reference, for errors.
pub(crate) fn shown(reference: &Reference) -> String {
    let tag = reference.tag.as_deref().map(|tag| format!(":{}", tag.escape_default())).unwrap_or_default();
    let digest = reference.digest.map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{}{tag}{digest}", place(reference))
}
