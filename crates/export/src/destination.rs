//! Where results go: files of this machine, standard output, or a client at the other end of a session.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rbuild_images::Images;
use rbuild_oci::Descriptor;
use rbuild_sys::result::{create_result, remove_result};
use rbuild_tree::FileTree;

use crate::ExportError;
use crate::archive::write_layout;
use crate::files::{Unnamed, export_directory};

/// What becomes of files at the destination that the result does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DirectoryMode {
    /// They stay.
    #[default]
    Copy,
    /// They are deleted.
    Delete,
}

/// A place that takes one output of a build. All calls block, on threads for blocking work.
///
/// Errors should be [`ExportError::Destination`], which keeps what the destination says.
pub trait Destination: Send + Sync {
    /// Opens a stream for a tar. `metadata` is what is known of the result: the response so far.
    ///
    /// # Errors
    /// If the destination takes none.
    fn stream(&self, metadata: &BTreeMap<String, String>) -> Result<Box<dyn TarStream>, ExportError>;

    /// Takes the files of a tree. With [`DirectoryMode::Copy`] it may be called several times, for trees that do not
    /// overlap; with [`DirectoryMode::Delete`] the one tree is all there is. `progress` hears how many bytes went out.
    ///
    /// # Errors
    /// If the files cannot be read, or the destination does not take them.
    fn directory(
        &self,
        tree: Arc<dyn FileTree>,
        mode: DirectoryMode,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ExportError>;

    /// Takes the blobs of an image, each before those that name it, then the documents of an OCI layout, which a
    /// content store has no place for.
    ///
    /// # Errors
    /// If a blob cannot be had, or the destination does not take it.
    fn content(&self, blobs: &mut dyn Iterator<Item = Blob<'_>>, documents: &Documents) -> Result<(), ExportError>;
}

/// A blob on its way out.
pub struct Blob<'a> {
    /// What it is.
    pub descriptor: Descriptor,
    pub(crate) images: &'a Images,
}

impl Blob<'_> {
    /// Opens the bytes, which are checked while they are read.
    ///
    /// # Errors
    /// If the blob is not in the store any more.
    pub fn open(&self) -> Result<Box<dyn Read + Send>, ExportError> {
        Ok(Box::new(self.images.store().blobs().reader(&self.descriptor.digest)?))
    }
}

/// The files at the top of an archive, by name.
pub type Documents = Vec<(&'static str, Bytes)>;

/// A tar on its way out.
pub trait TarStream: Write + Send {
    /// Says that all bytes were written, and waits until they are taken.
    ///
    /// An error of the kind [`io::ErrorKind::AlreadyExists`], here or while writing, says that the destination has the
    /// archive already.
    ///
    /// # Errors
    /// If the destination did not take them.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Files of this machine: what `dest=` names on a command line.
#[derive(Clone)]
pub struct LocalFiles {
    /// The file or directory; `-` is standard output.
    pub dest: PathBuf,
    /// Opens standard output.
    pub stdout: fn() -> Box<dyn Write + Send>,
}

impl LocalFiles {
    fn is_stdout(&self) -> bool {
        self.dest == Path::new("-")
    }
}

impl Destination for LocalFiles {
    fn stream(&self, _: &BTreeMap<String, String>) -> Result<Box<dyn TarStream>, ExportError> {
        if self.is_stdout() {
            return Ok(Box::new(LocalStream { out: (self.stdout)(), path: None }));
        }
        if self.dest.is_dir() {
            let reason = format!("destination `{}` is a directory: a file is needed", self.dest.display());
            return Err(ExportError::Output(reason));
        }
        let file = create_result(&self.dest).map_err(ExportError::io("creating", &self.dest))?;
        Ok(Box::new(LocalStream { out: Box::new(file), path: Some(self.dest.clone()) }))
    }

    fn directory(
        &self,
        tree: Arc<dyn FileTree>,
        mode: DirectoryMode,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ExportError> {
        if self.is_stdout() {
            let reason = "type=local needs a directory as dest; for standard output use type=tar";
            return Err(ExportError::Output(reason.to_owned()));
        }
        let unnamed = match mode {
            DirectoryMode::Copy => Unnamed::Keep,
            DirectoryMode::Delete => Unnamed::Delete,
        };
        export_directory(&*tree, &self.dest, unnamed, progress)
    }

    fn content(&self, blobs: &mut dyn Iterator<Item = Blob<'_>>, documents: &Documents) -> Result<(), ExportError> {
        if self.is_stdout() {
            return Err(ExportError::Output("tar=false needs a directory as dest".to_owned()));
        }
        write_layout(&self.dest, blobs, documents)
    }
}

/// A file or pipe of this machine; an unfinished file is taken away.
struct LocalStream {
    out: Box<dyn Write + Send>,
    path: Option<PathBuf>,
}

impl Write for LocalStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl TarStream for LocalStream {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()?;
        self.path = None;
        Ok(())
    }
}

impl Drop for LocalStream {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            remove_result(path);
        }
    }
}
