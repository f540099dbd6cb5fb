//! The little that we ask of a daemon as its client.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use rbuild_buildkit_api::control::ListWorkersRequest;
use rbuild_buildkit_api::services::control::control_client::ControlClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::address::Address;

/// A worker of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its name.
    pub id: String,
    /// What it builds for.
    pub platforms: Vec<String>,
}

/// Why a daemon does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is of a kind that is not dialed.
    #[error("`{0}` cannot be dialed: expected unix://")]
    Address(Address),
    /// Nobody listens there.
    #[error("connecting to the daemon at `{address}`")]
    Connect {
        /// The address.
        address: Address,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
    /// It took too long.
    #[error("the daemon at `{0}` does not answer")]
    Timeout(Address),
    /// The daemon refused.
    #[error("the daemon says: {0}")]
    Refused(String),
}

/// Connects to a daemon.
///
/// # Errors
/// If it cannot be reached.
pub async fn connect(address: &Address) -> Result<Channel, ClientError> {
    let Address::Unix(path) = address else { return Err(ClientError::Address(address.clone())) };
    let path = path.clone();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // Nobody looks at the name of who is spoken to over a socket.
    let endpoint = Endpoint::from_static("http://localhost");
    let failed = |source| ClientError::Connect { address: address.clone(), source };
    endpoint.connect_with_connector(connector).await.map_err(failed)
}

/// Lists the workers of a daemon, if it answers in time.
///
/// # Errors
/// If it does not.
pub async fn list_workers(address: &Address, patience: Duration) -> Result<Vec<Worker>, ClientError> {
    let asking = async {
        let mut client = ControlClient::new(connect(address).await?);
        let response = client.list_workers(ListWorkersRequest::default()).await;
        let records = response.map_err(|status| ClientError::Refused(status.message().to_owned()))?.into_inner().record;
        Ok(records.into_iter().map(worker).collect())
    };
    let answer = tokio::time::timeout(patience, asking).await;
    answer.unwrap_or_else(|_| Err(ClientError::Timeout(address.clone())))
}

fn worker(record: rbuild_buildkit_api::worker::WorkerRecord) -> Worker {
    let name = |platform: rbuild_graph::pb::Platform| {
        let parts = [platform.os, platform.architecture, platform.variant];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    };
    Worker { id: record.id, platforms: record.platforms.into_iter().map(name).collect() }
}
