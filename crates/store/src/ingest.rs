//! Writing blobs: hashed while written, and named only when whole and right.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use rbuild_oci::{Descriptor, Digest, Hasher};

use crate::error::{Context, Error, Result};
use crate::lock::{self, LockMode};
use crate::{Store, trash};

const BUFFER: usize = 256 << 10;

/// A blob being written.
///
/// Dropped without [`commit`](Self::commit), it leaves nothing; a resumable one leaves its bytes for the
/// next attempt, unless one could not be written.
#[derive(Debug)]
pub struct Ingest {
    store: Store,
    file: Option<BufWriter<File>>,
    path: PathBuf,
    hasher: Hasher,
    written: u64,
    expected: Option<(Digest, u64)>,
    resumable: bool,
    poisoned: bool,
}

/// What [`Blobs::ingest_resumable`](crate::Blobs::ingest_resumable) found.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few at a time, and most are the large one")]
pub enum Resumable {
    /// The blob is in the store already.
    Have,
    /// The blob is to be written from [`Ingest::written`] on.
    Resume(Ingest),
}

impl Ingest {
    pub(crate) fn new(store: Store, expected: Option<&Descriptor>) -> Result<Self> {
        let path = store.temp_dir()?.join(trash::random_name());
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path).on("creating", &path)?;
        let expected = expected.map(|descriptor| (descriptor.digest, descriptor.size));
        Ok(Self {
            store,
            file: Some(BufWriter::with_capacity(BUFFER, file)),
            path,
            hasher: Hasher::new(),
            written: 0,
            expected,
            resumable: false,
            poisoned: false,
        })
    }

    /// Returns how many bytes there are, including those of an earlier attempt.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Forgets all bytes, for a server that cannot continue in the middle.
    ///
    /// # Errors
    /// If the file cannot be cut.
    pub fn restart(&mut self) -> Result<()> {
        let path = self.path.clone();
        let writer = self.writer();
        writer.flush().on("writing", &path)?;
        let file = writer.get_mut();
        file.set_len(0).on("truncating", &path)?;
        file.seek(SeekFrom::Start(0)).on("truncating", &path)?;
        self.hasher = Hasher::new();
        self.written = 0;
        self.poisoned = false;
        Ok(())
    }

    /// Checks digest and size, and gives the blob its place in the store and in the lease.
    ///
    /// # Errors
    /// If the content is not the expected one, or cannot be written out; then nothing is stored.
    pub fn commit(mut self) -> Result<Digest> {
        self.writer().flush().map_err(|error| self.explain(error))?;
        let digest = std::mem::take(&mut self.hasher).finish();
        if let Err(error) = self.check(digest) {
            // What was downloaded is wrong, so it is no beginning for another attempt.
            self.resumable = self.resumable && matches!(error, Error::SizeMismatch { got, size, .. } if got < size);
            return Err(error);
        }
        let file = self.writer().get_ref();
        let metadata = file.metadata().on("reading", &self.path)?;
        if self.poisoned || metadata.len() != self.written {
            self.resumable = false;
            let reason = io::Error::other("the file does not have the bytes that were written");
            return Err(reason).on("writing", &self.path);
        }
        let file = self.writer().get_ref();
        file.set_permissions(fs::Permissions::from_mode(0o444)).on("writing", &self.path)?;
        self.store.blobs().adopt(&self.path, &digest, self.written, metadata.blocks() * 512)?;
        self.file = None;
        Ok(digest)
    }

    /// Turns an error of [`Write`] back into the store's error: the full disk, the wrong size.
    pub fn explain(&self, error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(inner) => inner,
            Err(error) => Error::file("writing", &self.path, error),
        }
    }

    fn check(&self, got: Digest) -> Result<()> {
        match self.expected {
            Some((want, size)) if size != self.written => Err(Error::SizeMismatch { want, size, got: self.written }),
            Some((want, _)) if want != got => Err(Error::DigestMismatch { want, got }),
            _ => Ok(()),
        }
    }

    fn writer(&mut self) -> &mut BufWriter<File> {
        self.file.as_mut().expect("the file is taken only by commit, which consumes the ingest")
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some((want, size)) = self.expected {
            let got = self.written.saturating_add(bytes.len() as u64);
            if got > size {
                self.poisoned = true;
                return Err(io::Error::other(Error::SizeMismatch { want, size, got }));
            }
        }
        let written = self.writer().write(bytes).inspect_err(|_| self.poisoned = true)?;
        self.hasher.update(&bytes[..written]);
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush().inspect_err(|_| self.poisoned = true)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let Some(mut writer) = self.file.take() else { return };
        // What a full disk cut off gives its space back, else nothing could follow, not even a prune.
        let kept = self.resumable && !self.poisoned && writer.flush().is_ok();
        // Without its buffer: flushing to a full disk again would only fail again.
        let (_file, _unwritten) = writer.into_parts();
        if !kept {
            // Else the session's end, or the next collection, removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens the partial file of a blob; its lock makes one session download at a time.
pub(crate) fn resume(store: Store, expected: &Descriptor) -> Result<Resumable> {
    if store.blobs().hold(&expected.digest)? {
        return Ok(Resumable::Have);
    }
    let path = store.shared.layout.partials().join(expected.digest.hex());
    let mut file = lock::lock_file(&path, LockMode::Exclusive)?;
    if store.blobs().hold_settled(&expected.digest)? {
        // Downloaded by somebody else while this session waited.
        fs::remove_file(&path).on("removing", &path)?;
        return Ok(Resumable::Have);
    }
    let mut hasher = Hasher::new();
    let mut written = hash(&mut file, &mut hasher).on("reading", &path)?;
    if written > expected.size {
        file.set_len(0).on("truncating", &path)?;
        file.seek(SeekFrom::Start(0)).on("truncating", &path)?;
        (hasher, written) = (Hasher::new(), 0);
    }
    Ok(Resumable::Resume(Ingest {
        store,
        file: Some(BufWriter::with_capacity(BUFFER, file)),
        path,
        hasher,
        written,
        expected: Some((expected.digest, expected.size)),
        resumable: true,
        poisoned: false,
    }))
}

fn hash(file: &mut File, hasher: &mut Hasher) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(total),
            read => {
                hasher.update(&buffer[..read]);
                total += read as u64;
            }
        }
    }
}
