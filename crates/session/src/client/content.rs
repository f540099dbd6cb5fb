//! Blobs in directories of the client, given to the daemon and taken from it.
//!
//! A store is a directory with `blobs/sha256/<hex>`, as OCI layouts have it. What is written lies in `ingest/` until it
//! is whole and has the digest that was announced.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use futures::stream::BoxStream;
use rbuild_buildkit_api::content::{
    AbortRequest, DeleteContentRequest, Empty, Info, InfoRequest, InfoResponse, ListContentRequest,
    ListContentResponse, ListStatusesRequest, ListStatusesResponse, ReadContentRequest, ReadContentResponse,
    StatusRequest, StatusResponse, UpdateRequest, UpdateResponse, WriteAction, WriteContentRequest,
    WriteContentResponse,
};
use rbuild_buildkit_api::services::content::content_server::Content;
use rbuild_oci::{Digest, Hasher};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::give::Give;
use crate::{content, headers};

/// The most bytes of one message.
const CHUNK: usize = 256 << 10;

/// One store of the client.
struct Directory(PathBuf);

impl Give {
    fn directory(&self, map: &MetadataMap) -> Result<Directory, Status> {
        let name = headers::value(map, content::STORE).unwrap_or_default();
        let path = self.0.stores.get(&name);
        path.cloned().map(Directory).ok_or_else(|| Status::not_found(format!("there is no store {name:?}")))
    }
}

impl Directory {
    fn blob(&self, digest: &Digest) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.hex())
    }

    fn open(&self, digest: &str) -> Result<(File, u64), Status> {
        let file = File::open(self.blob(&parse(digest)?)).map_err(|error| failed(digest, &error))?;
        let size = file.metadata().map_err(|error| failed(digest, &error))?.len();
        Ok((file, size))
    }

    fn ingest(&self, reference: &str) -> PathBuf {
        self.0.join("ingest").join(Digest::of(reference.as_bytes()).hex())
    }
}

fn parse(digest: &str) -> Result<Digest, Status> {
    digest.parse().map_err(|_| Status::invalid_argument("that is no digest"))
}

fn failed(digest: &str, error: &std::io::Error) -> Status {
    let text = format!("blob {digest}: {error}");
    if error.kind() == std::io::ErrorKind::NotFound { Status::not_found(text) } else { Status::unknown(text) }
}

/// A blob that is being written.
struct Ingest {
    directory: Directory,
    path: PathBuf,
    file: File,
    expected: String,
    offset: u64,
}

impl Ingest {
    /// Begins with the first message.
    fn begin(directory: Directory, first: &WriteContentRequest) -> Result<Self, Status> {
        if !first.expected.is_empty() && directory.blob(&parse(&first.expected)?).exists() {
            return Err(Status::already_exists(format!("blob {} exists", first.expected)));
        }
        let path = directory.ingest(&first.r#ref);
        let make = |path: &Path| {
            std::fs::create_dir_all(path.parent().unwrap_or(path))?;
            File::options().read(true).write(true).create(true).truncate(true).open(path)
        };
        let file = make(&path).map_err(|error| failed(&first.r#ref, &error))?;
        Ok(Self { directory, path, file, expected: first.expected.clone(), offset: 0 })
    }

    fn take(&mut self, message: &WriteContentRequest) -> Result<WriteContentResponse, Status> {
        if u64::try_from(message.offset) != Ok(self.offset) && message.offset != 0 {
            return Err(Status::out_of_range("bytes that do not follow those before"));
        }
        let written = self.file.write_all_at(&message.data, self.offset);
        written.map_err(|error| failed(&self.expected, &error))?;
        self.offset += message.data.len() as u64;
        let mut digest = String::new();
        if message.action == i32::from(WriteAction::Commit) {
            digest = self.commit(message)?.to_string();
        }
        let offset = i64::try_from(self.offset).unwrap_or(i64::MAX);
        Ok(WriteContentResponse { action: message.action, offset, total: message.total, digest, ..Default::default() })
    }

    fn commit(&mut self, message: &WriteContentRequest) -> Result<Digest, Status> {
        let mut hasher = Hasher::new();
        let mut hash = || {
            self.file.seek(SeekFrom::Start(0))?;
            let mut chunk = vec![0; CHUNK];
            loop {
                match self.file.read(&mut chunk)? {
                    0 => return Ok(()),
                    length => hasher.update(&chunk[..length]),
                }
            }
        };
        hash().map_err(|error: std::io::Error| failed(&self.expected, &error))?;
        let digest = hasher.finish();
        let expected = if message.expected.is_empty() { &self.expected } else { &message.expected };
        if !expected.is_empty() && parse(expected)? != digest {
            return Err(Status::failed_precondition(format!("unexpected digest {digest}, expected {expected}")));
        }
        let blob = self.directory.blob(&digest);
        let moved =
            std::fs::create_dir_all(blob.parent().unwrap_or(&blob)).and_then(|()| std::fs::rename(&self.path, &blob));
        moved.map_err(|error| failed(expected, &error))?;
        Ok(digest)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // Gone if it was committed.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[async_trait]
impl Content for Give {
    type ListStream = BoxStream<'static, Result<ListContentResponse, Status>>;
    type ReadStream = BoxStream<'static, Result<ReadContentResponse, Status>>;
    type WriteStream = BoxStream<'static, Result<WriteContentResponse, Status>>;

    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let directory = self.directory(request.metadata())?;
        let digest = request.into_inner().digest;
        let (_, size) = directory.open(&digest)?;
        let info = Info { digest, size: i64::try_from(size).unwrap_or(i64::MAX), ..Info::default() };
        Ok(Response::new(InfoResponse { info: Some(info) }))
    }

    async fn read(&self, request: Request<ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let directory = self.directory(request.metadata())?;
        let request = request.into_inner();
        let (mut file, _) = directory.open(&request.digest)?;
        let start = u64::try_from(request.offset).map_err(|_| Status::out_of_range("a negative offset"))?;
        let most = u64::try_from(request.size).ok().filter(|size| *size > 0).unwrap_or(u64::MAX);
        file.seek(SeekFrom::Start(start)).map_err(|error| failed(&request.digest, &error))?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::task::spawn_blocking(move || {
            let (mut content, mut offset) = (file.take(most), request.offset);
            loop {
                let mut data = vec![0; CHUNK];
                let message = match content.read(&mut data) {
                    Ok(0) => return,
                    Ok(length) => {
                        data.truncate(length);
                        Ok(ReadContentResponse { offset, data: data.into() })
                    }
                    Err(error) => Err(failed(&request.digest, &error)),
                };
                offset += message.as_ref().map_or(0, |message| message.data.len() as i64);
                if sender.blocking_send(message).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let mut directory = Some(self.directory(request.metadata())?);
        let mut messages = request.into_inner();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut ingest: Option<Ingest> = None;
            while let Some(message) = messages.next().await {
                let answer = message.and_then(|message| {
                    if let Some(directory) = directory.take() {
                        ingest = Some(Ingest::begin(directory, &message)?);
                    }
                    ingest.as_mut().ok_or_else(|| Status::internal("nothing was begun"))?.take(&message)
                });
                let ended = answer.is_err();
                if sender.send(answer).await.is_err() || ended {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }

    async fn abort(&self, request: Request<AbortRequest>) -> Result<Response<Empty>, Status> {
        let path = self.directory(request.metadata())?.ingest(&request.into_inner().r#ref);
        let _ = std::fs::remove_file(path);
        Ok(Response::new(Empty {}))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        // Nothing that was cut off is kept.
        Err(Status::not_found("nothing of that reference was written"))
    }

    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        Err(Status::unimplemented("blobs are not changed"))
    }

    async fn list(&self, _: Request<ListContentRequest>) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented("blobs are not listed"))
    }

    async fn delete(&self, _: Request<DeleteContentRequest>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("blobs are not deleted"))
    }

    async fn list_statuses(&self, _: Request<ListStatusesRequest>) -> Result<Response<ListStatusesResponse>, Status> {
        Ok(Response::new(ListStatusesResponse::default()))
    }
}
