//! The small actions: make a directory, a file or a link, remove a path.

use std::path::Path;

use rbuild_graph::pb;
use rbuild_tree::select::{self, Follow, resolve};
use rbuild_tree::{FileTree, Metadata, Time, TreeError};

use super::copy::{make_directories, timestamp};
use super::draft::{Body, Draft, directory};
use super::{FileError, rooted};

/// Makes a directory.
pub(crate) fn mkdir(
    draft: &mut Draft,
    action: &pb::FileActionMkDir,
    owner: Option<(u32, u32)>,
    now: Time,
) -> Result<(), FileError> {
    let path = resolve(draft, &rooted(&action.path), Follow::All)?;
    let time = timestamp(action.timestamp).unwrap_or(now);
    let metadata = directory(action.mode as u32 & 0o777, owner.unwrap_or((0, 0)), time);
    if action.make_parents {
        return make_directories(draft, &path, &metadata);
    }
    if draft.node(&path)?.is_some() {
        return Ok(());
    }
    Ok(draft.put(&path, metadata, Body::None, None)?)
}

/// Makes a file.
pub(crate) fn mkfile(
    draft: &mut Draft,
    action: &pb::FileActionMkFile,
    owner: Option<(u32, u32)>,
    now: Time,
) -> Result<(), FileError> {
    let path = resolve(draft, &rooted(&action.path), Follow::All)?;
    let existing = draft.node(&path)?;
    if existing.as_ref().is_some_and(|node| node.metadata.kind.is_directory()) {
        return Err(FileError::FileOverDirectory(path));
    }
    // A file that is there gets other content; its mode stays, as when a program writes it.
    let kept = existing.filter(|node| node.metadata.kind.is_file()).map(|node| node.metadata.mode);
    let (uid, gid) = owner.unwrap_or((0, 0));
    let mtime = timestamp(action.timestamp).unwrap_or(now);
    let file = Metadata::file(action.data.len() as u64);
    let mode = kept.unwrap_or(action.mode as u32 & 0o777);
    let metadata = Metadata { mode, uid, gid, mtime, ..file };
    Ok(draft.put(&path, metadata, Body::Bytes(action.data.clone()), None)?)
}

/// Makes a symbolic link.
pub(crate) fn symlink(
    draft: &mut Draft,
    action: &pb::FileActionSymlink,
    owner: Option<(u32, u32)>,
    now: Time,
) -> Result<(), FileError> {
    let path = resolve(draft, &rooted(&action.newpath), Follow::Parents)?;
    if draft.node(&path)?.is_some() {
        return Err(FileError::Exists(path));
    }
    let (uid, gid) = owner.unwrap_or((0, 0));
    let mtime = timestamp(action.timestamp).unwrap_or(now);
    let metadata = Metadata { uid, gid, mtime, ..Metadata::symlink(&action.oldpath) };
    Ok(draft.put(&path, metadata, Body::None, None)?)
}

/// Removes a path, or what a pattern matches.
pub(crate) fn rm(draft: &mut Draft, action: &pb::FileActionRm) -> Result<(), FileError> {
    let path = rooted(&action.path);
    let text = path.to_string_lossy().into_owned();
    if action.allow_wildcard && select::has_wildcard(&text) {
        for found in select::glob(draft, &text)? {
            remove(draft, &found, action.allow_not_found)?;
        }
        return Ok(());
    }
    remove(draft, &path, action.allow_not_found)
}

fn remove(draft: &mut Draft, path: &Path, allow_not_found: bool) -> Result<(), FileError> {
    if path.as_os_str().is_empty() {
        return Err(FileError::RemoveRoot);
    }
    let path = resolve(draft, path, Follow::Parents)?;
    match draft.node(&path)? {
        None if allow_not_found => Ok(()),
        None => Err(TreeError::NotFound { path }.into()),
        Some(_) => Ok(draft.remove(&path)?),
    }
}
