//! One request with everything that belongs to it: authorization, the registry's words when it
//! refuses, and the decision whether to try again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

use reqwest::Method;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;
use url::Url;

use crate::Error;
use crate::auth::Grant;
use crate::challenge::{self, Challenge};
use crate::client::Client;
use crate::error::ErrorCode;
use crate::failure::Failure;
use crate::options::Timing;
use crate::origin::{self, host_port, same_origin};
use crate::retry;
use crate::scope::Scopes;
use crate::transport::{Answer, Payload, Request};

/// Largest error answer that is read.
const MOST_ERROR_BYTES: u64 = 64 << 10;
/// Most bytes of a registry's message that are shown.
const MOST_SHOWN: usize = 500;
/// Attempts when the server cannot be reached at all.
const CONNECT_ATTEMPTS: u32 = 3;
/// Time after which an unreachable server is not tried again.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// A registry's or mirror's API, and a repository in it.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The root address.
    pub(crate) base: Url,
    /// The name under which credentials are kept.
    pub(crate) registry: String,
    /// The repository's name there.
    pub(crate) repository: String,
}

impl Endpoint {
    pub(crate) fn host(&self) -> String {
        host_port(&self.base)
    }

    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.base.scheme(), self.host())
    }

    /// Returns the address of `rest` in the repository.
    pub(crate) fn url(&self, rest: &str) -> Result<Url, Error> {
        origin::repository_url(&self.base, &self.repository, rest).ok_or_else(|| Error::Setting {
            what: format!("repository `{}`", self.repository.escape_default()),
            reason: "not a valid name".to_owned(),
        })
    }
}

/// A request and what it is for.
#[derive(Debug)]
pub(crate) struct Ask {
    /// What is attempted, for errors.
    pub(crate) action: String,
    pub(crate) request: Request,
    pub(crate) scopes: Scopes,
    /// The statuses that are not errors.
    pub(crate) expect: &'static [u16],
}

impl Ask {
    pub(crate) fn new(action: impl Into<String>, method: Method, url: Url, scopes: Scopes) -> Self {
        Self { action: action.into(), request: Request::new(method, url), scopes, expect: &[200] }
    }

    pub(crate) fn expect(mut self, statuses: &'static [u16]) -> Self {
        self.expect = statuses;
        self
    }

    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.request.payload = payload;
        self
    }

    pub(crate) fn headers(&mut self) -> &mut HeaderMap {
        &mut self.request.headers
    }
}

/// An error, and whether a moment later it may be none.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Error,
    pub(crate) retry: Retry,
}

/// What to do about trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    Never,
    Soon,
    /// The server cannot be reached: it is not worth the usual patience.
    Reach,
    /// The server said when.
    After(Duration),
}

impl Trouble {
    pub(crate) fn fatal(error: Error) -> Self {
        Self { error, retry: Retry::Never }
    }

    pub(crate) fn passing(error: Error) -> Self {
        Self { error, retry: Retry::Soon }
    }

    pub(crate) fn of(failure: Failure, action: &str) -> Self {
        let action = action.to_owned();
        match failure {
            Failure::Connect { host, reason } => {
                Self { error: Error::Unreachable { action, host, reason }, retry: Retry::Reach }
            }
            Failure::Broken { host, reason } => Self::passing(Error::Unreachable { action, host, reason }),
            Failure::Stalled { host, after } => {
                Self::passing(Error::Stalled { action, host, seconds: after.as_secs() })
            }
            Failure::Certificate { host, reason } => Self::fatal(Error::Certificate { action, host, reason }),
            Failure::Unsafe { host, target, reason } => Self::fatal(Error::Unsafe { action, host, target, reason }),
            Failure::Local(source) => Self::fatal(Error::Local { action, source }),
            Failure::Setting(error) => Self::fatal(error),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::fatal(error)
    }
}

/// How much trouble one operation takes before it gives up.
#[derive(Debug)]
pub(crate) struct Patience {
    timing: Timing,
    failures: u32,
    since: Instant,
}

impl Patience {
    pub(crate) fn new(timing: Timing) -> Self {
        Self { timing, failures: 0, since: Instant::now() }
    }

    /// Tells that something was achieved: trouble is counted anew.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
        self.since = Instant::now();
    }

    /// Waits until the next attempt may be made, or gives the error back.
    pub(crate) async fn pause(&mut self, trouble: Trouble) -> Result<(), Error> {
        match self.next(trouble) {
            Ok(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn next(&mut self, trouble: Trouble) -> Result<Duration, Error> {
        self.failures += 1;
        let late = self.since.elapsed() >= CONNECT_PATIENCE;
        let most = match trouble.retry {
            Retry::Never => 0,
            Retry::Reach if late => 0,
            Retry::Reach => CONNECT_ATTEMPTS.min(self.timing.attempts),
            Retry::Soon | Retry::After(_) => self.timing.attempts,
        };
        if self.failures >= most {
            return Err(trouble.error);
        }
        let jitter = jitter();
        match trouble.retry {
            Retry::After(wait) if wait > self.timing.longest_retry_after => Err(match trouble.error {
                Error::Refused { action, host, .. } => Error::RetryLater { action, host, seconds: wait.as_secs() },
                other => other,
            }),
            // Never earlier than asked for.
            Retry::After(wait) => Ok(wait.max(self.timing.first_wait).mul_f64(1.0 + jitter / 10.0)),
            _ => Ok(retry::wait(&self.timing, self.failures, jitter)),
        }
    }
}

/// Returns a number from 0 to 1, different each time.
fn jitter() -> f64 {
    let random = RandomState::new().build_hasher().finish() >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let unit = random as f64 / (1_u64 << 53) as f64;
    unit
}

impl Client {
    /// Returns the patience of one operation.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.options().timing)
    }

    /// Sends a request until it is answered as expected or patience ends.
    pub(crate) async fn call(&self, endpoint: &Endpoint, ask: &Ask) -> Result<Answer, Error> {
        let mut patience = self.patience();
        loop {
            match self.attempt(endpoint, ask).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => patience.pause(trouble).await?,
            }
        }
    }

    /// Sends a request once, or again with a token if the registry asks for one.
    pub(crate) async fn attempt(&self, endpoint: &Endpoint, ask: &Ask) -> Result<Answer, Trouble> {
        let own = same_origin(&ask.request.url, &endpoint.base);
        let mut grant = if own { self.grants().find(endpoint, &ask.scopes) } else { None };
        // A remembered token may have ended, a new one be used up by others: both are tried once more.
        let remembered = grant.is_some();
        let mut rounds = 0;
        loop {
            let header = grant.as_ref().map(|grant| &grant.header);
            let answer = self.transport().exchange(self.options(), &ask.request, header).await;
            let answer = answer.map_err(|failure| Trouble::of(failure, &ask.action))?;
            self.note_warnings(&answer);
            if ask.expect.contains(&answer.status()) {
                return Ok(answer);
            }
            let challenges = answer.challenges();
            let asked = own && !answer.foreign && answer.status() == 401 && !challenges.is_empty();
            let most = if remembered || calls_invalid(&challenges) { 2 } else { 1 };
            if !asked || rounds == most {
                return Err(self.refused(ask, answer, grant.as_ref()).await);
            }
            drop(answer);
            grant = Some(self.authorize(endpoint, &challenges, &ask.scopes, grant.as_ref()).await?);
            rounds += 1;
        }
    }

    async fn refused(&self, ask: &Ask, answer: Answer, grant: Option<&Grant>) -> Trouble {
        let foreign = answer.foreign;
        let withheld = grant.and_then(|grant| grant.withheld.as_deref());
        let note = withheld.unwrap_or("it may not exist, or want other credentials");
        let mut trouble = answer.refusal(&ask.action, note, &self.options().timing).await;
        // An address signed for a while may have ended: the registry gives a new one.
        if foreign && trouble.retry == Retry::Never {
            trouble.retry = Retry::Soon;
        }
        trouble
    }
}

/// Whether the server says that the token it got was good once.
fn calls_invalid(challenges: &[Challenge]) -> bool {
    let invalid = |challenge: &Challenge| matches!(challenge, Challenge::Bearer(bearer) if bearer.error.as_deref() == Some("invalid_token"));
    challenges.iter().any(invalid)
}

impl Answer {
    /// Returns what the server asks for.
    pub(crate) fn challenges(&self) -> Vec<Challenge> {
        let headers = self.response.headers().get_all(WWW_AUTHENTICATE);
        headers.iter().filter_map(|header| header.to_str().ok()).flat_map(challenge::parse).collect()
    }

    /// Returns the error for an answer that breaks the protocol.
    pub(crate) fn protocol(&self, action: &str, reason: impl Into<String>) -> Error {
        Error::Protocol { action: action.to_owned(), host: self.host(), reason: reason.into() }
    }

    /// Turns an answer that was not hoped for into an error, with the server's own words.
    pub(crate) async fn refusal(mut self, action: &str, note: &str, timing: &Timing) -> Trouble {
        let status = self.status();
        let (action, host) = (action.to_owned(), self.host());
        let wait = self
            .header("retry-after")
            .filter(|_| matches!(status, 429 | 503))
            .and_then(|header| retry::retry_after(header, self.header("date"), SystemTime::now()));
        let limit = timing.idle.min(Duration::from_secs(10));
        // The words are a courtesy: an error that cannot be read does not replace the refusal.
        let body = tokio::time::timeout(limit, self.body(MOST_ERROR_BYTES)).await;
        let codes = body.ok().and_then(Result::ok).map(|body| read_codes(&body)).unwrap_or_default();
        if matches!(status, 401 | 403) {
            let hint = note.to_owned();
            return Trouble::fatal(Error::Denied { action, host, status, codes, hint });
        }
        let retry = match wait {
            Some(wait) => Retry::After(wait),
            None if retry::is_passing(status) => Retry::Soon,
            None => Retry::Never,
        };
        Trouble { error: Error::Refused { action, host, status, codes }, retry }
    }
}

#[derive(Deserialize)]
struct ErrorAnswer {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// Reads an error answer: the specification's JSON, or plain text.
fn read_codes(body: &[u8]) -> Vec<ErrorCode> {
    if let Ok(answer) = serde_json::from_slice::<ErrorAnswer>(body) {
        let entries = answer.errors.into_iter().take(5);
        return entries
            .map(|entry| ErrorCode { code: shown(&entry.code), message: shown(&entry.message.unwrap_or_default()) })
            .collect();
    }
    let Ok(text) = std::str::from_utf8(body) else { return Vec::new() };
    let text = text.trim();
    // A page for people says nothing here.
    if text.is_empty() || text.starts_with('<') {
        return Vec::new();
    }
    vec![ErrorCode { code: String::new(), message: shown(text) }]
}

/// Returns a foreign text fit for one line of an error.
pub(crate) fn shown(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if line.len() >= MOST_SHOWN {
            line.push('…');
            break;
        }
        if c.is_control() || is_direction(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Whether a character changes the direction of the text around it.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, want: &[&str]) {
        let got: Vec<_> = read_codes(body.as_bytes()).iter().map(ErrorCode::to_string).collect();
        assert_eq!(got, want, "{body}");
    }

    #[test]
    fn reads_error_answers() {
        check(r#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X"}]}"#, &["DENIED: no", "X"]);
        check(r#"{"errors":[{"code":"A\u001b[31m","message":null}]}"#, &["A\\u{1b}[31m"]);
        check("too many requests\n", &["too many requests"]);
        check("<html>oops</html>", &[]);
        check("", &[]);
        check(&"x".repeat(600), &[&format!("{}…", "x".repeat(500))]);
    }

    fn refused() -> Error {
        Error::Refused { action: "a".into(), host: "h".into(), status: 503, codes: Vec::new() }
    }

    fn waits(retry: Retry) -> Vec<u64> {
        let mut patience = Patience::new(Timing::default());
        std::iter::from_fn(|| patience.next(Trouble { error: refused(), retry }).ok())
            .map(|wait| wait.as_secs())
            .collect()
    }

    #[test]
    fn patience_ends() {
        assert_eq!(waits(Retry::Never), [] as [u64; 0]);
        assert_eq!(waits(Retry::Soon), [1, 2, 4]);
        assert_eq!(waits(Retry::Reach), [1, 2]);
        assert_eq!(waits(Retry::After(Duration::from_secs(3))), [3, 3, 3]);
        assert_eq!(waits(Retry::After(Duration::from_secs(86400))), [] as [u64; 0]);
    }
}
