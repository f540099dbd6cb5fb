//! Out of a registry: resolve a name, fetch manifests and blobs.

use std::io::{self, Write};

use bytes::Bytes;
use rbuild_oci::{Descriptor, Reference};

use crate::{Client, Error, Progress};

/// What a reference stands for at this moment.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The manifest's or index's type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes, if they had to be fetched to know.
    pub body: Option<Bytes>,
}

/// Where a blob's bytes go; must be able to start over.
///
/// The client calls from async code: a sink may wait for a disk, not for other tasks.
pub trait Sink: Send {
    /// Takes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Forgets all bytes: the transfer starts again from the first.
    fn restart(&mut self) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

impl Sink for std::fs::File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.set_len(0)?;
        io::Seek::rewind(self)
    }
}

impl Client {
    /// Finds out which manifest or index a reference stands for, from mirrors or the registry.
    ///
    /// A reference with a digest is checked to exist; one with neither tag nor digest means `latest`.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, Error> {
        unreachable!("{reference:?}")
    }

    /// Fetches a manifest or index by its digest from the repository of `reference`: at most 8 MiB,
    /// digest, size and type checked.
    pub async fn fetch_manifest(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Bytes, Error> {
        unreachable!("{reference:?} {descriptor:?}")
    }

    /// Fetches a blob from the repository of `reference` into `sink`; on success exactly the
    /// descriptor's bytes were written since the last restart.
    pub async fn fetch_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: &mut dyn Sink,
        progress: Progress,
    ) -> Result<(), Error> {
        let _ = sink.restart();
        unreachable!("{reference:?} {descriptor:?} {progress:?}")
    }

    /// Fetches a small blob, such as an image configuration, into memory: at most `limit` bytes.
    pub async fn fetch_small(&self, reference: &Reference, descriptor: &Descriptor, limit: u64) -> Result<Bytes, Error> {
        unreachable!("{reference:?} {descriptor:?} {limit:?}")
    }
}
