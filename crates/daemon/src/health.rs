//! Whether the daemon is well: it is, until it is told to stop.

use std::collections::BTreeMap;

use futures::stream::{BoxStream, StreamExt};
use rbuild_buildkit_api::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse, ServingStatus,
};
use rbuild_buildkit_api::services::health::health_server::Health;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Answers for the server as a whole, as BuildKit's daemon does.
#[derive(Debug, Clone)]
pub struct HealthService {
    stop: CancellationToken,
}

impl HealthService {
    /// Answers that the daemon serves until `stop` is cancelled.
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop }
    }

    fn response(&self) -> HealthCheckResponse {
        let status = if self.stop.is_cancelled() { ServingStatus::NotServing } else { ServingStatus::Serving };
        HealthCheckResponse { status: status.into() }
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match request.into_inner().service.as_str() {
            "" => Ok(Response::new(self.response())),
            _ => Err(Status::not_found("unknown service")),
        }
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let statuses = BTreeMap::from([(String::new(), self.response())]);
        Ok(Response::new(HealthListResponse { statuses }))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        if !request.into_inner().service.is_empty() {
            let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
            // The call stays open in case the service comes to be known.
            let stop = self.stop.clone().cancelled_owned();
            let stream =
                futures::stream::once(async move { Ok(unknown) }).chain(futures::stream::pending()).take_until(stop);
            return Ok(Response::new(stream.boxed()));
        }
        let (now, later) = (self.response(), self.clone());
        let changed = async move {
            later.stop.cancelled().await;
            Ok(later.response())
        };
        let stream = futures::stream::once(async move { Ok(now) }).chain(futures::stream::once(changed));
        Ok(Response::new(stream.boxed()))
    }
}
