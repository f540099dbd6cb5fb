//! Blobs of the history over the wire.

use rbuild_buildkit_api::content::{
    AbortRequest, DeleteContentRequest, InfoRequest, ListContentRequest, ListStatusesRequest, ReadContentRequest,
    StatusRequest, UpdateRequest, WriteContentRequest,
};
use rbuild_buildkit_api::control::BuildHistoryRecord;
use rbuild_buildkit_api::services::content::content_client::ContentClient;
use rbuild_buildkit_api::services::content::content_server::ContentServer;
use rbuild_daemon::address::Address;
use rbuild_daemon::config::HistoryLimits;
use rbuild_daemon::content::ContentService;
use rbuild_daemon::history::{History, Outcome};
use rbuild_daemon::listen::{self, Opening};
use rbuild_daemon::log::Log;
use rbuild_daemon::routes::Routes;
use rbuild_daemon::serve::serve;
use rbuild_store::Store;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

type Client = ContentClient<Channel>;

async fn read(client: &mut Client, digest: &str, offset: i64, size: i64) -> Result<Vec<u8>, Status> {
    let request = ReadContentRequest { digest: digest.to_owned(), offset, size };
    let mut chunks = client.read(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        assert_eq!(chunk.offset, offset.max(0) + i64::try_from(bytes.len()).unwrap());
        bytes.extend_from_slice(&chunk.data);
    }
    Ok(bytes)
}

async fn listed(client: &mut Client) -> Vec<String> {
    let mut pages = client.list(ListContentRequest::default()).await.unwrap().into_inner();
    let mut digests = Vec::new();
    while let Some(page) = pages.message().await.unwrap() {
        digests.extend(page.info.into_iter().map(|info| info.digest));
    }
    digests
}

fn code<T>(result: Result<T, Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_history_keeps_can_be_read_and_nothing_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    let history = History::open(&store, HistoryLimits::default()).unwrap();
    let secret = store.blobs().put(b"of somebody's image").unwrap().to_string();
    let path = directory.path().join("d.sock");
    let address = Address::Unix(path);
    let listeners = listen::open(std::slice::from_ref(&address), Opening::default()).await.unwrap();
    let stop = CancellationToken::new();
    let routes = Routes::new().with(ContentServer::new(ContentService::new(store.clone())));
    let token = stop.clone();
    let served = tokio::spawn(async move { serve(listeners, routes, token, &Log::silent()).await });
    let mut client = ContentClient::new(rbuild_daemon::client::connect(&address).await.unwrap());
    assert_eq!(listed(&mut client).await, [""; 0]);

    let large: Vec<u8> = (0..3_000_000u32).map(|number| number.to_le_bytes()[1]).collect();
    let recording = history.begin(BuildHistoryRecord { r#ref: "b".to_owned(), ..Default::default() }).unwrap();
    let proof = recording.attach("application/vnd.in-toto+json", &large).unwrap();
    let result =
        rbuild_buildkit_api::control::BuildResultInfo { attestations: vec![proof.clone()], ..Default::default() };
    let record = recording.finish(Outcome { result: Some(result), ..Outcome::default() }).unwrap();
    let (log, trace) = (record.logs.unwrap(), record.trace.unwrap());
    let mut expected = [log.digest.clone(), trace.digest.clone(), proof.digest.clone()];
    expected.sort();
    assert_eq!(listed(&mut client).await, expected);
    let info = client.info(InfoRequest { digest: proof.digest.clone() }).await.unwrap().into_inner().info.unwrap();
    assert_eq!(info.size, 3_000_000);

    let digest = proof.digest.as_str();
    assert!(read(&mut client, digest, 0, 0).await.unwrap() == large);
    assert!(read(&mut client, digest, 1_048_570, 20).await.unwrap() == large[1_048_570..1_048_590]);
    assert!(read(&mut client, digest, 2_999_999, i64::MAX).await.unwrap() == large[2_999_999..]);
    assert!(read(&mut client, digest, 3_000_000, -1).await.unwrap().is_empty());
    assert!(read(&mut client, digest, i64::MIN, 4).await.is_ok_and(|bytes| bytes == large[..4]));
    assert_eq!(code(read(&mut client, digest, 3_000_001, 0).await), Code::OutOfRange);
    assert_eq!(code(read(&mut client, &secret, 0, 0).await), Code::NotFound);
    assert_eq!(code(read(&mut client, "../../etc/passwd", 0, 0).await), Code::InvalidArgument);
    assert_eq!(code(client.info(InfoRequest::default()).await), Code::InvalidArgument);

    let refused = client.delete(DeleteContentRequest { digest: proof.digest.clone() }).await.unwrap_err();
    assert_eq!(refused.message(), "read-only content store");
    assert_eq!(code(client.abort(AbortRequest::default()).await), Code::Unknown);
    assert_eq!(code(client.update(UpdateRequest::default()).await), Code::Unknown);
    assert_eq!(code(client.write(tokio_stream::once(WriteContentRequest::default())).await), Code::Unknown);
    assert_eq!(code(client.status(StatusRequest::default()).await), Code::NotFound);
    assert!(client.list_statuses(ListStatusesRequest::default()).await.unwrap().into_inner().statuses.is_empty());
    let filtered = ListContentRequest { filters: vec!["labels.x".to_owned()] };
    assert_eq!(code(client.list(filtered).await), Code::InvalidArgument);
    drop(client);
    stop.cancel();
    served.await.unwrap().unwrap();
}
