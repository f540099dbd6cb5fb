//! Finding out what an address means now: by its tag if it was fetched before, else by fetching it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use rbuild_oci::{Digest, Hasher};
use rbuild_registry::{Client, Download, Head, Progress, Sink};
use rbuild_tree::compress::decompress;
use rbuild_tree::{Metadata, Time};

use super::memory::{Memory, Record};
use super::{Found, HttpSource, MOST_BYTES, name};
use crate::file::{Body, Draft, Empty};
use crate::worker::Worker;
use crate::{OpsError, blocking};

/// The host that stands for the client of the build.
const CLIENT: &str = "buildkit-session";

/// A file that is hashed as it is written.
struct Spool {
    file: File,
    hasher: Hasher,
    length: u64,
}

impl Sink for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        io::Write::write_all(&mut self.file, bytes)
    }

    fn restart(&mut self) -> io::Result<()> {
        (self.hasher, self.length) = (Hasher::new(), 0);
        Sink::restart(&mut self.file)
    }
}

impl Spool {
    fn new(scratch: &Path) -> Result<Self, OpsError> {
        let file = tempfile::tempfile_in(scratch).map_err(|error| OpsError::io("making a file", error))?;
        Ok(Self { file, hasher: Hasher::new(), length: 0 })
    }

    /// Returns what was sent compressed as it is.
    async fn decoded(mut self, scratch: &Path) -> Result<Self, OpsError> {
        let mut plain = Self::new(scratch)?;
        blocking(move || {
            let failed = |error| OpsError::io("decompressing a download", error);
            self.file.rewind().map_err(failed)?;
            let (_, content) = decompress(BufReader::new(self.file)).map_err(failed)?;
            plain.take(content, "decompressing a download").map(|()| plain)
        })
        .await
    }

    /// Writes all of `content`.
    fn take(&mut self, mut content: impl Read, action: &'static str) -> Result<(), OpsError> {
        let failed = |error| OpsError::io(action, error);
        let mut chunk = vec![0; 64 << 10];
        loop {
            let length = content.read(&mut chunk).map_err(failed)?;
            if length == 0 {
                return Ok(());
            }
            self.write(&chunk[..length]).map_err(failed)?;
            if self.length > MOST_BYTES {
                return Err(failed(io::Error::other("it is larger than 64 GiB")));
            }
        }
    }
}

impl From<Record> for Found {
    fn from(record: Record) -> Self {
        Self { digest: record.digest, last_modified: record.last_modified, name: record.name, layer: record.layer }
    }
}

impl HttpSource {
    /// Finds the file, in the store or at its server.
    pub(super) async fn find(&self, progress: Progress) -> Result<Found, OpsError> {
        let memory = Arc::new(Memory::new(self.worker.store(), &self.memory_key()));
        let known = {
            let (memory, worker) = (memory.clone(), self.worker.clone());
            blocking(move || memory.recall(worker.store())).await?
        };
        if let Some(checksum) = self.checksum
            && let Some(record) =
                known.iter().find(|record| record.digest == checksum && record.name == self.known_name())
        {
            return Ok(record.clone().into());
        }
        let mut file = self.file.clone();
        self.authorize(&mut file).await?;
        let client = self.worker.images().client()?.clone();
        let found = match self.unchanged(&client, &file, &known).await? {
            Some(record) => record.into(),
            None => self.fetch(&client, &file, progress, &memory).await?,
        };
        match self.checksum {
            Some(checksum) if found.digest != checksum => {
                Err(OpsError::Checksum { address: file.shown(), got: found.digest, wanted: checksum })
            }
            _ => Ok(found),
        }
    }

    /// Whatever decides about the layer and the answer of the server.
    pub(super) fn memory_key(&self) -> String {
        let parts = (&self.address, &self.name, self.mode, self.owner, &self.headers, &self.header_secret);
        serde_json::to_string(&parts).expect("texts and numbers are JSON")
    }

    /// Asks the server by HEAD whether it still has a version that is known. Servers that answer 304 or do not
    /// are served alike; one that does not answer HEAD is asked by GET afterwards.
    async fn unchanged(&self, client: &Client, file: &Download, known: &[Record]) -> Result<Option<Record>, OpsError> {
        let tags: Vec<_> = known.iter().filter_map(|record| record.etag.as_deref()).collect();
        if tags.is_empty() || self.checksum.is_some() {
            return Ok(None);
        }
        let mut question = file.clone();
        question.header("if-none-match", &tags.join(", "))?;
        let Ok(head) = client.head(&question).await else { return Ok(None) };
        let tag = match head.header("etag").map(etag) {
            // Some servers leave the tag out if there is only one that they can mean.
            None if head.not_modified && tags.len() == 1 => Some(tags[0].to_owned()),
            tag => tag,
        };
        Ok(known.iter().find(|record| tag.is_some() && record.etag == tag).cloned())
    }

    async fn fetch(
        &self,
        client: &Client,
        file: &Download,
        progress: Progress,
        memory: &Arc<Memory>,
    ) -> Result<Found, OpsError> {
        let scratch = self.worker.scratch()?;
        let mut spool = Spool::new(&scratch)?;
        let head = if file.host() == CLIENT {
            spool = self.upload(file, spool).await?;
            None
        } else {
            Some(client.download(file, MOST_BYTES, &mut spool, progress).await.map_err(OpsError::download)?)
        };
        if head.as_ref().and_then(|head| head.header("content-encoding")).is_some_and(|how| how == "gzip") {
            spool = spool.decoded(&scratch).await?;
        }
        let layer = Layer {
            name: head.as_ref().map_or_else(|| self.known_name(), |head| self.name_of(head)),
            mode: self.mode,
            owner: self.owner,
            last_modified: head.as_ref().and_then(Head::last_modified),
            etag: head.as_ref().and_then(|head| head.header("etag")).map(etag),
            description: format!("file from {}", file.shown()),
        };
        let (worker, memory) = (self.worker.clone(), memory.clone());
        blocking(move || layer.write(&worker, spool, &memory, &scratch)).await
    }

    /// Takes a file that the client offers itself.
    async fn upload(&self, file: &Download, mut spool: Spool) -> Result<Spool, OpsError> {
        let failed = |error| OpsError::io("loading a file from the client", error);
        let offered = self.worker.session().upload(&file.host(), file.path()).await.map_err(failed)?;
        let content = offered.ok_or_else(|| OpsError::NoUpload(file.shown()))?;
        blocking(move || spool.take(content, "loading a file from the client").map(|()| spool)).await
    }

    fn name_of(&self, head: &Head) -> String {
        let disposed = head.header("content-disposition").and_then(name::disposition);
        match disposed.filter(|_| self.name.is_none()) {
            Some(disposed) => name::safe(&disposed),
            None => self.known_name(),
        }
    }

    /// Adds the credentials that the client has for the host.
    async fn authorize(&self, file: &mut Download) -> Result<(), OpsError> {
        let host = file.host();
        let candidates = match &self.header_secret {
            Some(id) => vec![(id.clone(), "")],
            None => vec![(format!("HTTP_AUTH_TOKEN_{host}"), "Bearer "), (format!("HTTP_AUTH_HEADER_{host}"), "")],
        };
        for (id, prefix) in candidates {
            if let Some(value) = super::super::secret_line(&self.worker, &id).await? {
                return Ok(file.authorize(&format!("{prefix}{value}"))?);
            }
        }
        match &self.header_secret {
            Some(id) => Err(OpsError::NoSecret(id.clone())),
            None => Ok(()),
        }
    }
}

/// Returns a tag without the mark of weak ones.
fn etag(header: &str) -> String {
    header.strip_prefix("W/").unwrap_or(header).to_owned()
}

/// A file on its way into a layer.
struct Layer {
    name: String,
    mode: u32,
    owner: (u32, u32),
    last_modified: Option<i64>,
    etag: Option<String>,
    description: String,
}

impl Layer {
    fn write(self, worker: &Worker, spool: Spool, memory: &Memory, scratch: &Path) -> Result<Found, OpsError> {
        let mut draft = Draft::new(Arc::new(Empty));
        let mtime = self.last_modified.map_or(Time::EPOCH, Time::from_seconds);
        let (uid, gid) = self.owner;
        let metadata = Metadata { mode: self.mode, uid, gid, mtime, ..Metadata::file(spool.length) };
        let body = Body::Span(Arc::new(spool.file), 0);
        draft.put(Path::new(&self.name), metadata, body, None)?;
        let layer = worker.write_layer(draft, &self.description)?;
        let digest: Digest = spool.hasher.finish();
        let (etag, last_modified) = (self.etag, self.last_modified);
        let record = Record { etag, last_modified, digest, name: self.name, layer };
        memory.keep(record.clone(), scratch)?;
        Ok(record.into())
    }
}
