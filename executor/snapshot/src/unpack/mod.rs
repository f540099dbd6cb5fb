//! A layer tar becomes a directory in overlay format.
//!
//! One thread reads and hashes the stream, one makes the names in the order of the tar, others fill the files. All
//! is made under the open directory, by single names in open directories; see [`crate::apply`] for what the
//! entries mean and [`crate::overlay`] for the format.

mod disk;
mod feed;
mod workers;

use std::io::Read;
use std::path::Path;

use rbuild_oci::DiffId;
use rbuild_sys::root::Root;
use rbuild_tree::tar::{Archive, TarError};

use crate::apply::apply;
use crate::attributes::Ids;
use crate::error::{Result, SnapshotError};
use disk::Disk;
use feed::{Fed, Feeder, feed};
use workers::Workers;

/// How a layer is unpacked.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// Overlay attributes go into `user.` instead of `trusted.` (mounts with `userxattr`).
    pub userxattr: bool,
    /// There is one id only: owners that cannot be set are recorded in `user.rbuild.owner`.
    pub single_id: bool,
    /// Threads that write files.
    pub threads: usize,
    /// The most bytes that file contents may take.
    pub max_size: u64,
}

impl Default for UnpackOptions {
    /// As root, two threads, at most 1 TiB.
    fn default() -> Self {
        Self { userxattr: false, single_id: false, threads: 2, max_size: 1 << 40 }
    }
}

/// What unpacking found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackReport {
    /// The digest of the tar stream.
    pub diff_id: DiffId,
    /// The length of the tar stream.
    pub tar_size: u64,
    /// The bytes stored for all file contents.
    pub content_size: u64,
    /// The number of entries.
    pub entries: u64,
    /// How many parent directories no entry described. They look as in the layers below, which
    /// [`Roots::prepare`](crate::Roots::prepare) sees to.
    pub implied: u64,
    /// Owners and devices that could not be set here.
    pub recorded: u64,
}

/// Unpacks an uncompressed layer tar into the empty directory `dest`.
///
/// The stream is read to its end, beyond the archive's. The report's diff id must be compared before the directory
/// is given a name; after an error the directory is to be removed.
pub fn unpack<R: Read + Send>(source: R, dest: &Path, options: &UnpackOptions) -> Result<UnpackReport> {
    let root = Root::open(dest).map_err(SnapshotError::io("opening", dest))?;
    let ids = Ids::new(options.single_id);
    std::thread::scope(|scope| {
        let (feeder, fed): (Feeder, Fed) = feed();
        let hashing = scope.spawn(move || feeder.run(source));
        let workers = Workers::start(scope, options.threads, ids);
        let mut disk = Disk::new(root, options, ids, workers).map_err(SnapshotError::io("opening", dest))?;
        let mut archive = Archive::new(fed);
        let mut entries = 0;
        while let Some(mut entry) = archive.next_entry()? {
            apply(&mut disk, &mut entry)?;
            entries += 1;
        }
        let drained = std::io::copy(&mut archive.into_rest(), &mut std::io::sink());
        drained.map_err(|error| TarError::Io("reading", error))?;
        disk.workers.barrier()?;
        let implied = disk.finish_directories()?;
        let Disk { workers, content_size, recorded, .. } = disk;
        let recorded = recorded + workers.finish()?;
        let (digest, tar_size) = hashing.join().expect("the hashing thread panicked");
        Ok(UnpackReport { diff_id: DiffId(digest), tar_size, content_size, entries, implied, recorded })
    })
}
