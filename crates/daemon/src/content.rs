//! Gives out blobs of the history: logs, errors, attestations, manifests. What else is in the store is not shown, and
//! nothing is taken in.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use rbuild_buildkit_api::content::{
    AbortRequest, DeleteContentRequest, Empty, Info, InfoRequest, InfoResponse, ListContentRequest,
    ListContentResponse, ListStatusesRequest, ListStatusesResponse, ReadContentRequest, ReadContentResponse,
    StatusRequest, StatusResponse, UpdateRequest, UpdateResponse, WriteContentRequest, WriteContentResponse,
};
use rbuild_buildkit_api::services::content::content_server::Content;
use rbuild_oci::Digest;
use rbuild_store::{BlobInfo, Store};
use tonic::{Request, Response, Status, Streaming};

use crate::history::OWNER;

/// How much of a blob travels in one message.
const CHUNK: u64 = 1 << 20;
/// How many blobs are listed in one message.
const PAGE: usize = 100;

/// The blobs of the history, to be read.
#[derive(Debug, Clone)]
pub struct ContentService {
    store: Store,
}

impl ContentService {
    /// Gives out blobs that the history of this store keeps.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    async fn list_all(&self) -> Result<Vec<BlobInfo>, Status> {
        let store = self.store.clone();
        blocking(move || store.blobs().pinned(OWNER).map_err(|error| Status::internal(error.to_string()))).await
    }

    async fn find(&self, text: &str) -> Result<BlobInfo, Status> {
        let digest: Digest = text.parse().map_err(|_| Status::invalid_argument("the digest is malformed"))?;
        let found = self.list_all().await?.into_iter().find(|blob| blob.digest == digest);
        found.ok_or_else(|| Status::not_found(format!("content {digest}: not found")))
    }

    async fn open(&self, digest: Digest) -> Result<Open, Status> {
        // A session of its own keeps the blob as long as it is read.
        let session = self.store.session();
        blocking(move || {
            let file = session.blobs().open(&digest);
            let file = file.map_err(|error| Status::not_found(error.to_string()))?;
            Ok(Open { file: Arc::new(file), _session: session })
        })
        .await
    }
}

/// A blob that is read.
struct Open {
    file: Arc<File>,
    _session: Store,
}

fn read_only<T>() -> Result<T, Status> {
    Err(Status::unknown("read-only content store"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Status> + Send + 'static) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Status::internal("reading content failed")))
}

fn info(blob: &BlobInfo) -> Info {
    Info {
        digest: blob.digest.to_string(),
        size: i64::try_from(blob.size).unwrap_or(i64::MAX),
        created_at: Some(blob.created.into()),
        updated_at: Some(blob.created.into()),
        ..Info::default()
    }
}

/// Returns which bytes are asked for: all from an offset if it says no size, and never more than there are.
fn range(request: &ReadContentRequest, size: u64) -> Result<(u64, u64), Status> {
    let offset = u64::try_from(request.offset).unwrap_or(0);
    if offset > size {
        return Err(Status::out_of_range(format!("read past object length {size} bytes")));
    }
    let asked = u64::try_from(request.size).ok().filter(|asked| *asked > 0);
    Ok((offset, offset.saturating_add(asked.unwrap_or(size)).min(size)))
}

#[tonic::async_trait]
impl Content for ContentService {
    type ListStream = BoxStream<'static, Result<ListContentResponse, Status>>;
    type ReadStream = BoxStream<'static, Result<ReadContentResponse, Status>>;
    type WriteStream = BoxStream<'static, Result<WriteContentResponse, Status>>;

    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let blob = self.find(&request.into_inner().digest).await?;
        Ok(Response::new(InfoResponse { info: Some(info(&blob)) }))
    }

    async fn list(&self, request: Request<ListContentRequest>) -> Result<Response<Self::ListStream>, Status> {
        let filters = request.into_inner().filters;
        if let Some(filter) = filters.iter().find(|filter| !filter.is_empty()) {
            return Err(Status::invalid_argument(format!("content cannot be filtered by `{filter}`")));
        }
        let blobs = self.list_all().await?;
        let pages: Vec<_> =
            blobs.chunks(PAGE).map(|page| Ok(ListContentResponse { info: page.iter().map(info).collect() })).collect();
        Ok(Response::new(stream::iter(pages).boxed()))
    }

    async fn read(&self, request: Request<ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let blob = self.find(&request.digest).await?;
        let (start, end) = range(&request, blob.size)?;
        let open = self.open(blob.digest).await?;
        let chunks = stream::try_unfold((open, start), move |(open, offset)| async move {
            if offset >= end {
                return Ok(None);
            }
            let length = usize::try_from((end - offset).min(CHUNK)).unwrap_or_default();
            let file = Arc::clone(&open.file);
            let data = blocking(move || {
                let mut data = vec![0; length];
                file.read_exact_at(&mut data, offset).map_err(|error| Status::data_loss(error.to_string()))?;
                Ok(Bytes::from(data))
            })
            .await?;
            let next = offset + data.len() as u64;
            let offset = i64::try_from(offset).unwrap_or(i64::MAX);
            Ok(Some((ReadContentResponse { offset, data }, (open, next))))
        });
        Ok(Response::new(chunks.boxed()))
    }

    async fn list_statuses(&self, _: Request<ListStatusesRequest>) -> Result<Response<ListStatusesResponse>, Status> {
        Ok(Response::new(ListStatusesResponse::default()))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Err(Status::not_found(format!("nothing is written as `{}`: not found", request.into_inner().r#ref)))
    }

    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        read_only()
    }

    async fn delete(&self, _: Request<DeleteContentRequest>) -> Result<Response<Empty>, Status> {
        read_only()
    }

    async fn write(&self, _: Request<Streaming<WriteContentRequest>>) -> Result<Response<Self::WriteStream>, Status> {
        read_only()
    }

    async fn abort(&self, _: Request<AbortRequest>) -> Result<Response<Empty>, Status> {
        read_only()
    }
}
