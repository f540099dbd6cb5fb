//! The files of a result: as a plain directory, or as one tar.
//!
//! A destination may be anything, and the result is hostile: every name is made by `*at` calls below
//! an open directory, nothing that is there is followed, and what is in the way is replaced.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rbuild_tree::tar::LayerWriter;
use rbuild_tree::{FileTree, Kind, LinkId, Node, Time};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};

use crate::ExportError;

/// What becomes of files at the destination that the tree does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unnamed {
    /// They stay.
    Keep,
    /// They are deleted.
    Delete,
}

/// Writes the files of `tree` below `dest`, which is made if it is missing. The files belong to
/// whoever runs this; pipes are made, devices are not. `progress` hears how many bytes were written. Blocks.
///
/// # Errors
/// If something cannot be read or written.
pub fn export_directory(
    tree: &dyn FileTree,
    dest: &Path,
    unnamed: Unnamed,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ExportError> {
    std::fs::create_dir_all(dest).map_err(ExportError::io("creating", dest))?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let root =
        rustix::fs::open(dest, flags, Mode::empty()).map_err(|error| ExportError::io("opening", dest)(error.into()))?;
    let mut writer = Directory { tree, dest, unnamed, progress, written: 0, names: HashMap::new() };
    writer.children(Path::new(""), root.as_fd())
}

/// A directory being written.
struct Directory<'a> {
    tree: &'a dyn FileTree,
    dest: &'a Path,
    unnamed: Unnamed,
    progress: &'a mut dyn FnMut(u64),
    written: u64,
    /// The first name of each file that has several, as a duplicate of its descriptor's directory.
    names: HashMap<LinkId, PathBuf>,
}

impl Directory<'_> {
    fn children(&mut self, path: &Path, at: BorrowedFd<'_>) -> Result<(), ExportError> {
        let nodes = self.tree.children(path)?;
        if self.unnamed == Unnamed::Delete {
            let kept =
                nodes.iter().filter_map(|node| Some((node.path.file_name()?, node.metadata.kind.is_directory())));
            let kept: HashMap<&OsStr, bool> = kept.collect();
            delete_others(at, &kept).map_err(ExportError::io("deleting files in", &self.dest.join(path)))?;
        }
        for node in nodes {
            let whole = self.dest.join(&node.path);
            self.entry(&node, at).map_err(|error| match error {
                Failure::Io(error) => ExportError::io("writing", &whole)(error),
                Failure::Export(error) => error,
            })?;
        }
        Ok(())
    }

    fn entry(&mut self, node: &Node, at: BorrowedFd<'_>) -> Result<(), Failure> {
        let name = node.path.file_name().unwrap_or_default();
        let mode = Mode::from_raw_mode(node.metadata.mode);
        match &node.metadata.kind {
            Kind::Directory => return self.directory(node, name, at),
            Kind::File => self.file(node, name, at)?,
            Kind::Symlink(target) => {
                clear(at, name)?;
                rustix::fs::symlinkat(target, at, name).map_err(io::Error::from)?;
            }
            Kind::Fifo => {
                clear(at, name)?;
                rustix::fs::mknodat(at, name, rustix::fs::FileType::Fifo, mode, 0).map_err(io::Error::from)?;
            }
            Kind::CharDevice(_) | Kind::BlockDevice(_) | Kind::Socket => return Ok(()),
        }
        let times = times(node.metadata.mtime);
        rustix::fs::utimensat(at, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        Ok(())
    }

    fn directory(&mut self, node: &Node, name: &OsStr, at: BorrowedFd<'_>) -> Result<(), Failure> {
        let opened = match open_directory(at, name) {
            Ok(opened) => opened,
            Err(_) => {
                clear(at, name)?;
                rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o700)).map_err(io::Error::from)?;
                open_directory(at, name)?
            }
        };
        self.children(&node.path, opened.as_fd()).map_err(Failure::Export)?;
        rustix::fs::fchmod(&opened, Mode::from_raw_mode(node.metadata.mode)).map_err(io::Error::from)?;
        rustix::fs::futimens(&opened, &times(node.metadata.mtime)).map_err(io::Error::from)?;
        Ok(())
    }

    fn file(&mut self, node: &Node, name: &OsStr, at: BorrowedFd<'_>) -> Result<(), Failure> {
        clear(at, name)?;
        if let Some(link) = node.link {
            if let Some(first) = self.names.get(&link)
                && rustix::fs::linkat(rustix::fs::CWD, self.dest.join(first), at, name, AtFlags::empty()).is_ok()
            {
                return Ok(());
            }
            self.names.insert(link, node.path.clone());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(at, name, flags, Mode::from_raw_mode(0o600)).map_err(io::Error::from)?;
        let mut file = File::from(file);
        let mut content = self.tree.open(node).map_err(|error| Failure::Export(error.into()))?;
        self.written += io::copy(&mut content, &mut file)?;
        (self.progress)(self.written);
        rustix::fs::fchmod(&file, Mode::from_raw_mode(node.metadata.mode)).map_err(io::Error::from)?;
        Ok(())
    }
}

fn times(mtime: Time) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}

/// Deletes what is in a directory and not among `kept`, which says what is to be a directory; nothing is followed.
fn delete_others(at: BorrowedFd<'_>, kept: &HashMap<&OsStr, bool>) -> io::Result<()> {
    for entry in rustix::fs::Dir::read_from(at)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let found = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_directory = rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir();
        match (kept.get(name), is_directory) {
            // A file gives way to whatever takes its name.
            (Some(false), false) | (Some(true), _) => {}
            (_, false) => rustix::fs::unlinkat(at, name, AtFlags::empty())?,
            (_, true) => {
                delete_others(open_directory(at, name)?.as_fd(), &HashMap::new())?;
                rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR)?;
            }
        }
    }
    Ok(())
}

enum Failure {
    Io(io::Error),
    Export(ExportError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn open_directory(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

/// Removes a file or link that is in the way; a directory stays, and what comes next fails on it.
fn clear(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::ISDIR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes the files of a tree as one tar. Blocks.
///
/// # Errors
/// If something cannot be read or written.
pub fn export_tar<W: Write>(tree: &dyn FileTree, out: W) -> Result<W, ExportError> {
    let mut writer = LayerWriter::new(out);
    let mut names: HashMap<LinkId, PathBuf> = HashMap::new();
    let mut waiting = vec![tree.children(Path::new(""))?.into_iter()];
    while let Some(level) = waiting.last_mut() {
        let Some(node) = level.next() else {
            waiting.pop();
            continue;
        };
        tar_entry(tree, &node, &mut writer, &mut names)?;
        if node.metadata.kind.is_directory() {
            waiting.push(tree.children(&node.path)?.into_iter());
        }
    }
    Ok(writer.finish()?)
}

fn tar_entry<W: Write>(
    tree: &dyn FileTree,
    node: &Node,
    writer: &mut LayerWriter<W>,
    names: &mut HashMap<LinkId, PathBuf>,
) -> Result<(), ExportError> {
    if node.metadata.kind == Kind::Socket {
        return Ok(());
    }
    if !node.metadata.kind.is_file() {
        return Ok(writer.entry(&node.path, &node.metadata)?);
    }
    if let Some(first) = node.link.and_then(|link| names.get(&link)) {
        return Ok(writer.hard_link(&node.path, first, &node.metadata)?);
    }
    if let Some(link) = node.link {
        names.insert(link, node.path.clone());
    }
    let mut content = tree.open(node)?;
    Ok(writer.file(&node.path, &node.metadata, &mut content)?)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
