//! Files in both directions: directories to the daemon, results from it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use prost::Message;
use rbuild_buildkit_api::filesync::BytesMessage;
use rbuild_sys::root::Root;
use rbuild_tree::context::{ContextIndex, scan};
use rbuild_tree::pattern::Matcher;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use super::{Offer, follow};
use crate::file_send::header as send_header;
use crate::file_sync::{MOST_PACKET_BYTES, header};
use crate::fsutil::{self, Outgoing, Packet, ReceiveOptions, TransferError};
use crate::{file_send, file_sync, headers};

/// Packets that wait for the daemon.
const WAITING: usize = 128;
/// Threads that list a directory.
const THREADS: usize = 2;

type Answers<M> = BoxStream<'static, Result<M, Status>>;
type Answered = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

/// The service that gives directories.
#[derive(Clone)]
pub(super) struct FileSync(pub(super) Arc<Offer>);

/// The service that takes results.
#[derive(Clone)]
pub(super) struct FileSend(pub(super) Arc<Offer>);

impl NamedService for FileSync {
    const NAME: &'static str = "moby.filesync.v1.FileSync";
}

impl NamedService for FileSend {
    const NAME: &'static str = "moby.filesync.v1.FileSend";
}

impl Service<http::Request<Body>> for FileSync {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answered;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != file_sync::METHOD {
            return Box::pin(async { Ok(Status::unimplemented("this way of sending files is not known").into_http()) });
        }
        let offer = self.0.clone();
        streaming(request, move |request| give_directory(offer, request))
    }
}

impl Service<http::Request<Body>> for FileSend {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answered;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// What the messages are depends on what the exporter makes.
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != file_send::METHOD {
            return Box::pin(async { Ok(Status::unimplemented("this way of taking files is not known").into_http()) });
        }
        let offer = self.0.clone();
        let id = MetadataMap::from_headers(request.headers().clone());
        let id = headers::value(&id, send_header::EXPORTER).and_then(|id| id.parse().ok()).unwrap_or(0);
        match self.0.directories.get(&id).cloned() {
            Some(directory) => streaming(request, move |request| take_directory(directory, request)),
            None => streaming(request, move |request| take_file(offer, id, request)),
        }
    }
}

/// A method that is a function.
struct Method<F>(Option<F>);

impl<F, A, In, Out> StreamingService<In> for Method<F>
where
    F: FnOnce(Request<Streaming<In>>) -> A,
    A: Future<Output = Result<Answers<Out>, Status>> + Send + 'static,
    Out: 'static,
{
    type Response = Out;
    type ResponseStream = Answers<Out>;
    type Future = BoxFuture<'static, Result<Response<Answers<Out>>, Status>>;

    fn call(&mut self, request: Request<Streaming<In>>) -> Self::Future {
        let Some(method) = self.0.take() else {
            return Box::pin(async { Err(Status::internal("a call came twice")) });
        };
        let answer = method(request);
        Box::pin(async move { answer.await.map(Response::new) })
    }
}

fn streaming<F, A, In, Out>(request: http::Request<Body>, method: F) -> Answered
where
    F: FnOnce(Request<Streaming<In>>) -> A + Send + 'static,
    A: Future<Output = Result<Answers<Out>, Status>> + Send + 'static,
    In: Message + Default + Send + 'static,
    Out: Message + Send + 'static,
{
    Box::pin(async move {
        let codec = ProstCodec::<Out, In>::default();
        let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(MOST_PACKET_BYTES), None);
        Ok(grpc.streaming(Method(Some(method)), request).await)
    })
}

/// Packets of a transfer, and then its error if it failed.
fn packets(
    packets: impl Stream<Item = Packet> + Send + 'static,
    transfer: impl Future<Output = Result<(), TransferError>> + Send + 'static,
) -> Answers<Packet> {
    let transfer = tokio::spawn(transfer);
    let end = futures::stream::once(async move {
        match transfer.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(Status::unknown(error.to_string()))),
            Err(error) => Some(Err(Status::internal(error.to_string()))),
        }
    });
    packets.map(Ok).chain(end.filter_map(std::future::ready)).boxed()
}

async fn give_directory(offer: Arc<Offer>, request: Request<Streaming<Packet>>) -> Result<Answers<Packet>, Status> {
    let (map, _, incoming) = request.into_parts();
    let name = headers::value(&map, header::NAME).unwrap_or_default();
    let path = offer.locals.get(&name).cloned();
    let path = path.ok_or_else(|| Status::not_found(format!("no access allowed to dir {name:?}")))?;
    let list = |name| headers::values(&map, name);
    let (include, exclude, follow) = (list(header::INCLUDE), list(header::EXCLUDE), list(header::FOLLOW));
    let listed = tokio::task::spawn_blocking(move || listing(&path, include, &exclude, &follow)).await;
    let tree = listed.map_err(|error| Status::internal(error.to_string()))?;
    let tree = Arc::new(tree.map_err(|error| Status::unknown(error.to_string()))?);
    let (sender, receiver) = mpsc::channel(WAITING);
    let sent = fsutil::send(Outgoing { tree, as_root: true }, incoming, sender);
    Ok(packets(ReceiverStream::new(receiver), sent))
}

/// Lists what is wanted of a directory.
fn listing(
    path: &Path,
    mut include: Vec<String>,
    exclude: &[String],
    follow: &[String],
) -> Result<rbuild_tree::context::Listing, TransferError> {
    if !follow.is_empty() {
        let root = Root::open(path).map_err(|error| error_at(path, error))?;
        match follow::follow(&root, follow).map_err(|error| error_at(path, error))? {
            Some(paths) => include.extend(paths),
            // The root itself is wanted.
            None => include.clear(),
        }
    }
    let ignore = Matcher::selecting(&include, exclude).map_err(rbuild_tree::TreeError::from)?;
    Ok(scan(path, &ignore, ContextIndex::default(), THREADS)?)
}

fn error_at(path: &Path, source: std::io::Error) -> TransferError {
    TransferError::Io { action: "opening", path: path.to_owned(), source }
}

async fn take_directory(path: PathBuf, request: Request<Streaming<Packet>>) -> Result<Answers<Packet>, Status> {
    std::fs::create_dir_all(&path).map_err(|error| Status::unknown(format!("making {}: {error}", path.display())))?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let owner = Some(rbuild_sys::dirfd::current_owner());
    let options = ReceiveOptions { merge: true, owner, ..ReceiveOptions::default() };
    let received = fsutil::receive(request.into_inner(), sender, path, options, (), |_| {});
    Ok(packets(UnboundedReceiverStream::new(receiver), received))
}

async fn take_file(
    offer: Arc<Offer>,
    id: usize,
    request: Request<Streaming<BytesMessage>>,
) -> Result<Answers<BytesMessage>, Status> {
    let (map, _, mut messages) = request.into_parts();
    let metadata = metadata_of(&map);
    let open = offer.files.get(&id).ok_or_else(|| Status::unknown(format!("exporter {id} not found")))?;
    let opened = (open.lock().unwrap_or_else(PoisonError::into_inner))(&metadata);
    let opened = opened.map_err(|error| Status::unknown(error.to_string()))?;
    let mut file: Box<dyn Write + Send> = opened.ok_or_else(|| Status::already_exists("target already exists"))?;
    let (sender, mut receiver) = mpsc::channel::<BytesMessage>(8);
    let writing = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        while let Some(message) = receiver.blocking_recv() {
            // Without the last, empty message the file is not whole.
            if message.data.is_empty() {
                return file.flush();
            }
            file.write_all(&message.data)?;
        }
        Ok(())
    });
    while let Some(message) = messages.message().await? {
        if !message.data.is_empty() && sender.send(message).await.is_err() {
            break;
        }
    }
    let _ = sender.send(BytesMessage::default()).await;
    let written = writing.await.map_err(|error| Status::internal(error.to_string()))?;
    written.map_err(|error| Status::unknown(error.to_string()))?;
    Ok(futures::stream::empty().boxed())
}

/// Returns what the daemon says of a file.
fn metadata_of(map: &MetadataMap) -> BTreeMap<String, String> {
    let names = map.iter().filter_map(|entry| match entry {
        KeyAndValueRef::Ascii(name, _) => name.as_str().strip_prefix(send_header::METADATA),
        KeyAndValueRef::Binary(..) => None,
    });
    let names = names.filter(|name| !name.ends_with("-encoded"));
    names
        .map(|name| (name.to_owned(), headers::values(map, &format!("{}{name}", send_header::METADATA)).join(",")))
        .collect()
}
