//! Which service answers a call.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use rbuild_buildkit_api::services::health::health_server::HealthServer;
use rbuild_buildkit_api::services::reflection::server_reflection_server as reflection_server;
use rbuild_buildkit_api::services::reflection_alpha::server_reflection_server as reflection_alpha_server;
use rbuild_buildkit_api::services::traces::trace_service_server::TraceServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use crate::health::HealthService;
use crate::reflection::ReflectionService;
use crate::traces::TraceSink;

type Handler = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Infallible>;

/// Services by their names; clones are cheap.
///
/// A call of a method that is not there is answered so; a handler that panics costs its own call only.
#[derive(Clone, Default)]
pub struct Routes {
    services: Arc<BTreeMap<&'static str, Handler>>,
}

impl Routes {
    /// Returns routes to nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service under its own name.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Arc::make_mut(&mut self.services).insert(S::NAME, BoxCloneSyncService::new(service));
        self
    }

    /// Adds what every daemon serves: whether it is well, and a sink for traces.
    #[must_use]
    pub fn with_health(self, stop: CancellationToken) -> Self {
        self.with(HealthServer::new(HealthService::new(stop))).with(TraceServiceServer::new(TraceSink))
    }

    /// Adds a service that tells the names of those that were added before.
    #[must_use]
    pub fn with_reflection(self) -> Self {
        let reflection = ReflectionService::new(self.names().map(str::to_owned));
        self.with(reflection_server::ServerReflectionServer::new(reflection.clone()))
            .with(reflection_alpha_server::ServerReflectionServer::new(reflection))
    }

    /// Returns the names of the services.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.services.keys().copied()
    }

    fn find(&self, path: &str) -> Option<Handler> {
        let (name, _) = path.strip_prefix('/')?.split_once('/')?;
        self.services.get(name).cloned()
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Service<http::Request<Body>> for Routes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Some(handler) = self.find(request.uri().path()) else {
            let status = Status::unimplemented("this daemon has no such method");
            return Box::pin(std::future::ready(Ok(status.into_http())));
        };
        let answer = AssertUnwindSafe(handler.oneshot(request)).catch_unwind();
        Box::pin(answer.map(|answer| match answer {
            Ok(answer) => answer,
            Err(_) => Ok(Status::internal("the daemon failed while it answered this call").into_http()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Panics;

    impl NamedService for Panics {
        const NAME: &'static str = "test.Panics";
    }

    impl Service<http::Request<Body>> for Panics {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            Box::pin(async { panic!("a defect") })
        }
    }

    async fn check(path: &str, code: &str) {
        let mut routes = Routes::new().with(Panics);
        let request = http::Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = routes.call(request).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], code, "{path}");
    }

    #[tokio::test]
    async fn unknown_methods_and_panics_are_answered() {
        check("/test.Other/Method", "12").await;
        check("/test.Panics", "12").await;
        check("*", "12").await;
        check("/test.Panics/Method", "13").await;
    }
}
