//! One exchange: a request out, an answer's head back, through redirects and under time limits.
//!
//! Knows of connections, certificates and credentials-as-a-header; not of tokens, retries or what
//! an answer means.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::failure::{Failure, Peer, chain};
use crate::origin::{self, MOST_HOPS, host_port, is_loopback, same_origin};
use crate::push::upload::Upload;
use crate::tls::{self, HostFiles};
use crate::{Error, Options};

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    Upload(Upload),
}

/// One request; may be sent several times.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), payload: Payload::Empty }
    }
}

/// The head of an answer, and its body yet to be read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// Who answered in the end.
    pub(crate) url: Url,
    /// Whether that is another server than was asked.
    pub(crate) foreign: bool,
    idle: Duration,
}

/// The connections to all servers.
#[derive(Debug)]
pub(crate) struct Transport {
    clients: Mutex<HashMap<String, reqwest::Client>>,
}

impl Transport {
    pub(crate) fn new() -> Self {
        Self { clients: Mutex::new(HashMap::new()) }
    }

    /// Sends a request and follows redirects; `authorization` goes to the first server only.
    pub(crate) async fn exchange(
        &self,
        options: &Options,
        request: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Failure> {
        let mut request = request.clone();
        let first = request.url.clone();
        for _ in 0..=MOST_HOPS {
            let own = same_origin(&first, &request.url);
            let response = self.send(options, &request, authorization.filter(|_| own)).await?;
            let Some(target) = redirect(&request, &response)? else {
                let answer = Answer { response, url: request.url, foreign: !own, idle: options.timing.idle };
                return Ok(answer);
            };
            request.url = target;
        }
        let (host, target) = (host_port(&first), origin::shown(&request.url));
        Err(Failure::Unsafe { host, target, reason: format!("more than {MOST_HOPS} redirects") })
    }

    async fn send(
        &self,
        options: &Options,
        request: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let client = self.client(options, &request.url).map_err(Failure::Setting)?;
        let mut builder = client.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization.clone());
        }
        let upload = match &request.payload {
            Payload::Empty => None,
            Payload::Bytes(bytes) => {
                builder = builder.body(bytes.clone());
                None
            }
            Payload::Upload(upload) => {
                let (body, running) = upload.start();
                builder = builder.header(CONTENT_LENGTH, upload.len()).body(body);
                Some(running)
            }
        };
        let host = host_port(&request.url);
        let idle = options.timing.idle;
        let sent = builder.send();
        tokio::pin!(sent);
        let started = Instant::now();
        loop {
            let deadline = upload.as_ref().map_or(started + idle, |upload| upload.deadline(idle));
            match tokio::time::timeout_at(deadline, &mut sent).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => {
                    // A broken source shows as a broken body; the cause is worth more.
                    let local = upload.as_ref().and_then(|upload| upload.take_error());
                    return Err(local.map_or_else(|| Peer::of(options, &request.url).explain(error), Failure::Local));
                }
                Err(_) if upload.as_ref().is_some_and(|upload| upload.deadline(idle) > Instant::now()) => {}
                Err(_) => return Err(Failure::Stalled { host, after: started.elapsed() }),
            }
        }
    }

    fn client(&self, options: &Options, url: &Url) -> Result<reqwest::Client, Error> {
        let key = format!("{}://{}", url.scheme(), host_port(url));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = make(options, url, &mut clients)?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// Returns the client for a host: its own if anything about it is special, else that of its scheme.
fn make(
    options: &Options,
    url: &Url,
    clients: &mut HashMap<String, reqwest::Client>,
) -> Result<reqwest::Client, Error> {
    let host = host_port(url);
    let secure = url.scheme() == "https";
    let insecure = options.hosts.insecure.contains(&host);
    let files = if secure { HostFiles::find(options, &host)? } else { HostFiles::default() };
    let bundles = if secure { options.ca_bundles.as_slice() } else { &[] };
    let local = is_loopback(url);
    if insecure || local || !files.is_empty() {
        return build(options, tls::config(bundles, &files, insecure)?, local);
    }
    if let Some(client) = clients.get(url.scheme()) {
        return Ok(client.clone());
    }
    let client = build(options, tls::config(bundles, &files, insecure)?, local)?;
    clients.insert(url.scheme().to_owned(), client.clone());
    Ok(client)
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn host(&self) -> String {
        host_port(&self.url)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Returns the next bytes of the body; none at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match timeout(self.idle, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(Failure::Broken { host: self.host(), reason: chain(&error.without_url()) }),
            Err(_) => Err(Failure::Stalled { host: self.host(), after: self.idle }),
        }
    }

    /// Reads the body up to and including byte `limit + 1`, by which a reader knows it is too long.
    pub(crate) async fn body(&mut self, limit: u64) -> Result<Bytes, Failure> {
        let most = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
        let mut body = BytesMut::new();
        while body.len() < most {
            let Some(chunk) = self.chunk().await? else { break };
            body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
        }
        Ok(body.freeze())
    }
}

fn build(options: &Options, tls: rustls::ClientConfig, local: bool) -> Result<reqwest::Client, Error> {
    let broken = |reason: String| Error::Setting { what: "HTTP client".to_owned(), reason };
    let localhost: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(options.user_agent.as_str())
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .http1_only()
        .connect_timeout(options.timing.connect)
        .resolve_to_addrs("localhost", &localhost)
        .hickory_dns(true);
    let proxies = &options.proxies;
    let exceptions = proxies.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
    for (address, secure) in [(&proxies.http, false), (&proxies.https, true)] {
        let Some(address) = address.as_deref().filter(|address| !local && !address.is_empty()) else { continue };
        let proxy = if secure { reqwest::Proxy::https(address) } else { reqwest::Proxy::http(address) };
        let proxy = proxy.map_err(|_| broken("the proxy's address is not valid".to_owned()))?;
        builder = builder.proxy(proxy.no_proxy(exceptions.clone()));
    }
    builder.build().map_err(|error| broken(chain(&error)))
}

/// Returns where an answer redirects this request, if it does.
fn redirect(request: &Request, response: &Response) -> Result<Option<Url>, Failure> {
    let reading = request.method == Method::GET || request.method == Method::HEAD;
    let follows = match response.status().as_u16() {
        301..=303 => reading,
        307 | 308 => true,
        _ => false,
    };
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let Some(location) = location.filter(|_| follows) else { return Ok(None) };
    let host = host_port(&request.url);
    let target = origin::follow(&request.url, location).map_err(|(target, reason)| Failure::Unsafe {
        host: host.clone(),
        target,
        reason: reason.to_owned(),
    })?;
    // A body may hold a refresh token; it is for the server that was asked.
    if !matches!(request.payload, Payload::Empty) && !same_origin(&request.url, &target) {
        let reason = "a request with content does not follow to another server".to_owned();
        return Err(Failure::Unsafe { host, target: origin::shown(&target), reason });
    }
    Ok(Some(target))
}
