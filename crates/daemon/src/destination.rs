//! Outputs on their way to the client that asked for them.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;

use rbuild_export::{Blob, Destination, DirectoryMode, Documents, ExportError, TarStream};
use rbuild_oci::Digest;
use rbuild_session::{FileWriter, Sent, Session};
use rbuild_tree::FileTree;
use tokio::runtime::Handle;

/// The content store of a client that takes an image's blobs.
const CONTENT_STORE: &str = "export";

/// The client's side of one output. All calls are made on threads for blocking work.
pub(crate) struct ClientDestination {
    session: Arc<Session>,
    /// Which of the outputs of the build it is.
    position: usize,
    runtime: Handle,
}

impl ClientDestination {
    pub(crate) fn new(session: Arc<Session>, position: usize) -> Self {
        Self { session, position, runtime: Handle::current() }
    }
}

fn refused(error: impl Error + Send + Sync + 'static) -> ExportError {
    ExportError::Destination(Box::new(error))
}

impl Destination for ClientDestination {
    fn stream(&self, metadata: &BTreeMap<String, String>) -> Result<Box<dyn TarStream>, ExportError> {
        let _context = self.runtime.enter();
        let writer = self.session.send_file(self.position, metadata).map_err(refused)?;
        Ok(Box::new(ClientStream { writer, runtime: self.runtime.clone() }))
    }

    fn directory(
        &self,
        tree: Arc<dyn FileTree>,
        mode: DirectoryMode,
        _: &mut dyn FnMut(u64),
    ) -> Result<(), ExportError> {
        let is_whole = mode == DirectoryMode::Delete;
        self.runtime.block_on(self.session.send_tree(self.position, tree, is_whole)).map_err(refused)
    }

    fn content(&self, blobs: &mut dyn Iterator<Item = Blob<'_>>, _: &Documents) -> Result<(), ExportError> {
        let content = self.session.content(CONTENT_STORE).map_err(refused)?;
        for blob in blobs {
            let descriptor = &blob.descriptor;
            let name = format!("rbuild-{}", descriptor.digest);
            let writer = self.runtime.block_on(content.writer(&name, &descriptor.digest, descriptor.size));
            let Some(mut writer) = writer.map_err(refused)? else { continue };
            io::copy(&mut blob.open()?, &mut writer).map_err(|error| failed(&descriptor.digest, error))?;
            writer.commit().map_err(refused)?;
        }
        Ok(())
    }
}

fn failed(digest: &Digest, source: io::Error) -> ExportError {
    ExportError::Io { action: "sending", path: digest.to_string().into(), source }
}

/// A tar on its way to a client.
struct ClientStream {
    writer: FileWriter,
    runtime: Handle,
}

impl Write for ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl TarStream for ClientStream {
    fn finish(self: Box<Self>) -> io::Result<()> {
        match self.runtime.block_on(self.writer.finish()) {
            Ok(Sent::Whole | Sent::Existed) => Ok(()),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
