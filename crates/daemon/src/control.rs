//! The control service: builds, their progress, their history, sessions, what is kept.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use rbuild_buildkit_api::control::*;
use rbuild_buildkit_api::services::control::control_server::Control;
use rbuild_session::Session;
use rbuild_store::Store;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::engine::Engine;
use crate::fault::Fault;
use crate::history::log::Replay;
use crate::usage;

/// The metadata in which every stream of ours tells the time, so that clients can correct their clocks.
const NOW: &str = "buildkit-current-timestamp";

/// Messages to a client, one after the other.
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

/// What a finished build reported, as its client heard it. Reading waits for the disk, so it is done apart.
fn replayed(replay: Replay) -> impl Stream<Item = Result<StatusResponse, Status>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    tokio::task::spawn_blocking(move || {
        for status in replay {
            let status = status.map_err(|error| Status::from(Fault::of(&error)));
            if sender.blocking_send(status).is_err() {
                return;
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

/// Does what waits for the disk.
async fn blocking<T: Send + 'static, E: Error + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| Fault::of(&error))?;
    done.map_err(|error| Fault::of(&error))
}

/// Answers clients.
pub(crate) struct Door {
    engine: Arc<Engine>,
}

impl Door {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    fn store(&self) -> Store {
        self.engine.parts().images.store().clone()
    }
}

fn streamed<T>(messages: impl Stream<Item = Result<T, Status>> + Send + 'static) -> Response<Messages<T>> {
    let mut response = Response::new(Box::pin(messages) as Messages<T>);
    if let Ok(now) = now().parse() {
        response.metadata_mut().insert(NOW, now);
    }
    response
}

#[tonic::async_trait]
impl Control for Door {
    async fn disk_usage(&self, request: Request<DiskUsageRequest>) -> Result<Response<DiskUsageResponse>, Status> {
        let store = self.store();
        Ok(Response::new(blocking(move || usage::disk_usage(&store, &request.into_inner())).await?))
    }

    type PruneStream = Messages<UsageRecord>;

    async fn prune(&self, request: Request<PruneRequest>) -> Result<Response<Self::PruneStream>, Status> {
        let store = self.store();
        let pruned = blocking(move || usage::prune(&store, &request.into_inner())).await?;
        Ok(streamed(futures::stream::iter(pruned.into_iter().map(Ok))))
    }

    async fn solve(&self, request: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        let exporter_response = self.engine.carry_out(request.into_inner()).await?;
        Ok(Response::new(SolveResponse { exporter_response }))
    }

    type StatusStream = Messages<StatusResponse>;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        let id = request.into_inner().r#ref;
        let (history, name) = (self.engine.history().clone(), id.clone());
        if let Some(replay) = blocking(move || history.replay(&name)).await? {
            return Ok(streamed(replayed(replay)));
        }
        match self.engine.builds().progress(&id).await {
            Some(feed) => Ok(streamed(feed.follow().map(Ok))),
            None => Err(Fault::with_code(Code::NotFound, format!("no such job {id}")).into()),
        }
    }

    type SessionStream = Messages<BytesMessage>;

    async fn session(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (metadata, _, incoming) = request.into_parts();
        let opened = Session::open(incoming, &metadata).await;
        let (session, outgoing) = opened.map_err(|error| Fault::of(&error))?;
        let attached = self.engine.sessions().attach(session);
        // The session is known as long as its client listens.
        let outgoing = outgoing.map(move |message| {
            let _ = &attached;
            message
        });
        Ok(Response::new(Box::pin(outgoing)))
    }

    async fn list_workers(
        &self,
        request: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let record = self.engine.workers(&request.into_inner().filter)?;
        Ok(Response::new(ListWorkersResponse { record }))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(crate::workers::info()))
    }

    type ListenBuildHistoryStream = Messages<BuildHistoryEvent>;

    async fn listen_build_history(
        &self,
        request: Request<BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        let (history, stop) = (self.engine.history().clone(), self.engine.parts().stop.clone());
        let events = blocking(move || history.listen(&request.into_inner(), stop)).await?;
        Ok(streamed(events))
    }

    async fn update_build_history(
        &self,
        request: Request<UpdateBuildHistoryRequest>,
    ) -> Result<Response<UpdateBuildHistoryResponse>, Status> {
        let history = self.engine.history().clone();
        blocking(move || history.update(&request.into_inner())).await?;
        Ok(Response::new(UpdateBuildHistoryResponse {}))
    }
}
