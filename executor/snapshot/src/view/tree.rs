//! A layer that lies as a directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rbuild_sys::dir::stat_at;
use rbuild_sys::root::{Dir, Root};
use rbuild_sys::xattr;

use crate::error::{Result, SnapshotError};
use crate::overlay::{self, Found, IMPLIES};

/// An open tree layer.
#[derive(Debug)]
pub(crate) struct TreeLayer {
    root: Root,
}

impl TreeLayer {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let root = Root::open(path).map_err(SnapshotError::io("opening the layer", path))?;
        Ok(Self { root })
    }

    /// Returns what this layer has at `path`; links on the way mean that it has nothing there.
    pub(crate) fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        let Some(name) = path.file_name() else { return self.find_root().map(Some) };
        let parent = match self.root.lookup_exact(path.parent().unwrap_or(Path::new(""))) {
            Err(error) if is_absent(&error) => return Ok(None),
            parent => parent?,
        };
        match stat_at(&parent, name) {
            Err(error) if is_absent(&error) => Ok(None),
            stat => overlay::read(&parent, name, &stat?).map(Some),
        }
    }

    fn find_root(&self) -> io::Result<Found> {
        overlay::read_self(&self.root.dir()?)
    }

    /// Returns the names in the directory at `path`, sorted.
    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Found)>> {
        let dir = self.root.open_dir_exact(path)?;
        let names = dir.names()?.into_iter();
        names.map(|(name, _)| Self::read(&dir, name)).filter_map(io::Result::transpose).collect()
    }

    fn read(dir: &Dir, name: OsString) -> io::Result<Option<(OsString, Found)>> {
        let stat = match dir.stat(&name) {
            Err(error) if is_absent(&error) => return Ok(None),
            stat => stat?,
        };
        let found = overlay::read(dir, OsStr::new(&name), &stat)?;
        Ok(Some((name, found)))
    }

    /// Returns the directories, but the root, that no entry of this layer described; parents first.
    pub(crate) fn implied(&self) -> io::Result<Vec<PathBuf>> {
        let mut implied = Vec::new();
        if xattr::get(self.root.dir()?, IMPLIES)?.is_none() {
            return Ok(implied);
        }
        let mut todo = vec![PathBuf::new()];
        while let Some(path) = todo.pop() {
            for (name, found) in self.list(&path)? {
                let Found::Entry { metadata, implied: is_implied, .. } = found else { continue };
                if metadata.kind.is_directory() {
                    let path = path.join(name);
                    if is_implied {
                        implied.push(path.clone());
                    }
                    todo.push(path);
                }
            }
        }
        implied.sort_unstable();
        Ok(implied)
    }

    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        self.root.open_exact(path).map(|(file, _)| file)
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }
}

/// Not there, or something on the way is no directory.
fn is_absent(error: &io::Error) -> bool {
    const LOOP: i32 = 40;
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) || error.raw_os_error() == Some(LOOP)
}
