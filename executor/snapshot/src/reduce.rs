//! A full copy of a root, written to, becomes a layer: what is as it was below goes, what is gone becomes a whiteout.

use std::path::{Path, PathBuf};

use rbuild_sys::dir::Stamp;
use rbuild_sys::dirfd::{chmod_fd, set_mtime_fd};
use rbuild_sys::root::{Dir, Root};
use rbuild_tree::{FileTree, Node, TreeError};

use crate::diff::{is_like, same_content};
use crate::error::{Result, SnapshotError};
use crate::overlay::{self, Found};
use crate::view::MergedView;

/// Turns the directory `full`, a copy of `below` that was finished at `copied` and then changed, into a layer.
///
/// A file whose state did not change since the copy is as below without looking: the kernel sets the time of change
/// and nobody else can.
pub(crate) fn reduce(full: &Path, below: &MergedView, copied: Stamp, userxattr: bool) -> Result<()> {
    let root = Root::open(full).map_err(SnapshotError::io("opening", full))?;
    let reduce = Reduce { root, below, copied, userxattr };
    let mut kept = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        reduce.directory(&path, &mut todo, &mut kept)?;
    }
    reduce.finish(kept)
}

struct Reduce<'a> {
    root: Root,
    below: &'a MergedView,
    copied: Stamp,
    userxattr: bool,
}

/// A directory that is here and below.
struct Common {
    path: PathBuf,
    mode: u32,
    mtime: Stamp,
    same: bool,
}

impl Reduce<'_> {
    /// Reduces one directory and notes the ones in it that are also below.
    fn directory(&self, path: &Path, todo: &mut Vec<PathBuf>, common: &mut Vec<Common>) -> Result<()> {
        let dir = self.root.open_dir_exact(path).map_err(SnapshotError::entry("opening", path))?;
        let own = dir.stat_self().map_err(SnapshotError::entry("reading the state of", path))?;
        let found = overlay::read_self(&dir).map_err(SnapshotError::entry("reading", path))?;
        let base = self.below.node(path)?;
        let same = match (&found, &base) {
            (Found::Entry { metadata, .. }, Some(base)) => is_like(metadata, &base.metadata),
            _ => false,
        };
        common.push(Common { path: path.to_owned(), mode: own.mode, mtime: own.mtime, same });
        let mut below = self.below.children(path)?.into_iter().peekable();
        for (name, _) in dir.names().map_err(SnapshotError::entry("listing", path))? {
            let own_path = path.join(&name);
            while let Some(gone) = below.next_if(|node| node.path.file_name() < Some(name.as_os_str())) {
                self.whiteout(&dir, &gone.path)?;
            }
            if let Some(base) = below.next_if(|node| node.path == own_path)
                && self.common(&dir, &base)?
            {
                todo.push(own_path);
            }
        }
        for gone in below {
            self.whiteout(&dir, &gone.path)?;
        }
        Ok(())
    }

    fn whiteout(&self, dir: &Dir, path: &Path) -> Result<()> {
        let name = path.file_name().expect("children have names");
        overlay::write_whiteout(dir, name, self.userxattr).map_err(SnapshotError::entry("making the whiteout of", path))
    }

    /// Removes what is the same as below; returns whether it is a directory to go through.
    fn common(&self, dir: &Dir, base: &Node) -> Result<bool> {
        let (path, name) = (&base.path, base.path.file_name().expect("children have names"));
        let stat = dir.stat(name).map_err(SnapshotError::entry("reading the state of", path))?;
        let found = overlay::read(dir, name, &stat).map_err(SnapshotError::entry("reading", path))?;
        let Found::Entry { metadata, .. } = found else {
            return Err(SnapshotError::refused(path, "it looks like a whiteout"));
        };
        if metadata.kind.is_directory() {
            return Ok(base.metadata.kind.is_directory());
        }
        let unchanged = stat.ctime < self.copied && metadata.kind == base.metadata.kind;
        if unchanged || (is_like(&metadata, &base.metadata) && self.same_content(dir, base)?) {
            dir.unlink(name).map_err(SnapshotError::entry("removing", path))?;
        }
        Ok(false)
    }

    fn same_content(&self, dir: &Dir, base: &Node) -> Result<bool> {
        if !base.metadata.kind.is_file() {
            return Ok(true);
        }
        let (path, name) = (&base.path, base.path.file_name().expect("children have names"));
        let (mut own, _) = dir.open_file(name).map_err(SnapshotError::entry("opening", path))?;
        let mut other = self.below.open(base)?;
        Ok(same_content(&mut own, &mut other).map_err(TreeError::io("comparing", path))?)
    }

    /// Removes the directories that are as below and hold nothing; gives the others their times back.
    fn finish(&self, common: Vec<Common>) -> Result<()> {
        // Later ones lie deeper or beside; what they hold is settled before their parents are looked at.
        for Common { path, mode, mtime, same } in common.into_iter().rev() {
            if same
                && let Some(name) = path.file_name()
                && let parent = path.parent().unwrap_or(Path::new(""))
                && let dir = self.root.open_dir_exact(parent).map_err(SnapshotError::entry("opening", parent))?
                && dir.rmdir(name).is_ok()
            {
                continue;
            }
            let dir = self.root.open_dir_exact(&path).map_err(SnapshotError::entry("opening", &path))?;
            chmod_fd(&dir, mode).map_err(SnapshotError::entry("setting the mode of", &path))?;
            set_mtime_fd(&dir, mtime).map_err(SnapshotError::entry("setting the time of", &path))?;
        }
        Ok(())
    }
}
