//! A tar again, with no time later than a given one.

use std::io::{Read, Write};
use std::path::Path;

use super::{Archive, EntryKind, Header, LayerWriter, TarError};
use crate::entry::{Kind, Metadata, Time};

/// Writes the entries of `tar` to `out`, times later than `latest` (seconds since 1970) set back to it; returns
/// `out`, and reads `tar` to its end.
///
/// What [`LayerWriter`] wrote comes out the same but for the times.
pub fn clamp_times<R: Read, W: Write>(tar: R, latest: i64, out: W) -> Result<W, TarError> {
    let mut archive = Archive::new(tar);
    let mut writer = LayerWriter::new(out);
    while let Some(mut entry) = archive.next_entry()? {
        let header = entry.header.clone();
        let path = header.clean_path();
        // The root itself has no entry in a layer of ours.
        if path.as_os_str().is_empty() {
            continue;
        }
        match header.clean_link_target() {
            Some(target) => writer.hard_link(&path, &target, &metadata(&header, latest))?,
            None => write(&mut writer, &path, &metadata(&header, latest), &mut entry)?,
        }
    }
    std::io::copy(&mut archive.into_rest(), &mut std::io::sink()).map_err(|e| TarError::Io("reading", e))?;
    writer.finish()
}

fn write<W: Write>(
    writer: &mut LayerWriter<W>,
    path: &Path,
    metadata: &Metadata,
    content: &mut dyn Read,
) -> Result<(), TarError> {
    if metadata.kind.is_file() { writer.file(path, metadata, content) } else { writer.entry(path, metadata) }
}

fn metadata(header: &Header, latest: i64) -> Metadata {
    let kind = match &header.kind {
        EntryKind::File | EntryKind::HardLink(_) => Kind::File,
        EntryKind::Symlink(target) => Kind::Symlink(target.clone()),
        EntryKind::Directory => Kind::Directory,
        EntryKind::CharDevice(device) => Kind::CharDevice(*device),
        EntryKind::BlockDevice(device) => Kind::BlockDevice(*device),
        EntryKind::Fifo => Kind::Fifo,
    };
    Metadata {
        size: header.size,
        uid: header.uid,
        gid: header.gid,
        mtime: Time::from_seconds(header.mtime.seconds.min(latest)),
        xattrs: header.xattrs.clone(),
        ..Metadata::new(kind, header.mode)
    }
}
