//! Directories of a client, copied into the store and kept there for the next time.

use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use rbuild_ops::{LocalDirectory, LocalRequest};
use rbuild_store::{CacheMount, Store};
use rbuild_tree::pattern::Matcher;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::MetadataMap;

use crate::call;
use crate::error::SessionError;
use crate::fsutil::{Packet, ReceiveOptions, TransferError, drained, receive};
use crate::headers;
use crate::session::Session;

/// The method by which a client sends a directory.
pub(crate) const METHOD: &str = "/moby.filesync.v1.FileSync/DiffCopy";
/// The largest packet: a name with its attributes.
pub(crate) const MOST_PACKET_BYTES: usize = 4 << 20;

/// The headers that say what is wanted.
pub(crate) mod header {
    pub(crate) const NAME: &str = "dir-name";
    pub(crate) const INCLUDE: &str = "include-patterns";
    pub(crate) const EXCLUDE: &str = "exclude-patterns";
    pub(crate) const FOLLOW: &str = "followpaths";
}

impl Session {
    /// Copies a directory of the client to `directory`, which then holds what was asked for and nothing else;
    /// files that are there already are not sent again. `keep` is held as long as anything is written.
    ///
    /// # Errors
    /// If the client has no such directory, or the transfer fails; the directory then holds a part.
    pub async fn copy_local<K: Send + 'static>(
        &self,
        request: &LocalRequest,
        directory: PathBuf,
        keep: K,
        progress: impl FnMut(u64) + Send,
    ) -> Result<(), SessionError> {
        self.require(METHOD)?;
        let metadata_only = request.metadata_only.as_ref().map(Matcher::new).transpose();
        let metadata_only = metadata_only.map_err(|error| SessionError::Answer(error.to_string()))?;
        let options = ReceiveOptions { differ: request.differ, metadata_only, ..ReceiveOptions::default() };
        let mut map = MetadataMap::new();
        headers::append(&mut map, header::INCLUDE, &request.include);
        headers::append(&mut map, header::EXCLUDE, &request.exclude);
        headers::append(&mut map, header::FOLLOW, &request.follow);
        headers::append(&mut map, header::NAME, std::slice::from_ref(&request.name));
        let (outgoing, requests) = mpsc::unbounded_channel::<Packet>();
        let requests = UnboundedReceiverStream::new(requests);
        let call = call::streaming::<Packet, Packet>(self, METHOD, map, requests, MOST_PACKET_BYTES);
        let mut incoming = Box::pin(futures::stream::once(call).try_flatten());
        self.wait(async {
            receive(&mut incoming, outgoing, directory, options, keep, progress).await?;
            Ok(drained(&mut incoming).await?)
        })
        .await
    }

    /// Copies a directory of the client into the store, upon the copy that was made last time if nobody reads that
    /// one. It stays as it is as long as the answer lives.
    ///
    /// # Errors
    /// As [`Self::copy_local`].
    pub async fn local(
        &self,
        request: &LocalRequest,
        store: &Store,
        progress: impl FnMut(u64) + Send,
    ) -> Result<LocalDirectory, SessionError> {
        let (store, key) = (store.clone(), self.copy_key(request));
        let description = format!("local source for {}", request.name);
        let taken = tokio::task::spawn_blocking(move || store.cache_mounts().copy_of_local(&key, &description)).await;
        let mount = taken.map_err(|error| SessionError::Answer(error.to_string()))??;
        let mount: Arc<CacheMount> = Arc::new(mount);
        self.copy_local(request, mount.path(), mount.clone(), progress).await?;
        Ok(LocalDirectory::copy(mount.path(), mount))
    }

    /// Returns what decides which copy is brought up to date. Which patterns there are does not: what they leave out
    /// is removed, and what they newly take is sent.
    fn copy_key(&self, request: &LocalRequest) -> String {
        let form = if request.metadata_only.is_some() { "metadata" } else { "files" };
        [&request.name, &request.shared_key_hint, self.shared_key(), form]
            .map(|part| format!("{}:{part}", part.len()))
            .concat()
    }
}

/// Whether another session of the build may have what this one has not.
pub(crate) fn may_be_elsewhere(error: &SessionError) -> bool {
    match error {
        SessionError::Transfer(TransferError::Stream(_) | TransferError::Ended) => true,
        SessionError::Transfer(_) | SessionError::Store(_) | SessionError::Answer(_) => false,
        _ => true,
    }
}
