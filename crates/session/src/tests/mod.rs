//! Client and daemon in one process, over a connection in memory.

mod calls;
mod files;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use rbuild_buildkit_api::control::BytesMessage;
use rbuild_buildkit_api::services::control::control_client::ControlClient;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::codegen::http;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use crate::client::{ClientSession, ServedSession};
use crate::table::{Attached, Sessions};
use crate::{Group, Session};

/// A daemon that knows nothing but `Control.Session`, and the channel of a client to it.
struct Daemon {
    sessions: Sessions,
    channel: Channel,
}

/// A session that is open at both ends.
struct Pair {
    daemon: Daemon,
    session: Arc<Session>,
    _served: ServedSession,
}

const TIMEOUT: Duration = Duration::from_secs(60);

impl Daemon {
    fn start() -> Self {
        let sessions = Sessions::new();
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let service = tower::service_fn({
            let sessions = sessions.clone();
            move |request: http::Request<tonic::body::Body>| {
                let sessions = sessions.clone();
                async move {
                    let mut grpc =
                        tonic::server::Grpc::new(tonic_prost::ProstCodec::<BytesMessage, BytesMessage>::default());
                    Ok::<_, std::convert::Infallible>(grpc.streaming(Open(sessions), request).await)
                }
            }
        });
        let server = tonic::transport::Server::builder();
        let once = futures::stream::once(std::future::ready(Ok::<_, std::io::Error>(ours)));
        tokio::spawn(server.serve_with_incoming(service, once.chain(futures::stream::pending())));
        let mut theirs = Some(theirs);
        let connector = tower::service_fn(move |_| {
            let stream = theirs.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected));
            std::future::ready(stream.map(hyper_util::rt::TokioIo::new))
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self { sessions, channel }
    }

    async fn pair(client: ClientSession) -> Pair {
        let daemon = Self::start();
        let id = client.id().to_owned();
        let served = client.attach(daemon.channel.clone()).await.unwrap();
        let session = daemon.sessions.get(&id, TIMEOUT).await.unwrap();
        Pair { daemon, session, _served: served }
    }
}

impl Pair {
    fn group(&self) -> Group {
        self.daemon.sessions.group([self.session.id().to_owned()])
    }
}

/// What a daemon does with a session.
struct Open(Sessions);

impl tonic::server::StreamingService<BytesMessage> for Open {
    type Response = BytesMessage;
    type ResponseStream = BoxStream<'static, Result<BytesMessage, Status>>;
    type Future = futures::future::BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<tonic::Streaming<BytesMessage>>) -> Self::Future {
        let sessions = self.0.clone();
        Box::pin(async move {
            let (headers, _, messages) = request.into_parts();
            let opened = Session::open(messages, &headers).await;
            let (session, answers) = opened.map_err(|error| Status::invalid_argument(error.to_string()))?;
            let attached: Attached = sessions.attach(session);
            tokio::spawn(attached.ended());
            Ok(tonic::Response::new(answers.boxed()))
        })
    }
}

/// Opens a session of which the test itself is the client: it says nothing.
async fn silent(daemon: &Daemon, headers: &[(&'static str, &str)]) -> (Arc<Session>, impl Sized + use<>) {
    let (sender, receiver) = tokio::sync::mpsc::channel::<BytesMessage>(1);
    let mut request = tonic::Request::new(ReceiverStream::new(receiver));
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    let id = headers[0].1.to_owned();
    let answers = ControlClient::new(daemon.channel.clone()).session(request).await.unwrap().into_inner();
    let session = daemon.sessions.get(&id, TIMEOUT).await.unwrap();
    (session, (sender, answers.into_stream()))
}

fn map(headers: &[(&'static str, &str)]) -> MetadataMap {
    let mut map = MetadataMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    map
}
