//! What a repository holds: tags, referrers; and deletion.

use std::collections::HashSet;

use bytes::Bytes;
use rbuild_oci::{Digest, Index, Reference};
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderValue};
use serde::Deserialize;
use url::Url;

use crate::call::{Ask, Endpoint};
use crate::content::MOST_MANIFEST_BYTES;
use crate::origin::{same_origin, shown};
use crate::pull::manifest_ask;
use crate::scope::Scopes;
use crate::transport::Answer;
use crate::{Client, Error, link};

/// Most entries that are listed.
const MOST_ENTRIES: usize = 100_000;
/// Most bytes of a list, all pages together.
const MOST_LIST_BYTES: u64 = 64 << 20;
/// Most pages that are read.
const MOST_PAGES: usize = 1000;

#[derive(Deserialize)]
struct TagPage {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// Lists the tags of the repository of `reference`, in the registry's order.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let endpoint = self.upstream(reference).await?;
        let action = format!("listing the tags of {}/{}", reference.registry, reference.repository);
        let mut pages = Pages::new(&endpoint, &action, endpoint.url("tags/list")?);
        let mut tags = Vec::new();
        while let Some(body) = pages.next(self, &[200]).await? {
            let page: TagPage = serde_json::from_slice(&body).map_err(|error| pages.broken(error.to_string()))?;
            tags.extend(page.tags.unwrap_or_default());
            pages.check_count(tags.len())?;
        }
        Ok(tags)
    }

    /// Lists the manifests whose subject is `digest`, by the referrers API or its fallback tag.
    pub async fn referrers(
        &self,
        reference: &Reference,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Index, Error> {
        let endpoint = self.upstream(reference).await?;
        let action = format!("listing the referrers of {digest} in {}/{}", reference.registry, reference.repository);
        let mut url = endpoint.url(&format!("referrers/{digest}"))?;
        if let Some(wanted) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let mut pages = Pages::new(&endpoint, &action, url);
        let mut found =
            Index { schema_version: 2, media_type: None, manifests: Vec::new(), annotations: Default::default() };
        while let Some(body) = pages.next(self, &[200, 404]).await? {
            let body = if pages.missing { self.fallback(&endpoint, &action, digest).await? } else { Some(body) };
            let Some(body) = body else { break };
            let page: Index = serde_json::from_slice(&body).map_err(|error| pages.broken(error.to_string()))?;
            found.media_type = page.media_type;
            found.manifests.extend(page.manifests);
            pages.check_count(found.manifests.len())?;
        }
        // A registry may leave the filtering to us.
        found
            .manifests
            .retain(|entry| artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted)));
        Ok(found)
    }

    /// Deletes the manifest that `reference` names by digest, or only its tag.
    pub async fn delete_manifest(&self, reference: &Reference) -> Result<(), Error> {
        let endpoint = self.upstream(reference).await?;
        let name = crate::pull::name_of(reference)?;
        let action = format!("deleting {}/{}@{name}", reference.registry, reference.repository);
        let url = endpoint.url(&format!("manifests/{name}"))?;
        let ask = Ask::new(action, Method::DELETE, url, Scopes::delete(&endpoint.repository)).expect(&[200, 202, 204]);
        self.call(&endpoint, &ask).await.map(drop)
    }

    /// Reads the index that stands for the referrers API where there is none.
    async fn fallback(&self, endpoint: &Endpoint, action: &str, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let tag = digest.to_string().replace(':', "-");
        let ask = manifest_ask(endpoint, Method::GET, action, &tag, None)?.expect(&[200, 404]);
        let mut answer = self.call(endpoint, &ask).await?;
        if answer.status() == 404 {
            return Ok(None);
        }
        read_page(&mut answer, action).await.map(Some)
    }
}

/// A list that comes in pages, each of which names the next.
struct Pages<'a> {
    endpoint: &'a Endpoint,
    action: &'a str,
    next: Option<Url>,
    seen: HashSet<Url>,
    bytes: u64,
    missing: bool,
}

impl<'a> Pages<'a> {
    fn new(endpoint: &'a Endpoint, action: &'a str, first: Url) -> Self {
        Self { endpoint, action, next: Some(first), seen: HashSet::new(), bytes: 0, missing: false }
    }

    async fn next(&mut self, client: &Client, expect: &'static [u16]) -> Result<Option<Bytes>, Error> {
        let Some(url) = self.next.take() else { return Ok(None) };
        if self.seen.len() >= MOST_PAGES || !self.seen.insert(url.clone()) {
            return Err(self.broken(format!("the list goes in circles or has more than {MOST_PAGES} pages")));
        }
        let scopes = Scopes::pull(&self.endpoint.repository);
        let mut ask = Ask::new(self.action, Method::GET, url.clone(), scopes).expect(expect);
        ask.headers().insert(ACCEPT, HeaderValue::from_static("application/json, */*;q=0.5"));
        let mut answer = client.call(self.endpoint, &ask).await?;
        self.missing = answer.status() == 404;
        let next = answer.header("link").and_then(link::next).map(str::to_owned);
        if let Some(next) = next.filter(|_| !self.missing) {
            let next = url.join(&next).map_err(|_| self.broken("the next page's address cannot be read"))?;
            if !same_origin(&next, &self.endpoint.base) {
                return Err(Error::Unsafe {
                    action: self.action.to_owned(),
                    host: self.endpoint.host(),
                    target: shown(&next),
                    reason: "the next page is on another server".to_owned(),
                });
            }
            self.next = Some(next);
        }
        let body = read_page(&mut answer, self.action).await?;
        // Entries may be large: their number alone bounds nothing.
        self.bytes += body.len() as u64;
        if self.bytes > MOST_LIST_BYTES {
            return Err(self.broken("the list is larger than 64 MiB"));
        }
        Ok(Some(body))
    }

    fn check_count(&self, count: usize) -> Result<(), Error> {
        if count > MOST_ENTRIES {
            return Err(self.broken(format!("the list has more than {MOST_ENTRIES} entries")));
        }
        Ok(())
    }

    fn broken(&self, reason: impl Into<String>) -> Error {
        Error::Protocol { action: self.action.to_owned(), host: self.endpoint.host(), reason: reason.into() }
    }
}

async fn read_page(answer: &mut Answer, action: &str) -> Result<Bytes, Error> {
    let body =
        answer.body(MOST_MANIFEST_BYTES).await.map_err(|failure| crate::call::Trouble::of(failure, action).error)?;
    if body.len() as u64 > MOST_MANIFEST_BYTES {
        return Err(answer.protocol(action, "the list is larger than 8 MiB"));
    }
    Ok(body)
}
