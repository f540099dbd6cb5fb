//! Writing layer tars: the same tree always gives the same bytes.
use std::io::{Read, Write};
use std::path::Path;

use super::TarError;
use crate::entry::Metadata;

/// Writes the entries of a layer in the order they are given.
#[derive(Debug)]
pub struct LayerWriter<W> {
    out: W,
}

impl<W: Write> LayerWriter<W> {
    /// Starts a layer on `out`, which should be buffered or take large writes well.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes an entry that is not a regular file; a socket is an error.
    pub fn entry(&mut self, path: &Path, metadata: &Metadata) -> Result<(), TarError> {
        let _ = (path, metadata);
        unimplemented!()
    }

    /// Writes a regular file of exactly `metadata.size` bytes.
    pub fn file(&mut self, path: &Path, metadata: &Metadata, content: &mut dyn Read) -> Result<(), TarError> {
        let _ = (path, metadata, content);
        unimplemented!()
    }

    /// Writes another name of an earlier entry.
    pub fn hard_link(&mut self, path: &Path, target: &Path, metadata: &Metadata) -> Result<(), TarError> {
        let _ = (path, target, metadata);
        unimplemented!()
    }

    /// Writes the removal of `path`.
    pub fn whiteout(&mut self, path: &Path) -> Result<(), TarError> {
        let _ = path;
        unimplemented!()
    }

    /// Writes the end of the archive and returns the stream.
    pub fn finish(self) -> Result<W, TarError> {
        Ok(self.out)
    }
}
