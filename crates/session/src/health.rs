//! Asking now and then whether a client still answers.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::session::Session;

/// The method that is asked.
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// A timeout that a client wishes for is no shorter than this.
const SHORTEST: Duration = Duration::from_secs(1);

/// Which service is asked about.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CheckRequest {
    #[prost(string, tag = "1")]
    pub(crate) service: String,
}

/// How it does.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CheckResponse {
    #[prost(int32, tag = "1")]
    pub(crate) status: i32,
}

/// How long a client may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    interval: Duration,
    timeout: Duration,
    failures: u32,
}

impl Patience {
    /// Returns the usual patience, or that which a client asks for.
    pub(crate) fn of(wish: Option<Duration>) -> Self {
        match wish {
            None => Self { interval: Duration::from_secs(5), timeout: Duration::from_secs(15), failures: 2 },
            Some(wish) => {
                let wish = wish.max(SHORTEST);
                Self { interval: wish, timeout: wish, failures: 1 }
            }
        }
    }

    /// Returns how long the next check may take: a client that is slow under load was slow just before.
    fn next_timeout(&self, last: Duration) -> Duration {
        self.timeout.max(last.mul_f64(1.5))
    }
}

/// Checks until the session ends, and ends it if the client stays silent.
pub(crate) async fn watch(session: Weak<Session>, closed: CancellationToken, patience: Patience) {
    let mut ticks = interval_at(Instant::now() + patience.interval, patience.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut failed, mut last) = (0, Duration::ZERO);
    loop {
        tokio::select! {
            () = closed.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Some(channel) = session.upgrade().map(|session| session.channel()) else { return };
        let began = Instant::now();
        let answer = tokio::select! {
            () = closed.cancelled() => return,
            answer = timeout(patience.next_timeout(last), check(channel)) => answer,
        };
        last = began.elapsed();
        let trouble = match answer {
            Ok(Ok(())) => None,
            Ok(Err(status)) => Some(status.message().to_owned()),
            Err(_) => Some(format!("no answer in {last:.1?}")),
        };
        failed = if trouble.is_some() { failed + 1 } else { 0 };
        if failed >= patience.failures {
            if let Some(session) = session.upgrade() {
                session.close(format!("session healthcheck failed fatally: {}", trouble.unwrap_or_default()));
            }
            return;
        }
    }
}

/// Asks once. A client that does not know the question is alive.
async fn check(channel: Channel) -> Result<(), Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<CheckRequest, CheckResponse>::default();
    let path = PathAndQuery::from_static(CHECK);
    match client.unary(Request::new(CheckRequest::default()), path, codec).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::Unimplemented => Ok(()),
        Err(status) => Err(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_the_last_answer() {
        let usual = Patience::of(None);
        assert_eq!(usual.next_timeout(Duration::ZERO), Duration::from_secs(15));
        assert_eq!(usual.next_timeout(Duration::from_secs(14)), Duration::from_secs(21));
        let short = Patience::of(Some(Duration::from_millis(5)));
        assert_eq!(short, Patience { interval: SHORTEST, timeout: SHORTEST, failures: 1 });
    }
}
