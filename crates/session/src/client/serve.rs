//! The server of a session: HTTP/2 over the bytes that the daemon sends, with the daemon as its client.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use super::Offer;
use super::files::{FileSend, FileSync};
use super::give::Give;
use crate::health::{CheckRequest, CheckResponse};
use crate::pipe::BytePipe;
use crate::session::MOST_MESSAGE_BYTES;
use rbuild_buildkit_api::services::auth::auth_server::AuthServer;
use rbuild_buildkit_api::services::content::content_server::ContentServer;
use rbuild_buildkit_api::services::exporter::exporter_server::ExporterServer;
use rbuild_buildkit_api::services::secrets::secrets_server::SecretsServer;
use rbuild_buildkit_api::services::ssh::s_s_h_server::SSHServer;
use rbuild_buildkit_api::services::upload::upload_server::UploadServer;

/// Calls at a time, as many as other clients take.
const MOST_CALLS: u32 = 250;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
const MOST_HEADER_BYTES: u32 = 16 << 20;

/// Serves one daemon until its connection ends.
pub(super) async fn serve(offer: Arc<Offer>, pipe: BytePipe) {
    let give = Give(offer.clone());
    let server = Server::builder()
        .max_concurrent_streams(MOST_CALLS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(MOST_HEADER_BYTES);
    let services = Services {
        file_sync: FileSync(offer.clone()),
        file_send: FileSend(offer),
        secrets: SecretsServer::new(give.clone()),
        ssh: SSHServer::new(give.clone()),
        upload: UploadServer::new(give.clone()),
        auth: AuthServer::new(give.clone()),
        content: ContentServer::new(give.clone()).max_decoding_message_size(MOST_MESSAGE_BYTES),
        exporter: ExporterServer::new(give).max_decoding_message_size(MOST_MESSAGE_BYTES),
    };
    // The list of connections goes on after the only one, else the server would end with it.
    let once = futures::stream::once(std::future::ready(Ok::<_, std::io::Error>(pipe)));
    let connections = futures::StreamExt::chain(once, futures::stream::pending());
    // What goes wrong on the connection is the daemon's to notice.
    let _ = server.serve_with_incoming(services, connections).await;
}

/// All services, told apart by the first part of the path.
#[derive(Clone)]
struct Services {
    file_sync: FileSync,
    file_send: FileSend,
    secrets: SecretsServer<Give>,
    ssh: SSHServer<Give>,
    upload: UploadServer<Give>,
    auth: AuthServer<Give>,
    content: ContentServer<Give>,
    exporter: ExporterServer<Give>,
}

impl Service<http::Request<Body>> for Services {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        match name {
            Health::NAME => Service::call(&mut Health, request),
            FileSync::NAME => self.file_sync.call(request),
            FileSend::NAME => self.file_send.call(request),
            SecretsServer::<Give>::NAME => self.secrets.call(request),
            SSHServer::<Give>::NAME => self.ssh.call(request),
            UploadServer::<Give>::NAME => self.upload.call(request),
            AuthServer::<Give>::NAME => self.auth.call(request),
            ContentServer::<Give>::NAME => self.content.call(request),
            ExporterServer::<Give>::NAME => self.exporter.call(request),
            _ => Box::pin(async { Ok(Status::unimplemented("this client does not serve that").into_http()) }),
        }
    }
}

/// Says that the client is well.
#[derive(Clone)]
struct Health;

impl NamedService for Health {
    const NAME: &'static str = "grpc.health.v1.Health";
}

impl UnaryService<CheckRequest> for Health {
    type Response = CheckResponse;
    type Future = std::future::Ready<Result<Response<CheckResponse>, Status>>;

    fn call(&mut self, _: Request<CheckRequest>) -> Self::Future {
        const SERVING: i32 = 1;
        std::future::ready(Ok(Response::new(CheckResponse { status: SERVING })))
    }
}

impl Service<http::Request<Body>> for Health {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path() != "/grpc.health.v1.Health/Check" {
                return Ok(Status::unimplemented("only checks are answered").into_http());
            }
            let codec = ProstCodec::<CheckResponse, CheckRequest>::default();
            Ok(Grpc::new(codec).unary(Health, request).await)
        })
    }
}
