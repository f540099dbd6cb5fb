//! Reading blobs that are not trusted until their last byte.

use std::fs::File;
use std::io::{self, Read};

use rbuild_oci::{Digest, Hasher};

use crate::Store;
use crate::blob::unwrap_io;
use crate::error::{Error, Result};

/// Reads a blob and hashes it on the way.
///
/// The last byte is given only if all bytes have the right digest; else reading fails with
/// [`Error::Corrupt`] inside the IO error, and the blob is removed from the store. Whoever acts on bytes
/// before the end must be able to undo it.
#[derive(Debug)]
pub struct BlobReader {
    store: Store,
    file: File,
    digest: Digest,
    size: u64,
    left: u64,
    hasher: Option<Hasher>,
}

impl BlobReader {
    pub(crate) fn new(store: Store, file: File, digest: Digest, size: u64) -> Self {
        Self { store, file, digest, size, left: size, hasher: Some(Hasher::new()) }
    }

    /// Returns the blob's size.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads everything to its end, for the check only.
    ///
    /// # Errors
    /// If the blob is corrupt or cannot be read.
    pub fn drain(mut self) -> Result<()> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(unwrap_io(error, &self.store.blobs().path(&self.digest))),
            }
        }
    }

    pub(crate) fn read_whole(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let path = self.store.blobs().path(&self.digest);
        self.read_to_end(&mut bytes).map_err(|error| unwrap_io(error, &path))?;
        Ok(bytes)
    }

    fn corrupt(&self, reason: String) -> io::Error {
        let removed = self.store.blobs().quarantine(&self.digest);
        let error = removed.err().unwrap_or(Error::Corrupt { digest: self.digest, reason });
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    fn check(&mut self) -> io::Result<()> {
        if let Some(hasher) = self.hasher.take() {
            let got = hasher.finish();
            if got != self.digest {
                return Err(self.corrupt(format!("its content has digest {got}")));
            }
        }
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            self.check()?;
            return Ok(0);
        }
        let limit = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read(&mut buffer[..limit])?;
        if read == 0 {
            let message = format!("its file ends {} bytes too early", self.left);
            return Err(self.corrupt(message));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        self.left -= read as u64;
        if self.left == 0 {
            self.check()?;
        }
        Ok(read)
    }
}
