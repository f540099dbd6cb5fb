//! The program of a frontend at work.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures::stream::{self, StreamExt};
use rbuild_buildkit_api::services::bridge::l_l_b_bridge_server::LLBBridgeServer;
use rbuild_events::{Event, Reporter, Stream, Vertex};
use rbuild_oci::Digest;
use rbuild_ops::{Container, ContainerProcess, OpsError, ProcessFailed, ProcessRequest};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::bridge::Bridge;
use crate::build::Build;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::outcome::Outcome;
use crate::pipes::Pipes;
use crate::routes::Routes;
use crate::serve::{self, MAX_MESSAGE};

/// How much of what a frontend complained of an error repeats.
const TAIL: usize = 4096;
/// How much of it is shown.
const SHOWN: usize = 2 << 20;

/// Runs a frontend until it ends, and returns what it returned.
pub(super) async fn run(
    engine: &Arc<Engine>,
    build: &Arc<Build>,
    container: &Arc<Container>,
    request: ProcessRequest,
    name: &str,
) -> Result<Outcome, Fault> {
    let mut process = container.start(request).await?;
    let streams = std::mem::take(&mut process.streams);
    let (Some(stdin), Some(stdout), Some(stderr)) = (streams.stdin, streams.stdout, streams.stderr) else {
        return Err(Fault::new("a frontend without standard streams"));
    };
    let complaints = Complaints::listen(stderr, build, name)?;
    let ended = wait(process)?;
    let connection = Pipes::new(stdin, stdout).map_err(|error| Fault::of(&error))?;
    let served = serve::server().serve_with_incoming(
        routes(engine, build),
        stream::iter([Ok::<_, std::io::Error>(connection)]).chain(stream::pending()),
    );
    let ended = tokio::select! {
        ended = ended => ended.unwrap_or(Err(OpsError::Panicked)),
        _ = served => return Err(Fault::new("frontend grpc server closed unexpectedly")),
    };
    let answer = build.answer();
    match (answer, ended) {
        (Some(Err(fault)), _) => Err(fault),
        (_, Err(error)) => Err(complaints.with(error).await),
        (Some(Ok(outcome)), Ok(())) => Ok(outcome),
        (None, Ok(())) => Err(Fault::new("no result for incomplete build")),
    }
}

fn routes(engine: &Arc<Engine>, build: &Arc<Build>) -> Routes {
    let bridge = LLBBridgeServer::new(Bridge::bound(engine.clone(), build.clone()));
    Routes::new().with(bridge.max_decoding_message_size(MAX_MESSAGE)).with_health(CancellationToken::new())
}

fn wait(process: ContainerProcess) -> Result<oneshot::Receiver<Result<(), OpsError>>, Fault> {
    let (told, ended) = oneshot::channel();
    let wait = move || told.send(process.wait()).unwrap_or(());
    let thread = std::thread::Builder::new().name("frontend".to_owned()).spawn(wait);
    thread.map_err(|error| Fault::of(&error))?;
    Ok(ended)
}

/// What a frontend complains of.
struct Complaints {
    tail: Arc<Mutex<Vec<u8>>>,
    ended: oneshot::Receiver<()>,
}

impl Complaints {
    /// Shows what comes as a log of the frontend; one that is silent is not shown.
    fn listen(from: OwnedFd, build: &Build, name: &str) -> Result<Self, Fault> {
        let (done, ended) = oneshot::channel();
        let tail = Arc::new(Mutex::new(Vec::new()));
        let (kept, feed) = (tail.clone(), build.feed().clone());
        let name = format!("[internal] frontend {name}");
        let vertex = Digest::of(format!("{name}{}", build.id()).as_bytes());
        let read = move || {
            let mut from = File::from(from);
            let (mut buffer, mut shown) = (vec![0; 32 << 10], 0);
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let data = &buffer[..read];
                keep(&mut kept.lock().unwrap_or_else(PoisonError::into_inner), data);
                if shown == 0 {
                    feed.report(Event::Vertex(Vertex { digest: vertex, name: name.clone(), inputs: Vec::new() }));
                    feed.report(Event::Started { vertex, at: SystemTime::now() });
                }
                shown += read;
                if shown <= SHOWN {
                    let data = data.to_vec();
                    feed.report(Event::Log { vertex, stream: Stream::Stderr, data, at: SystemTime::now() });
                }
            }
            if shown > 0 {
                let outcome = rbuild_events::Outcome::Done;
                feed.report(Event::Completed { vertex, at: SystemTime::now(), outcome });
            }
            drop(done);
        };
        let thread = std::thread::Builder::new().name("frontend-log".to_owned()).spawn(read);
        thread.map_err(|error| Fault::of(&error))?;
        Ok(Self { tail, ended })
    }

    /// Returns why a frontend ended, and what it said last.
    async fn with(self, error: OpsError) -> Fault {
        let failed = match error {
            OpsError::GivenUp => return Fault::canceled(),
            OpsError::Process(failed) => failed,
            error => return error.into(),
        };
        // The box is gone, and with it whoever could write.
        let _ = self.ended.await;
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = String::from_utf8_lossy(&tail);
        let ProcessFailed { code, reason, .. } = failed;
        let reason = reason.unwrap_or_else(|| format!("exit code: {code}"));
        let message = match tail.trim() {
            "" => reason,
            tail => format!("{reason}: {tail}"),
        };
        Fault::new(message).with_exit_code(code).context("the frontend failed")
    }
}

/// Adds to the end of a text, of which only the end is kept.
fn keep(tail: &mut Vec<u8>, data: &[u8]) {
    tail.extend_from_slice(data);
    let surplus = tail.len().saturating_sub(TAIL);
    tail.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        let mut tail = Vec::new();
        keep(&mut tail, b"first");
        assert_eq!(tail, b"first");
        keep(&mut tail, &[b'x'; TAIL]);
        assert_eq!(tail, [b'x'; TAIL]);
    }
}
