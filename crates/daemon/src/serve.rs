//! Serving connections until told to stop.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::DaemonError;
use crate::listen::{Connection, Listener, Socket};
use crate::log::Log;
use crate::routes::Routes;

/// The largest message, in both directions; services set it for themselves.
pub const MAX_MESSAGE: usize = 16 << 20;
/// The largest list of headers: details of errors and patterns of contexts travel in them.
const MAX_HEADERS: u32 = 16 << 20;
/// How much of a stream is on its way at once.
const STREAM_WINDOW: u32 = 4 << 20;
/// How much of a connection's streams is on its way at once.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// How many calls of one connection run at once.
const MAX_CALLS: u32 = 1024;
/// How many connections are open at once, for each address.
const MAX_CONNECTIONS: usize = 1024;
/// After how much silence a client is asked whether it is there, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(60));
/// How long a client may take to show its certificate.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// How long running calls may take to end after the daemon was told to stop.
pub const GRACE: Duration = Duration::from_secs(10);
/// The wait after the system refused a connection, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves `routes` at all listeners until `stop` is cancelled; then nobody is accepted any more, sockets lose their
/// names, and calls get [`GRACE`] to end. Whoever answers calls that may last watches `stop` too.
///
/// # Errors
/// If connections cannot be served.
pub async fn serve(
    mut listeners: Vec<Listener>,
    routes: Routes,
    stop: CancellationToken,
    log: &Log,
) -> Result<(), DaemonError> {
    let files: Vec<_> = listeners.iter_mut().filter_map(|listener| listener.file.take()).collect();
    let mut servers = JoinSet::new();
    for listener in listeners {
        log.info(format_args!("listening at {}", listener.address));
        servers.spawn(serve_one(listener, routes.clone(), stop.clone(), log.clone()));
    }
    let first = tokio::select! {
        () = stop.cancelled() => None,
        ended = servers.join_next() => ended,
    };
    stop.cancel();
    drop(files);
    log.info("stopping");
    let ending = async {
        let mut result = first.map_or(Ok(()), told);
        while let Some(ended) = servers.join_next().await {
            result = result.and(told(ended));
        }
        result
    };
    let ended = tokio::time::timeout(GRACE, ending).await;
    ended.unwrap_or_else(|_| {
        log.warning("some calls did not end in time and are cut off");
        Ok(())
    })
}

fn told(ended: Result<Result<(), DaemonError>, tokio::task::JoinError>) -> Result<(), DaemonError> {
    // A panic was told where it happened.
    ended.unwrap_or(Ok(()))
}

async fn serve_one(listener: Listener, routes: Routes, stop: CancellationToken, log: Log) -> Result<(), DaemonError> {
    let address = listener.address;
    let failed = |source| DaemonError::Serve { address: address.clone(), source };
    let mut server = server();
    if let Some(tls) = listener.tls {
        server = server.tls_config(tls.timeout(HANDSHAKE)).map_err(failed)?;
    }
    let incoming = connections(listener.socket, address.clone(), log);
    server.serve_with_incoming_shutdown(routes, incoming, stop.cancelled_owned()).await.map_err(failed)
}

/// Returns how connections are served, whatever they come through.
pub(crate) fn server() -> Server {
    Server::builder()
        .http2_max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_CALLS)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
}

/// Accepts connections as long as there is place for one more.
fn connections(socket: Socket, address: String, log: Log) -> impl Stream<Item = std::io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    stream::unfold((socket, places, address, log), |(socket, places, address, log)| async move {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        let stream = loop {
            match socket.accept().await {
                Ok(stream) => break stream,
                Err(error) => {
                    log.warning(format_args!("accepting a connection at {address}: {error}"));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        Some((Ok(Connection { stream, _place: place }), (socket, places, address, log)))
    })
}
