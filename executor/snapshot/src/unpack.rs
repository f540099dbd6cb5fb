//! A layer tar becomes a directory in overlay format.
use std::io::Read;
use std::path::Path;

use rbuild_oci::DiffId;

use crate::error::SnapshotError;

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

/// What unpacking found.
#[derive(Debug, Clone)]
pub struct UnpackReport {
    /// The digest of the tar stream.
    pub diff_id: DiffId,
    /// The length of the tar stream.
    pub tar_size: u64,
    /// The bytes of all file contents.
    pub content_size: u64,
    /// The number of entries.
    pub entries: u64,
    /// Parent directories that no entry described.
    pub implied_directories: u64,
    /// Owners and devices that could not be set here, only recorded.
    pub recorded: u64,
}

/// Unpacks an uncompressed layer tar into the empty directory `dest`.
///
/// The report's diff id must be compared before the directory is given a name.
pub fn unpack<R: Read + Send>(source: R, dest: &Path, options: &UnpackOptions) -> Result<UnpackReport, SnapshotError> {
    let _ = (source, dest, options);
    unimplemented!()
}
