//! Writable roots upon a chain of tree layers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rbuild_sys::dir::Stamp;
use rbuild_sys::root::Root;
use rbuild_sys::xattr;
use rbuild_tree::FileTree;

use crate::attributes::{Attributes, Ids};
use crate::error::{Result, SnapshotError};
use crate::fuse::{FuseMount, normalise};
use crate::make::free;
use crate::materialize::{Files, materialize};
use crate::overlay::{IMPLIED, IMPLIES};
use crate::reduce::reduce;
use crate::view::{LayerForm, MergedView};

/// The most lower directories that an overlay takes.
pub const MAX_LOWERS: usize = 500;

/// How a writable root is made on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// A kernel overlay mount, made by whoever uses the root.
    Overlay {
        /// Overlay attributes are `user.` ones.
        userxattr: bool,
    },
    /// The fuse-overlayfs program, for user namespaces without overlay.
    FuseOverlay {
        /// Where the program is.
        program: PathBuf,
    },
    /// A full copy of the chain.
    Copy,
}

impl Strategy {
    /// Returns whether a root is a directory to use as it is, rather than parts of an overlay to mount.
    pub const fn gives_directory(&self) -> bool {
        matches!(self, Self::FuseOverlay { .. } | Self::Copy)
    }
}

/// How many layers' marks are remembered.
const MOST_KNOWN: usize = 4096;

/// Makes writable roots.
#[derive(Debug, Clone)]
pub struct Roots {
    /// How.
    pub strategy: Strategy,
    /// There is one id only.
    pub single_id: bool,
    /// What layers leave undescribed, by their paths; layers do not change.
    implying: Arc<Mutex<HashMap<PathBuf, Marks>>>,
}

/// What a layer has without an entry that describes it.
#[derive(Debug, Clone, Copy)]
struct Marks {
    /// Its root.
    root: bool,
    /// Other directories.
    others: bool,
}

/// A root that is being written. Dropped, it is given up: the caller removes the directories.
#[derive(Debug)]
pub struct Active {
    /// The read-only directories below, bottom first; empty if [`Strategy::gives_directory`].
    pub lowers: Vec<PathBuf>,
    /// What is written to: an overlay upper, or the whole root if [`Strategy::gives_directory`].
    pub upper: PathBuf,
    /// The overlay's work directory.
    pub work: PathBuf,
    finish: Finish,
}

/// What makes a layer of what was written.
#[derive(Debug)]
enum Finish {
    Nothing,
    /// A tree that stands for lowers beyond the limit is no longer wanted.
    Discard(PathBuf),
    Unmount {
        mount: FuseMount,
        tree: PathBuf,
    },
    Reduce {
        below: MergedView,
        copied: Stamp,
    },
}

/// A finished layer in tree form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The directory in overlay format.
    pub tree: PathBuf,
}

impl Roots {
    /// Chooses the strategy.
    pub fn new(strategy: Strategy, single_id: bool) -> Self {
        Self { strategy, single_id, implying: Arc::default() }
    }

    /// Makes a writable root upon tree layers, bottom first, of the empty directories `upper` and `work`.
    ///
    /// The tree that [`Active::commit`] gives is always `upper`; what is written to meanwhile is [`Active::upper`].
    pub fn prepare(&self, upper: &Path, work: &Path, lowers: &[PathBuf]) -> Result<Active> {
        let ids = Ids::new(self.single_id);
        let (upper, work) = (upper.to_owned(), work.to_owned());
        match &self.strategy {
            Strategy::Copy => {
                let below = MergedView::open(&forms(lowers))?;
                materialize(&below, &upper, Files::Copied, ids)?;
                let copied = now(&work)?;
                Ok(Active { lowers: Vec::new(), upper, work, finish: Finish::Reduce { below, copied } })
            }
            Strategy::Overlay { .. } => {
                inherit(&self.decisive(lowers)?, &upper, ids)?;
                let (lowers, finish) = limit(lowers, &work, ids)?;
                Ok(Active { lowers, upper, work, finish })
            }
            Strategy::FuseOverlay { program } => {
                inherit(&self.decisive(lowers)?, &upper, ids)?;
                let merged = beside(&work, "merged")?;
                let empty = if lowers.is_empty() { vec![beside(&work, "empty")?] } else { Vec::new() };
                let lowers = if lowers.is_empty() { &empty } else { lowers };
                let mount = FuseMount::start(program, lowers, &upper, &work, &merged)?;
                let finish = Finish::Unmount { mount, tree: upper };
                Ok(Active { lowers: Vec::new(), upper: merged, work, finish })
            }
        }
    }
}

impl Roots {
    /// Returns a view of the layers that decide what the root and directories that no entry describes look
    /// like: normally the topmost alone.
    fn decisive(&self, lowers: &[PathBuf]) -> Result<MergedView> {
        let mut marks = Vec::with_capacity(lowers.len());
        let mut known = self.implying.lock().expect("no holder of this lock panics");
        // Layers come and go while a daemon runs; what is forgotten is looked up again.
        if known.len() > MOST_KNOWN {
            known.clear();
        }
        for lower in lowers {
            let found = match known.get(lower) {
                Some(found) => *found,
                None => *known.entry(lower.clone()).or_insert(Marks::of(lower)?),
            };
            marks.push(found);
        }
        let first = match marks.iter().any(|marks| marks.others) {
            true => 0,
            false => marks.iter().rposition(|marks| !marks.root).unwrap_or(0),
        };
        MergedView::open(&forms(&lowers[first..]))
    }
}

impl Marks {
    fn of(layer: &Path) -> Result<Self> {
        let failed = |error| SnapshotError::io("opening the layer", layer)(error);
        let root = Root::open(layer).and_then(|root| root.dir()).map_err(failed)?;
        let has = |mark| Ok::<_, SnapshotError>(xattr::get(&root, mark).map_err(failed)?.is_some());
        Ok(Self { root: has(IMPLIED)?, others: has(IMPLIES)? })
    }
}

fn forms(lowers: &[PathBuf]) -> Vec<LayerForm> {
    lowers.iter().cloned().map(LayerForm::Tree).collect()
}

impl Active {
    /// Keeps what was written as a layer.
    pub fn commit(self) -> Result<Committed> {
        let Self { upper, work, finish, .. } = self;
        // Without overlay in the kernel only `user.` attributes are sure to be had; both are read alike.
        let userxattr = true;
        match finish {
            Finish::Nothing => Ok(Committed { tree: upper }),
            Finish::Discard(flat) => {
                remove(&flat)?;
                Ok(Committed { tree: upper })
            }
            Finish::Unmount { mount, tree } => {
                mount.stop()?;
                normalise(&tree, userxattr)?;
                for name in ["merged", "empty"] {
                    remove(&work.with_file_name(name))?;
                }
                Ok(Committed { tree })
            }
            Finish::Reduce { below, copied } => {
                reduce(&upper, &below, copied, userxattr)?;
                Ok(Committed { tree: upper })
            }
        }
    }
}

/// Makes in an upper what a mount would otherwise show wrongly: the root, which looks like the upper's, and
/// directories that look like the upmost layer's, where that layer did not say what they are like.
fn inherit(below: &MergedView, upper: &Path, ids: Ids) -> Result<()> {
    let root = Root::open(upper).map_err(SnapshotError::io("opening", upper))?;
    let mut made = vec![below.node(Path::new(""))?.expect("a view always has a root")];
    for implied in below.implied()? {
        let mut ancestors: Vec<&Path> = implied.path.ancestors().collect();
        ancestors.pop();
        for path in ancestors.into_iter().rev() {
            let (parent, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
            let dir = root.open_dir_exact(parent).map_err(SnapshotError::entry("opening", parent))?;
            if free(dir.mkdir(name, 0o700)).map_err(SnapshotError::entry("making", path))?.is_some() {
                made.push(below.node(path)?.expect("parents of what is there are there"));
            }
        }
    }
    for node in made.iter().rev() {
        let dir = root.open_dir_exact(&node.path).map_err(SnapshotError::entry("opening", &node.path))?;
        Attributes::from(&node.metadata).set_directory(ids, &dir, &node.path)?;
    }
    Ok(())
}

/// Puts the lowest layers into one directory if there are too many for one mount.
fn limit(lowers: &[PathBuf], work: &Path, ids: Ids) -> Result<(Vec<PathBuf>, Finish)> {
    let Some(surplus) = lowers.len().checked_sub(MAX_LOWERS).filter(|surplus| *surplus > 0) else {
        return Ok((lowers.to_vec(), Finish::Nothing));
    };
    let (low, high) = lowers.split_at(surplus + 1);
    let flat = beside(work, "flat")?;
    materialize(&MergedView::open(&forms(low))?, &flat, Files::Linked, ids)?;
    let lowers = std::iter::once(flat.clone()).chain(high.iter().cloned()).collect();
    Ok((lowers, Finish::Discard(flat)))
}

/// Makes an empty directory next to `work`.
fn beside(work: &Path, name: &str) -> Result<PathBuf> {
    let path = work.with_file_name(name);
    remove(&path)?;
    let (parent, name) = parent(&path)?;
    parent.mkdir(name, 0o755).map_err(SnapshotError::io("making", &path))?;
    Ok(path)
}

fn remove(path: &Path) -> Result<()> {
    let (parent, name) = parent(path)?;
    parent.remove_all(name).map_err(SnapshotError::io("removing", path))
}

fn parent(path: &Path) -> Result<(rbuild_sys::root::Dir, &std::ffi::OsStr)> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let root = Root::open(directory).map_err(SnapshotError::io("opening", directory))?;
    let dir = root.dir().map_err(SnapshotError::io("opening", directory))?;
    Ok((dir, path.file_name().unwrap_or_default()))
}

/// Returns the filesystem's present by making and removing a file.
fn now(directory: &Path) -> Result<Stamp> {
    let failed = |error| SnapshotError::io("making a file in", directory)(error);
    let root = Root::open(directory).and_then(|root| root.dir()).map_err(failed)?;
    let name = std::ffi::OsStr::new("copied");
    root.create(name, 0o600).map_err(failed)?;
    let stat = root.stat(name).map_err(failed)?;
    root.unlink(name).map_err(failed)?;
    Ok(stat.ctime)
}
