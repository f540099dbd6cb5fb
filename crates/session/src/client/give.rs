//! Secrets, agents, archives and credentials, given to the daemon when it asks.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use rbuild_buildkit_api::secrets::{GetSecretRequest, GetSecretResponse};
use rbuild_buildkit_api::services::secrets::secrets_server::Secrets;
use rbuild_buildkit_api::services::ssh::s_s_h_server::SSH;
use rbuild_buildkit_api::services::upload::upload_server::Upload;
use rbuild_buildkit_api::ssh::{self, CheckAgentRequest, CheckAgentResponse};
use rbuild_buildkit_api::upload;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::Offer;
use crate::{headers, ssh as forwarding, upload as uploading};

/// Gives what is offered.
#[derive(Clone)]
pub(super) struct Give(pub(super) Arc<Offer>);

#[async_trait]
impl Secrets for Give {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        match self.0.secrets.get(&id) {
            Some(secret) => Ok(Response::new(GetSecretResponse { data: Bytes::copy_from_slice(secret) })),
            None => Err(Status::not_found(format!("secret {id} not found"))),
        }
    }
}

#[async_trait]
impl SSH for Give {
    async fn check_agent(&self, request: Request<CheckAgentRequest>) -> Result<Response<CheckAgentResponse>, Status> {
        let id = request.into_inner().id;
        match self.0.agents.get(&id) {
            Some(_) => Ok(Response::new(CheckAgentResponse {})),
            None => Err(Status::unknown(format!("unset ssh forward key {id}"))),
        }
    }

    type ForwardAgentStream = BoxStream<'static, Result<ssh::BytesMessage, Status>>;

    async fn forward_agent(
        &self,
        request: Request<Streaming<ssh::BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = headers::value(request.metadata(), forwarding::ID).unwrap_or_else(|| "default".to_owned());
        let socket = self.0.agents.get(&id).ok_or_else(|| Status::unknown(format!("unset ssh forward key {id}")))?;
        let (read, write) = tokio::net::UnixStream::connect(socket).await?.into_split();
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(forwarding::say(read, sender));
        tokio::spawn(forwarding::receive(request.into_inner(), write));
        Ok(Response::new(ReceiverStream::new(receiver).map(Ok).boxed()))
    }
}

#[async_trait]
impl Upload for Give {
    type PullStream = BoxStream<'static, Result<upload::BytesMessage, Status>>;

    async fn pull(
        &self,
        request: Request<Streaming<upload::BytesMessage>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let path = headers::value(request.metadata(), uploading::header::PATH).unwrap_or_default();
        let open =
            self.0.uploads.get(&path).ok_or_else(|| Status::not_found(format!("nothing is offered at {path}")))?;
        let mut content = open()?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::task::spawn_blocking(move || {
            loop {
                let mut data = vec![0; forwarding::CHUNK];
                let message = match content.read(&mut data) {
                    Ok(0) => return,
                    Ok(length) => {
                        data.truncate(length);
                        Ok(upload::BytesMessage { data: data.into() })
                    }
                    Err(error) => Err(Status::unknown(error.to_string())),
                };
                if sender.blocking_send(message).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }
}
