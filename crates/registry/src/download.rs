//! Plain files by http and https, outside the distribution protocol.
//!
//! They get the care that registries get: certificates and proxies of their host, time limits, retries,
//! redirects that are judged one by one and never see the credentials of another server.

use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::call::Trouble;
use crate::transport::{Answer, Request};
use crate::{Client, Error, Progress, Sink, origin, retry};

/// What is not modified is told by this status.
const NOT_MODIFIED: u16 = 304;

/// A file behind an address.
#[derive(Clone)]
pub struct Download {
    url: Url,
    headers: HeaderMap,
    authorization: Option<HeaderValue>,
    /// What may help if access is denied; may be empty.
    pub hint: String,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("url", &origin::shown(&self.url)).finish_non_exhaustive()
    }
}

/// The head of an answer.
#[derive(Debug, Clone)]
pub struct Head {
    /// Whether the file is the one whose tag was sent along (status 304); nothing was written then.
    pub not_modified: bool,
    headers: HeaderMap,
}

impl Head {
    /// Returns a header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns when the file was modified, in seconds since 1970.
    pub fn last_modified(&self) -> Option<i64> {
        retry::http_date(self.header("last-modified")?).map(time::OffsetDateTime::unix_timestamp)
    }
}

impl Download {
    /// Reads an http or https address.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn new(address: &str) -> Result<Self, Error> {
        let broken = |reason: String| Error::Setting { what: "address of a file".to_owned(), reason };
        let mut url = Url::parse(address).map_err(|error| broken(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(broken("only http and https are fetched".to_owned()));
        }
        url.set_fragment(None);
        Ok(Self { url, headers: HeaderMap::new(), authorization: None, hint: String::new() })
    }

    /// Returns the host's name, without port and brackets.
    pub fn host(&self) -> String {
        self.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned()
    }

    /// Returns the path, escaped as it was given.
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// Returns the address without user and query, fit to be shown.
    pub fn shown(&self) -> String {
        origin::shown(&self.url)
    }

    /// Returns the last part of the path, decoded as far as it is text; empty if there is none.
    pub fn file_name(&self) -> String {
        let last = self.url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
        decoded(last)
    }

    /// Sends a header along.
    ///
    /// # Errors
    /// If name or value cannot be a header's.
    pub fn header(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let broken =
            || Error::Setting { what: format!("header `{}`", name.escape_debug()), reason: "not valid".to_owned() };
        let name: HeaderName = name.parse().map_err(|_| broken())?;
        self.headers.insert(name, value.parse().map_err(|_| broken())?);
        Ok(())
    }

    /// Sends an `Authorization` header to this server, and to no other that it may point to.
    ///
    /// # Errors
    /// If the value cannot be a header's.
    pub fn authorize(&mut self, value: &str) -> Result<(), Error> {
        let broken = |_| Error::Setting {
            what: AUTHORIZATION.to_string(),
            reason: "the secret is not one line of text".to_owned(),
        };
        let mut value: HeaderValue = value.parse().map_err(broken)?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(())
    }

    fn request(&self, method: Method) -> Request {
        let mut request = Request::new(method, self.url.clone());
        request.headers = self.headers.clone();
        request.headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        request
    }

    fn action(&self) -> String {
        format!("fetching {}", self.shown())
    }
}

/// Undoes percent-encoding; what is not text afterwards stays as it was.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

impl Client {
    /// Asks once for the headers of a file.
    ///
    /// # Errors
    /// If the server cannot be reached, or does not give them.
    pub async fn head(&self, file: &Download) -> Result<Head, Error> {
        let answer = self.exchange_once(file, Method::HEAD).await.map_err(|trouble| trouble.error)?;
        Ok(head_of(&answer))
    }

    /// Fetches a file of at most `limit` bytes into `sink`, again from the start if the connection breaks.
    ///
    /// # Errors
    /// If the server cannot be reached or does not give the file, or the file is too large.
    pub async fn download(
        &self,
        file: &Download,
        limit: u64,
        sink: &mut dyn Sink,
        mut progress: Progress,
    ) -> Result<Head, Error> {
        let mut patience = self.patience();
        loop {
            match self.download_once(file, limit, sink, &mut progress).await {
                Ok(head) => return Ok(head),
                Err(trouble) => patience.pause(trouble).await?,
            }
        }
    }

    async fn download_once(
        &self,
        file: &Download,
        limit: u64,
        sink: &mut dyn Sink,
        progress: &mut Progress,
    ) -> Result<Head, Trouble> {
        let action = file.action();
        let local = |source| Error::Local { action: format!("{action}: writing what came"), source };
        sink.restart().map_err(local)?;
        let mut answer = self.exchange_once(file, Method::GET).await?;
        let head = head_of(&answer);
        if head.not_modified {
            return Ok(head);
        }
        let too_large = |answer: &Answer| answer.protocol(&action, format!("the file is larger than {limit} bytes"));
        let length = head.header("content-length").and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(too_large(&answer).into());
        }
        progress.begin(length.unwrap_or(0));
        let mut received = 0;
        while let Some(chunk) = answer.chunk().await.map_err(|failure| Trouble::of(failure, &action))? {
            received += chunk.len() as u64;
            if received > limit {
                return Err(too_large(&answer).into());
            }
            sink.write(&chunk).map_err(local)?;
            progress.reach(received);
        }
        progress.begin(received);
        progress.complete();
        Ok(head)
    }

    async fn exchange_once(&self, file: &Download, method: Method) -> Result<Answer, Trouble> {
        let request = file.request(method);
        let answer = self.transport().exchange(self.options(), &request, file.authorization.as_ref()).await;
        let answer = answer.map_err(|failure| Trouble::of(failure, &file.action()))?;
        match answer.status() {
            200 | NOT_MODIFIED => Ok(answer),
            _ => Err(answer.refusal(&file.action(), &file.hint, &self.options().timing).await),
        }
    }
}

fn head_of(answer: &Answer) -> Head {
    Head { not_modified: answer.status() == NOT_MODIFIED, headers: answer.response.headers().clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, host: &str, name: &str) {
        let file = Download::new(address).unwrap();
        assert_eq!((file.host().as_str(), file.file_name().as_str()), (host, name), "{address}");
    }

    #[test]
    fn reads_addresses() {
        check("https://example.com:8443/a/b%20c.tar?q#f", "example.com", "b c.tar");
        check("http://[::1]:80/x%2", "::1", "x%2");
        check("https://example.com", "example.com", "");
        assert!(Download::new("ftp://example.com/x").is_err());
        assert!(Download::new("file:///etc/passwd").is_err());
        assert_eq!(Download::new("https://u:p@example.com/x?token=1").unwrap().shown(), "https://example.com/x");
    }

    #[test]
    fn headers_are_one_line() {
        let mut file = Download::new("https://example.com/x").unwrap();
        assert!(file.authorize("Bearer a\r\nX: y").is_err());
        assert!(file.header("x\n", "y").is_err());
        file.authorize("Bearer a").unwrap();
    }
}
