//! A registry in this process: correct until a fault is laid in its way.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rbuild_oci::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Answers with this status, these headers and this body instead.
    Answer(u16, String, String),
    /// Closes the connection after this many bytes of the body.
    Reset(usize),
    /// Says and sends that the body ends here.
    Short(usize),
    /// Sends no length and closes here.
    NoLength(usize),
    /// Changes a byte of the body.
    Flip,
    /// Sends more than there is.
    Extra,
    /// Stops in the middle, connection open.
    Stall(usize),
    /// Ignores ranges.
    NoRange,
    /// Answers ranges with other bytes than asked for.
    BadRange,
    /// Does the work, then closes without an answer.
    Lost,
    /// Adds a header.
    Header(String),
    /// Leaves a header out.
    Without(&'static str),
}

struct Planned {
    on: String,
    times: usize,
    fault: Fault,
}

/// One request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) sent: usize,
}

/// How the registry wants to be authorized.
#[derive(Clone)]
pub(crate) enum Guard {
    Open,
    /// `user:password` in base64.
    Basic(String),
    /// Tokens from this realm, each good for so many requests.
    Bearer {
        realm: String,
        uses: usize,
    },
}

pub(crate) struct State {
    pub(crate) blobs: HashMap<(String, Digest), Vec<u8>>,
    pub(crate) manifests: HashMap<(String, String), (String, Vec<u8>)>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) guard: Guard,
    pub(crate) tags: Vec<String>,
    uploads: HashMap<usize, Vec<u8>>,
    faults: Vec<Planned>,
    tokens: HashMap<String, (String, usize)>,
}

/// A running registry.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) host: String,
    state: Arc<Mutex<State>>,
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

fn refusal(status: u16, code: &str) -> Reply {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"said the fake"}}]}}"#);
    Reply::new(status, body).with("Content-Type", "application/json")
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = State {
            blobs: HashMap::new(),
            manifests: HashMap::new(),
            seen: Vec::new(),
            guard: Guard::Open,
            tags: Vec::new(),
            uploads: HashMap::new(),
            faults: Vec::new(),
            tokens: HashMap::new(),
        };
        let fake = Self { host, state: Arc::new(Mutex::new(state)) };
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = serving.clone();
                tokio::spawn(async move { fake.serve(stream).await });
            }
        });
        fake
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lays a fault in the way of the next requests whose first line contains `on`.
    pub(crate) fn plan(&self, on: &str, times: usize, fault: Fault) {
        self.state().faults.push(Planned { on: on.to_owned(), times, fault });
    }

    pub(crate) fn blob(&self, repository: &str, bytes: &[u8]) {
        self.state().blobs.insert((repository.to_owned(), Digest::of(bytes)), bytes.to_vec());
    }

    pub(crate) fn manifest(&self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) {
        let mut state = self.state();
        for name in [tag.to_owned(), Digest::of(bytes).to_string()] {
            state.manifests.insert((repository.to_owned(), name), (kind.to_owned(), bytes.to_vec()));
        }
    }

    /// The first lines of all requests, shortened.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.state().seen.iter().map(|seen| seen.line.clone()).collect()
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(part)).count()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut input = Vec::new();
        let head_end = loop {
            if let Some(at) = input.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => input.extend_from_slice(&buffer[..read]),
            }
            // A TLS greeting: nobody here speaks it.
            if input[0] == 0x16 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&input[..head_end]).into_owned();
        let header = |name: &str| {
            let prefix = format!("{name}:");
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&prefix))?;
            Some(line[prefix.len()..].trim().to_owned())
        };
        let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
        let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
        let fault = self.fault(&line);
        let mut body = input.split_off(head_end);
        while body.len() < length {
            let mut buffer = vec![0; 65536];
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => body.extend_from_slice(&buffer[..read]),
            }
        }
        let authorization = header("authorization");
        let range = header("range");
        let content_type = header("content-type").unwrap_or_default();
        let mut reply = match &fault {
            Some(Fault::Answer(status, headers, body)) => {
                let mut reply = Reply::new(*status, body.as_str());
                for line in headers.lines() {
                    let (name, value) = line.split_once(": ").unwrap();
                    reply = reply.with(name, value);
                }
                reply
            }
            _ => self.answer(&line, authorization.as_deref(), &content_type, &body),
        };
        apply_range(&mut reply, range.as_deref(), fault.as_ref());
        let index = {
            let mut state = self.state();
            state.seen.push(Seen { line: line.clone(), authorization, range, body, sent: 0 });
            state.seen.len() - 1
        };
        let sent = send(&mut stream, &line, reply, fault).await;
        self.state().seen[index].sent = sent;
    }

    fn fault(&self, line: &str) -> Option<Fault> {
        let mut state = self.state();
        let planned = state.faults.iter_mut().find(|planned| planned.times > 0 && line.contains(&planned.on))?;
        planned.times -= 1;
        Some(planned.fault.clone())
    }

    fn answer(&self, line: &str, authorization: Option<&str>, content_type: &str, body: &[u8]) -> Reply {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path == "/token" {
            return self.token(query);
        }
        if let Some(digest) = path.strip_prefix("/storage/") {
            let digest: Digest = digest.parse().unwrap();
            let state = self.state();
            let found = state.blobs.iter().find(|((_, held), _)| *held == digest);
            return found.map_or(refusal(404, "GONE"), |(_, blob)| Reply::new(200, blob.clone()));
        }
        if let Some(reply) = self.check(authorization) {
            return reply;
        }
        if path == "/v2/" {
            return Reply::new(200, "{}");
        }
        let rest = path.strip_prefix("/v2/").unwrap();
        for (kind, handle) in [
            ("/blobs/uploads/", Self::upload as fn(&Self, &str, &str, &str, &str, &[u8], &str) -> Reply),
            ("/blobs/", Self::blobs),
            ("/manifests/", Self::manifests),
            ("/tags/", Self::tags),
            ("/referrers/", Self::referrers),
        ] {
            if let Some((repository, name)) = rest.split_once(kind) {
                return handle(self, method, repository, name, query, body, content_type);
            }
        }
        refusal(404, "NAME_UNKNOWN")
    }

    fn check(&self, authorization: Option<&str>) -> Option<Reply> {
        let mut state = self.state();
        match state.guard.clone() {
            Guard::Open => None,
            Guard::Basic(secret) if authorization == Some(&format!("Basic {secret}")) => None,
            Guard::Basic(_) => Some(refusal(401, "UNAUTHORIZED").with("WWW-Authenticate", "Basic realm=\"fake\"")),
            Guard::Bearer { realm, .. } => {
                let token = authorization.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
                if let Some((_, left)) = state.tokens.get_mut(token).filter(|(_, left)| *left > 0) {
                    *left -= 1;
                    return None;
                }
                let challenge = format!("Bearer realm=\"{realm}\",service=\"fake\"");
                Some(refusal(401, "UNAUTHORIZED").with("WWW-Authenticate", challenge))
            }
        }
    }

    fn token(&self, query: &str) -> Reply {
        let mut state = self.state();
        let Guard::Bearer { uses, .. } = state.guard.clone() else { return Reply::new(200, r#"{"token":"stray"}"#) };
        let token = format!("token{}", state.tokens.len());
        state.tokens.insert(token.clone(), (query.to_owned(), uses));
        Reply::new(200, format!(r#"{{"token":"{token}","issued_at":"1999-01-01T00:00:00Z"}}"#))
    }

    fn blobs(&self, _: &str, repository: &str, name: &str, _: &str, _: &[u8], _: &str) -> Reply {
        let Ok(digest) = name.parse::<Digest>() else { return refusal(400, "DIGEST_INVALID") };
        match self.state().blobs.get(&(repository.to_owned(), digest)) {
            Some(blob) => Reply::new(200, blob.clone()).with("Docker-Content-Digest", digest),
            None => refusal(404, "BLOB_UNKNOWN"),
        }
    }

    fn manifests(&self, method: &str, repository: &str, name: &str, _: &str, body: &[u8], kind: &str) -> Reply {
        if method == "PUT" {
            self.manifest(repository, name, kind, body);
            return Reply::new(201, "").with("Docker-Content-Digest", Digest::of(body));
        }
        let mut state = self.state();
        let key = (repository.to_owned(), name.to_owned());
        if method == "DELETE" {
            return state.manifests.remove(&key).map_or(refusal(404, "MANIFEST_UNKNOWN"), |_| Reply::new(202, ""));
        }
        match state.manifests.get(&key) {
            Some((kind, bytes)) => Reply::new(200, bytes.clone())
                .with("Content-Type", kind)
                .with("Docker-Content-Digest", Digest::of(bytes)),
            None => refusal(404, "MANIFEST_UNKNOWN"),
        }
    }

    fn tags(&self, _: &str, repository: &str, _: &str, query: &str, _: &[u8], _: &str) -> Reply {
        let tags = self.state().tags.clone();
        let from: usize =
            query.split('&').find_map(|part| part.strip_prefix("from=")).map_or(0, |at| at.parse().unwrap());
        let page = &tags[from.min(tags.len())..(from + 2).min(tags.len())];
        let reply = Reply::new(200, serde_json::json!({ "name": repository, "tags": page }).to_string());
        if from + 2 < tags.len() {
            return reply.with("Link", format!("</v2/{repository}/tags/list?from={}>; rel=\"next\"", from + 2));
        }
        reply
    }

    fn referrers(&self, _: &str, _: &str, _: &str, _: &str, _: &[u8], _: &str) -> Reply {
        refusal(404, "NOT_FOUND")
    }

    fn upload(&self, method: &str, repository: &str, id: &str, query: &str, body: &[u8], _: &str) -> Reply {
        let value = |name: &str| {
            let found = query.split('&').find_map(|part| part.split_once('=').filter(|(key, _)| *key == name));
            found.map(|(_, value)| value.replace("%3A", ":").replace("%2F", "/"))
        };
        let mut state = self.state();
        let location = |id: usize| format!("/v2/{repository}/blobs/uploads/{id}?state=a%2Bb");
        if method == "POST" {
            if let (Some(digest), Some(from)) = (value("mount"), value("from")) {
                let digest: Digest = digest.parse().unwrap();
                if let Some(blob) = state.blobs.get(&(from, digest)).cloned() {
                    state.blobs.insert((repository.to_owned(), digest), blob);
                    return Reply::new(201, "");
                }
            }
            let id = state.uploads.len();
            state.uploads.insert(id, Vec::new());
            return Reply::new(202, "").with("Location", location(id));
        }
        assert_eq!(value("state").as_deref(), Some("a%2Bb"), "the session's query is kept");
        let id: usize = id.parse().unwrap();
        let Some(upload) = state.uploads.get_mut(&id) else { return refusal(404, "BLOB_UPLOAD_UNKNOWN") };
        upload.extend_from_slice(body);
        if method == "PATCH" {
            let range = format!("0-{}", upload.len() - 1);
            return Reply::new(202, "").with("Location", location(id)).with("Range", range);
        }
        let upload = state.uploads.remove(&id).unwrap();
        let digest: Digest = value("digest").unwrap().parse().unwrap();
        if Digest::of(&upload) != digest {
            return refusal(400, "DIGEST_INVALID");
        }
        state.blobs.insert((repository.to_owned(), digest), upload);
        Reply::new(201, "").with("Docker-Content-Digest", digest)
    }
}

fn apply_range(reply: &mut Reply, range: Option<&str>, fault: Option<&Fault>) {
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let Some(start) = start.filter(|_| reply.status == 200 && !matches!(fault, Some(Fault::NoRange))) else { return };
    let whole = reply.body.len();
    let shift = if matches!(fault, Some(Fault::BadRange)) { start / 2 } else { start };
    reply.body = reply.body.split_off(shift);
    reply.status = 206;
    reply.headers.push(("Content-Range".into(), format!("bytes {shift}-{}/{whole}", whole - 1)));
}

/// Sends an answer, with its fault; returns how many bytes of the body went.
async fn send(stream: &mut TcpStream, line: &str, mut reply: Reply, fault: Option<Fault>) -> usize {
    let (mut end, mut hang, mut length) = (reply.body.len(), false, true);
    match fault {
        Some(Fault::Lost) => return 0,
        Some(Fault::Flip) => {
            if let Some(byte) = reply.body.last_mut() {
                *byte ^= 1;
            }
        }
        Some(Fault::Extra) => {
            reply.body.extend_from_slice(b"extra");
            end = reply.body.len();
        }
        Some(Fault::Short(at)) => reply.body.truncate(at),
        Some(Fault::Reset(at)) => end = at,
        Some(Fault::NoLength(at)) => (end, length) = (at, false),
        Some(Fault::Stall(at)) => (end, hang) = (at, true),
        Some(Fault::Header(header)) => {
            let (name, value) = header.split_once(": ").unwrap();
            reply = reply.with(name, value);
        }
        Some(Fault::Without(name)) => reply.headers.retain(|(held, _)| held != name),
        _ => {}
    }
    end = if line.starts_with("HEAD ") { 0 } else { end.min(reply.body.len()) };
    let mut head = format!("HTTP/1.1 {} Fake\r\nConnection: close\r\n", reply.status);
    if length {
        write!(head, "Content-Length: {}\r\n", reply.body.len()).unwrap();
    }
    for (name, value) in &reply.headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head.push_str("\r\n");
    // A client that hangs up early is one of the cases.
    drop(stream.write_all(head.as_bytes()).await);
    drop(stream.write_all(&reply.body[..end]).await);
    if hang {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    drop(stream.shutdown().await);
    end
}
