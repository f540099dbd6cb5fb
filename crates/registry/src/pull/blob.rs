//! One blob: streamed, hashed on the way, resumed where a connection broke.
//!
//! Two kinds of trouble are kept apart. A transfer that *ended early* goes on from where it was,
//! for as long as it gets anywhere. Content that is *wrong* starts from nothing, once, and without
//! ranges, since a resumed transfer may have been joined wrongly.

use rbuild_oci::{Descriptor, Digest, Hasher, Reference};
use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, HeaderValue, RANGE};

use super::{Sink, place};
use crate::call::{Ask, Endpoint, Patience, Trouble};
use crate::scope::Scopes;
use crate::transport::Answer;
use crate::{Client, Error, Progress};

/// Bytes that count as getting anywhere.
const STRIDE: u64 = 64 << 10;

/// A blob on its way in.
struct Intake<'a> {
    action: String,
    want: &'a Descriptor,
    sink: &'a mut dyn Sink,
    progress: &'a mut Progress,
    hasher: Hasher,
    received: u64,
    /// The most that was ever received, beyond which there is progress.
    high: u64,
    /// Whether ranges may be asked for.
    ranges: bool,
}

/// How a transfer ended.
enum End {
    /// All bytes came and are the right ones.
    Complete,
    /// More or other bytes came than the digest stands for.
    Wrong(Error),
    /// It broke; what came so far may be right.
    Early(Trouble),
}

impl Client {
    pub(super) async fn fetch_blob_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: &mut dyn Sink,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let _turn = self.turn(endpoint).await;
        let mut intake = Intake {
            action: format!("fetching {} from {}", descriptor.digest, place(reference)),
            want: descriptor,
            sink,
            progress,
            hasher: Hasher::new(),
            received: 0,
            high: 0,
            ranges: true,
        };
        intake.restart()?;
        let mut patience = self.patience();
        let mut mismatched = false;
        loop {
            let trouble = match self.transfer(endpoint, &mut intake, &mut patience).await {
                Ok(End::Complete) => return Ok(()),
                Ok(End::Early(trouble)) => trouble,
                Ok(End::Wrong(error)) if mismatched => return Err(error),
                Ok(End::Wrong(error)) => {
                    mismatched = true;
                    intake.ranges = false;
                    intake.restart()?;
                    Trouble::passing(error)
                }
                Err(trouble) => trouble,
            };
            patience.pause(trouble).await?;
        }
    }

    /// Asks once for what is missing and takes what comes.
    async fn transfer(
        &self,
        endpoint: &Endpoint,
        intake: &mut Intake<'_>,
        patience: &mut Patience,
    ) -> Result<End, Trouble> {
        let url = endpoint.url(&format!("blobs/{}", intake.want.digest))?;
        let scopes = Scopes::pull(&endpoint.repository);
        let mut ask = Ask::new(intake.action.as_str(), Method::GET, url, scopes).expect(&[200, 206, 416]);
        ask.headers().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let resuming = intake.ranges && intake.received > 0;
        if resuming {
            let range = format!("bytes={}-", intake.received);
            ask.headers().insert(RANGE, HeaderValue::from_str(&range).expect("digits are plain text"));
        }
        let mut answer = self.attempt(endpoint, &ask).await?;
        match answer.status() {
            200 if intake.received > 0 => intake.restart()?,
            206 if !resuming || !continues(&answer, intake) => return Ok(intake.reject_range(&answer)?),
            416 => return Ok(intake.reject_range(&answer)?),
            _ => {}
        }
        intake.take(&mut answer, patience).await
    }
}

/// Whether a partial answer begins where we stopped and is part of a whole of the right size.
fn continues(answer: &Answer, intake: &Intake<'_>) -> bool {
    let Some(range) = answer.header("content-range").and_then(|range| range.strip_prefix("bytes ")) else {
        return false;
    };
    let Some((span, whole)) = range.split_once('/') else { return false };
    let first = span.split_once('-').and_then(|(first, _)| first.trim().parse::<u64>().ok());
    let whole_fits = whole.trim() == "*" || whole.trim().parse() == Ok(intake.want.size);
    first == Some(intake.received) && whole_fits
}

impl Intake<'_> {
    fn restart(&mut self) -> Result<(), Error> {
        self.sink.restart().map_err(|source| self.local(source))?;
        self.hasher = Hasher::new();
        self.received = 0;
        Ok(())
    }

    /// Gives up on ranges: the server does not know what it does.
    fn reject_range(&mut self, answer: &Answer) -> Result<End, Error> {
        self.ranges = false;
        self.restart()?;
        Ok(End::Early(Trouble::passing(answer.protocol(&self.action, "the range it sent was not asked for"))))
    }

    /// Takes bytes until the blob is whole, too long, or no more come.
    async fn take(&mut self, answer: &mut Answer, patience: &mut Patience) -> Result<End, Trouble> {
        loop {
            let chunk = match answer.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(self.end()),
                // A whole blob is good, however the connection ended.
                Err(_) if self.received == self.want.size => return Ok(self.end()),
                Err(failure) => return Ok(End::Early(Trouble::of(failure, &self.action))),
            };
            let left = self.want.size - self.received;
            if chunk.len() as u64 > left {
                self.hasher.update(&chunk);
                let got_size = self.received + chunk.len() as u64;
                return Ok(End::Wrong(self.mismatch(got_size)));
            }
            self.hasher.update(&chunk);
            self.sink.write(&chunk).map_err(|source| self.local(source))?;
            self.received += chunk.len() as u64;
            self.progress.reach(self.received);
            if self.received >= self.high + STRIDE {
                self.high = self.received;
                patience.progressed();
            }
        }
    }

    fn end(&self) -> End {
        let error = self.mismatch(self.received);
        if self.received < self.want.size {
            return End::Early(Trouble::passing(error));
        }
        if self.got() == self.want.digest { End::Complete } else { End::Wrong(error) }
    }

    fn got(&self) -> Digest {
        self.hasher.clone().finish()
    }

    fn mismatch(&self, got_size: u64) -> Error {
        Error::Mismatch {
            action: self.action.clone(),
            want: self.want.digest,
            want_size: self.want.size,
            got: self.got(),
            got_size,
        }
    }

    fn local(&self, source: std::io::Error) -> Error {
        Error::Local { action: format!("{}: writing what came", self.action), source }
    }
}
