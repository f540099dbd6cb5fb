//! When the newest file of a tar changed.

use std::io::Read;

use super::{Archive, EntryKind, TarError};

/// Returns the latest time of a regular file in `tar`, in seconds since 1970; none if there is no file.
pub fn newest_file<R: Read>(tar: R) -> Result<Option<i64>, TarError> {
    let mut archive = Archive::new(tar);
    let mut newest = None;
    while let Some(entry) = archive.next_entry()? {
        if entry.header.kind == EntryKind::File {
            newest = newest.max(Some(entry.header.mtime.seconds));
        }
    }
    Ok(newest)
}
