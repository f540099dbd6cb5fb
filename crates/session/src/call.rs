//! Calls of the client's services that the generated stubs cannot say: other messages, other limits.

use futures::Stream;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::session::Session;

/// Opens a stream in both directions; it is there when the client begins to answer.
pub(crate) async fn streaming<Sent, Received>(
    session: &Session,
    method: &'static str,
    metadata: MetadataMap,
    outgoing: impl Stream<Item = Sent> + Send + 'static,
    most_bytes: usize,
) -> Result<Streaming<Received>, Status>
where
    Sent: Message + Send + Sync + 'static,
    Received: Message + Default + Send + Sync + 'static,
{
    let mut client = Grpc::new(session.channel()).max_decoding_message_size(most_bytes);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let request = Request::from_parts(metadata, Extensions::default(), outgoing);
    let path = PathAndQuery::from_static(method);
    Ok(client.streaming(request, path, ProstCodec::<Sent, Received>::default()).await?.into_inner())
}
