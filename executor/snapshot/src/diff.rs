//! An overlay upper becomes a layer tar.
use std::io::Write;
use std::path::Path;

use rbuild_oci::DiffId;
use rbuild_tree::Time;

use crate::error::SnapshotError;
use crate::view::MergedView;

/// How a diff is written.
#[derive(Debug, Clone, Default)]
pub struct DiffOptions {
    /// Times later than this are lowered to it (`SOURCE_DATE_EPOCH`).
    pub clamp_mtime: Option<Time>,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct DiffReport {
    /// The digest of the tar.
    pub diff_id: DiffId,
    /// Its length.
    pub tar_size: u64,
    /// How many entries it has; 0 means the layer is empty.
    pub entries: u64,
}

/// Writes what the tree layer `upper` changes upon `below` as an uncompressed layer tar.
pub fn diff<W: Write>(
    upper: &Path,
    below: &MergedView,
    options: &DiffOptions,
    out: W,
) -> Result<(W, DiffReport), SnapshotError> {
    let _ = (upper, below, options, out);
    unimplemented!()
}
