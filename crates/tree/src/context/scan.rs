//! Listing a context directory with several threads.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rbuild_sys::dir::{FileType, Stat, for_each_name, stat_at};
use rbuild_sys::root::Dir;
use rbuild_sys::xattr;

use super::index::{ContextIndex, Known, State};
use crate::entry::{Device, Kind, LinkId, Metadata, Node, Time, Xattrs, is_layer_xattr};
use crate::pattern::{Matcher, ParentMatch};
use crate::source::TreeError;

/// With fewer directories waiting than this, more threads are not worth starting.
const MANY: usize = 4;

/// A directory still to be read.
struct Task {
    parent: Option<Arc<Dir>>,
    name: OsString,
    path: PathBuf,
    matched: Arc<ParentMatch>,
    /// Where its content goes.
    id: usize,
}

/// What was found at one name.
pub(super) struct Found {
    pub(super) node: Node,
    pub(super) state: State,
    pub(super) known: Option<Known>,
    /// Whether the ignore patterns drop it; a directory may still hold something that is kept.
    ignored: bool,
    /// The directory's own number among the read ones.
    below: Option<usize>,
}

/// The threads' common state.
struct Shared<'a> {
    ignore: &'a Matcher,
    index: &'a ContextIndex,
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    tasks: Vec<Task>,
    /// Directories taken and not finished.
    busy: usize,
    /// How many directories have a number.
    numbered: usize,
    read: Vec<(usize, Vec<Found>)>,
    closed: Vec<PathBuf>,
    error: Option<TreeError>,
}

/// What a directory holds.
pub(super) struct Scan {
    /// The kept entries, parents before children, sorted.
    pub(super) found: Vec<Found>,
    /// Directories that may not be read.
    pub(super) closed: Vec<PathBuf>,
}

/// Lists what is kept below `root`.
pub(super) fn scan(root: Dir, ignore: &Matcher, index: &ContextIndex, threads: usize) -> Result<Scan, TreeError> {
    let shared = Shared { ignore, index, queue: Mutex::default(), wake: Condvar::new() };
    let first = Task { parent: None, name: OsString::new(), path: PathBuf::new(), matched: Arc::default(), id: 0 };
    shared.queue().numbered = 1;
    shared.finish(0, read_directory(&shared, Arc::new(root), &first));
    shared.work(MANY);
    if shared.queue().tasks.len() >= MANY {
        std::thread::scope(|scope| {
            for _ in 1..threads.max(1) {
                scope.spawn(|| shared.work(usize::MAX));
            }
            shared.work(usize::MAX);
        });
    } else {
        shared.work(usize::MAX);
    }
    let queue = shared.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    match queue.error {
        Some(error) => Err(error),
        None => Ok(Scan { found: assemble(queue.read, queue.numbered), closed: queue.closed }),
    }
}

impl Shared<'_> {
    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads directories until there are none, or until `enough` wait.
    fn work(&self, enough: usize) {
        loop {
            let mut queue = self.queue();
            let task = loop {
                if queue.error.is_some() || queue.tasks.len() >= enough {
                    return;
                }
                if let Some(task) = queue.tasks.pop() {
                    break task;
                }
                if queue.busy == 0 {
                    self.wake.notify_all();
                    return;
                }
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            queue.busy += 1;
            drop(queue);
            let found = match open(&task) {
                Ok(dir) => read_directory(self, Arc::new(dir), &task),
                Err(error) => self.without(&task, error),
            };
            self.queue().busy -= 1;
            self.finish(task.id, found);
        }
    }

    /// Does without a directory that cannot be opened, if nobody may need it.
    fn without(&self, task: &Task, error: io::Error) -> Result<Vec<Found>, TreeError> {
        match error.kind() {
            // It vanished meanwhile.
            io::ErrorKind::NotFound => Ok(Vec::new()),
            // That counts once a step asks for it: data of a service often lie beside what is built.
            io::ErrorKind::PermissionDenied => {
                self.queue().closed.push(task.path.clone());
                Ok(Vec::new())
            }
            _ => Err(TreeError::io("opening", &task.path)(error)),
        }
    }

    fn finish(&self, id: usize, found: Result<Vec<Found>, TreeError>) {
        let mut queue = self.queue();
        match found {
            Ok(found) => queue.read.push((id, found)),
            Err(error) => drop(queue.error.get_or_insert(error)),
        }
        self.wake.notify_all();
    }
}

fn open(task: &Task) -> io::Result<Dir> {
    task.parent.as_ref().expect("only the root has no parent, and it is open").open_dir(&task.name)
}

fn read_directory(shared: &Shared<'_>, dir: Arc<Dir>, task: &Task) -> Result<Vec<Found>, TreeError> {
    let mut names: Vec<OsString> = Vec::new();
    for_each_name(dir.as_fd(), |name, _| {
        names.push(OsStr::from_bytes(name.to_bytes()).to_owned());
        Ok(())
    })
    .map_err(TreeError::io("listing", &task.path))?;
    names.sort_unstable();
    let mut found = Vec::with_capacity(names.len());
    let mut tasks = Vec::new();
    for name in names {
        let path = task.path.join(&name);
        let (ignored, matched) = shared.ignore.matches_below(&path, &task.matched);
        let stat = match stat_at(dir.as_fd(), name.as_os_str()) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(TreeError::io("reading the state of", &path)(error)),
        };
        let is_directory = stat.kind == FileType::Directory;
        if ignored && (!is_directory || shared.ignore.prunes(&path)) {
            continue;
        }
        let mut one = describe(shared.index, &dir, &name, path, &stat)?;
        one.ignored = ignored;
        if is_directory {
            let (parent, matched) = (Some(Arc::clone(&dir)), Arc::new(matched));
            tasks.push((found.len(), Task { parent, name, path: one.node.path.clone(), matched, id: 0 }));
        }
        found.push(one);
    }
    if !tasks.is_empty() {
        let mut queue = shared.queue();
        for (at, mut task) in tasks {
            task.id = queue.numbered;
            queue.numbered += 1;
            found[at].below = Some(task.id);
            queue.tasks.push(task);
        }
    }
    Ok(found)
}

fn describe(index: &ContextIndex, dir: &Dir, name: &OsStr, path: PathBuf, stat: &Stat) -> Result<Found, TreeError> {
    let state = State::from(stat);
    let kind = match stat.kind {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink(dir.read_link(name).map_err(TreeError::io("reading the link", &path))?),
        FileType::CharDevice => Kind::CharDevice(Device { major: stat.rdev.0, minor: stat.rdev.1 }),
        FileType::BlockDevice => Kind::BlockDevice(Device { major: stat.rdev.0, minor: stat.rdev.1 }),
        FileType::Fifo => Kind::Fifo,
        // A socket is copied as the empty file that it is when nobody listens.
        FileType::File | FileType::Socket | FileType::Unknown => Kind::File,
    };
    let is_file = stat.kind == FileType::File;
    let known = if is_file { index.get(&state).cloned() } else { None };
    let xattrs = match &known {
        Some(known) => known.xattrs.clone(),
        None if is_file || kind.is_directory() => {
            layer_xattrs(dir, name).map_err(TreeError::io("reading attributes of", &path))?
        }
        None => Xattrs::new(),
    };
    let several = stat.links > 1 && !kind.is_directory();
    let metadata = Metadata {
        kind,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        size: if is_file { stat.size } else { 0 },
        mtime: Time { seconds: stat.mtime.seconds, nanoseconds: stat.mtime.nanoseconds },
        xattrs,
    };
    let link = several.then_some(LinkId { device: stat.device, inode: stat.inode });
    Ok(Found { node: Node { path, metadata, link, handle: 0 }, state, known, ignored: false, below: None })
}

fn layer_xattrs(dir: &Dir, name: &OsStr) -> io::Result<Xattrs> {
    let mut xattrs = Xattrs::new();
    for attribute in xattr::list_at(dir, name)? {
        if is_layer_xattr(&attribute)
            && let Some(value) = xattr::get_at(dir, name, &attribute)?
        {
            xattrs.insert(attribute, value);
        }
    }
    Ok(xattrs)
}

/// Puts the directories' contents into one list, dropping ignored directories that hold nothing kept.
fn assemble(read: Vec<(usize, Vec<Found>)>, numbered: usize) -> Vec<Found> {
    let mut directories: Vec<std::vec::IntoIter<Found>> = Vec::new();
    directories.resize_with(numbered, Default::default);
    for (id, found) in read {
        directories[id] = found.into_iter();
    }
    let mut all: Vec<Found> = Vec::new();
    // The directories being gone through; for each, where it stands in the list if it may yet be dropped.
    let mut open: Vec<(usize, Option<usize>)> = vec![(0, None)];
    while let Some((id, tentative)) = open.last().copied() {
        let Some(found) = directories[id].next() else {
            open.pop();
            if tentative.is_some_and(|at| at + 1 == all.len()) {
                all.pop();
            }
            continue;
        };
        let (below, ignored) = (found.below, found.ignored);
        all.push(found);
        if let Some(id) = below {
            open.push((id, ignored.then_some(all.len() - 1)));
        }
    }
    all
}

/// Returns where `path` stands in tree order: a directory right before what it holds.
pub(super) fn tree_order(a: &Path, b: &Path) -> std::cmp::Ordering {
    let key = |b: &u8| if *b == b'/' { 0 } else { *b };
    a.as_os_str().as_bytes().iter().map(key).cmp(b.as_os_str().as_bytes().iter().map(key))
}
