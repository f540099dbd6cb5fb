//! The files of a result: as a plain directory, or as one tar.
//!
//! A destination may be anything, and the result is hostile: every name is made by `*at` calls below
//! an open directory, nothing that is there is followed, and what is in the way is replaced.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbuild_tree::tar::LayerWriter;
use rbuild_tree::{FileTree, Kind, LinkId, Metadata, Node, Time};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};

use crate::ExportError;

/// Writes the files of `tree` below `dest`, which is made if it is missing. The files belong to
/// whoever runs this; devices and pipes are made where that is allowed. Blocks.
///
/// # Errors
/// If something cannot be read or written.
pub fn export_directory(tree: &dyn FileTree, dest: &Path, epoch: Option<i64>) -> Result<(), ExportError> {
    std::fs::create_dir_all(dest).map_err(ExportError::io("creating", dest))?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let root =
        rustix::fs::open(dest, flags, Mode::empty()).map_err(|error| ExportError::io("opening", dest)(error.into()))?;
    let mut writer = Directory { tree, dest, epoch, names: HashMap::new() };
    writer.children(Path::new(""), root.as_fd())
}

/// A directory being written.
struct Directory<'a> {
    tree: &'a dyn FileTree,
    dest: &'a Path,
    epoch: Option<i64>,
    /// The first name of each file that has several, as a duplicate of its descriptor's directory.
    names: HashMap<LinkId, PathBuf>,
}

impl Directory<'_> {
    fn children(&mut self, path: &Path, at: BorrowedFd<'_>) -> Result<(), ExportError> {
        for node in self.tree.children(path)? {
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
        let times = self.times(node.metadata.mtime);
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
        rustix::fs::futimens(&opened, &self.times(node.metadata.mtime)).map_err(io::Error::from)?;
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
        io::copy(&mut content, &mut file)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(node.metadata.mode)).map_err(io::Error::from)?;
        Ok(())
    }

    fn times(&self, mtime: Time) -> Timestamps {
        let seconds = self.epoch.map_or(mtime.seconds, |epoch| epoch);
        let nanoseconds = if self.epoch.is_some() { 0 } else { i64::from(mtime.nanoseconds) };
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        Timestamps { last_access: time, last_modification: time }
    }
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

/// A tree of files on its way into a tar.
pub struct TarPart {
    /// The files.
    pub tree: Box<dyn FileTree>,
    /// The directory that they are put into; none is the top.
    pub folder: Option<PathBuf>,
    /// The time that all files get, in seconds since 1970.
    pub epoch: Option<i64>,
}

/// Writes the files of all parts as one tar. Blocks.
///
/// # Errors
/// If something cannot be read or written.
pub fn export_tar<W: Write>(parts: &[TarPart], out: W) -> Result<W, ExportError> {
    let mut writer = LayerWriter::new(out);
    for part in parts {
        if let Some(folder) = &part.folder {
            let made = Metadata { mtime: Time::from_seconds(part.epoch.unwrap_or(0)), ..Metadata::directory() };
            writer.entry(folder, &made)?;
        }
        part.write(&mut writer)?;
    }
    Ok(writer.finish()?)
}

impl TarPart {
    fn write<W: Write>(&self, writer: &mut LayerWriter<W>) -> Result<(), ExportError> {
        let mut names: HashMap<LinkId, PathBuf> = HashMap::new();
        let mut waiting = vec![self.tree.children(Path::new(""))?.into_iter()];
        while let Some(level) = waiting.last_mut() {
            let Some(mut node) = level.next() else {
                waiting.pop();
                continue;
            };
            if let Some(epoch) = self.epoch {
                node.metadata.mtime = Time::from_seconds(epoch);
            }
            self.entry(&node, writer, &mut names)?;
            if node.metadata.kind.is_directory() {
                waiting.push(self.tree.children(&node.path)?.into_iter());
            }
        }
        Ok(())
    }

    fn entry<W: Write>(
        &self,
        node: &Node,
        writer: &mut LayerWriter<W>,
        names: &mut HashMap<LinkId, PathBuf>,
    ) -> Result<(), ExportError> {
        let folder = self.folder.as_deref().unwrap_or(Path::new(""));
        let path = folder.join(&node.path);
        if node.metadata.kind == Kind::Socket {
            return Ok(());
        }
        if !node.metadata.kind.is_file() {
            return Ok(writer.entry(&path, &node.metadata)?);
        }
        if let Some(first) = node.link.and_then(|link| names.get(&link)) {
            return Ok(writer.hard_link(&path, first, &node.metadata)?);
        }
        if let Some(link) = node.link {
            names.insert(link, path.clone());
        }
        let mut content = self.tree.open(node)?;
        Ok(writer.file(&path, &node.metadata, &mut content)?)
    }
}
