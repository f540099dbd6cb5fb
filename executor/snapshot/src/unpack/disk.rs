//! The directory that entries go to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_sys::dir::{FileType, Stamp};
use rbuild_sys::dirfd::{chmod_fd, set_mtime_fd};
use rbuild_sys::root::{Dir, Node, Root};
use rbuild_sys::xattr;
use rbuild_tree::Device;
use rbuild_tree::entry::is_layer_xattr;
use rbuild_tree::tar::{Entry, EntryKind, Header, TarError};

use super::UnpackOptions;
use super::workers::{Job, PIECE, Workers};
use crate::apply::{Slot, Target};
use crate::attributes::{Attributes, Ids};
use crate::error::{Result, SnapshotError};
use crate::make::{self, Made, free};
use crate::overlay::{self, Found, IMPLIED, IMPLIES};

/// How many open directories are kept for the entries to come.
const OPEN: usize = 128;

/// An open directory and its path without links.
#[derive(Debug)]
pub(super) struct OpenDir {
    dir: Dir,
    path: PathBuf,
}

/// The directory being filled.
pub(super) struct Disk<'a, 'scope> {
    pub(super) root: Root,
    pub(super) options: &'a UnpackOptions,
    pub(super) ids: Ids,
    pub(super) workers: Workers<'scope>,
    top: Arc<OpenDir>,
    open: HashMap<PathBuf, Arc<OpenDir>>,
    /// Modes and times of directories, set when nothing more is made in them.
    described: BTreeMap<PathBuf, (u32, Stamp)>,
    implied: BTreeSet<PathBuf>,
    pub(super) content_size: u64,
    pub(super) recorded: u64,
}

impl<'a, 'scope> Disk<'a, 'scope> {
    pub(super) fn new(root: Root, options: &'a UnpackOptions, ids: Ids, workers: Workers<'scope>) -> io::Result<Self> {
        let top = Arc::new(OpenDir { dir: root.dir()?, path: PathBuf::new() });
        let implied = BTreeSet::from([PathBuf::new()]);
        let (open, described) = (HashMap::new(), BTreeMap::new());
        Ok(Self { root, options, ids, workers, top, open, described, implied, content_size: 0, recorded: 0 })
    }

    fn keep(&mut self, dir: Dir, path: PathBuf) -> Arc<OpenDir> {
        if self.open.len() >= OPEN {
            self.open.clear();
        }
        let open = Arc::new(OpenDir { dir, path: path.clone() });
        self.open.insert(path, Arc::clone(&open));
        open
    }

    /// Sets what waited until all directories are full; returns the number of implied ones but the root.
    pub(super) fn finish_directories(&mut self) -> Result<u64> {
        for path in &self.implied {
            let dir = self.root.open_dir_exact(path).map_err(SnapshotError::entry("opening", path))?;
            xattr::set(&dir, IMPLIED, b"").map_err(SnapshotError::entry("marking", path))?;
            self.described.insert(path.clone(), (0o755, Stamp::default()));
        }
        for (path, (mode, mtime)) in self.described.iter().rev() {
            let dir = self.root.open_dir_exact(path).map_err(SnapshotError::entry("opening", path))?;
            chmod_fd(&dir, *mode).map_err(SnapshotError::entry("setting the mode of", path))?;
            set_mtime_fd(&dir, *mtime).map_err(SnapshotError::entry("setting the time of", path))?;
        }
        let below_root = self.implied.iter().filter(|path| !path.as_os_str().is_empty()).count() as u64;
        if below_root > 0 {
            let marked = xattr::set(&self.top.dir, IMPLIES, b"");
            marked.map_err(SnapshotError::entry("marking", Path::new("")))?;
        }
        Ok(below_root)
    }

    /// Forgets what was to be done to directories at and below `path`.
    fn forget(&mut self, path: &Path) {
        let range = || (Bound::Included(path.to_owned()), Bound::Unbounded);
        let below = |found: &&PathBuf| found.starts_with(path);
        let described: Vec<PathBuf> =
            self.described.range(range()).map(|(path, _)| path).take_while(below).cloned().collect();
        let implied: Vec<PathBuf> = self.implied.range(range()).take_while(below).cloned().collect();
        for path in &described {
            self.described.remove(path);
        }
        for path in &implied {
            self.implied.remove(path);
        }
        self.open.clear();
    }

    fn file<R: Read>(&mut self, dir: &OpenDir, name: &OsStr, entry: &mut Entry<'_, R>, path: &Path) -> Result<bool> {
        let Some(file) = free(dir.dir.create(name, 0o600)).map_err(SnapshotError::entry("making", path))? else {
            return Ok(false);
        };
        let limit = self.options.max_size;
        self.content_size = self.content_size.saturating_add(entry.header.data_size);
        if self.content_size > limit || entry.header.size > limit {
            return Err(SnapshotError::TooLarge { limit });
        }
        if entry.header.sparse.is_some() {
            file.set_len(entry.header.size).map_err(SnapshotError::entry("sizing", path))?;
        }
        self.fill(Arc::new(file), entry, path)?;
        Ok(true)
    }

    /// Hands the stored bytes of an entry to one worker, piece by piece.
    fn fill<R: Read>(&mut self, file: Arc<File>, entry: &mut Entry<'_, R>, path: &Path) -> Result<()> {
        let worker = self.workers.choose();
        let attributes = Box::new(Attributes::of(&entry.header));
        let whole = [rbuild_tree::tar::Segment { offset: 0, length: entry.header.size }];
        let segments = entry.header.sparse.clone().unwrap_or_else(|| whole.to_vec());
        let mut last = (0, Vec::new());
        for segment in segments {
            let (mut offset, end) = (segment.offset, segment.offset + segment.length);
            while offset < end {
                let length = usize::try_from(end - offset).map_or(PIECE, |left| left.min(PIECE));
                let data = read_piece(entry, length)?;
                let (file, path) = (Arc::clone(&file), path.to_owned());
                let (previous, bytes) = std::mem::replace(&mut last, (offset, data));
                if !bytes.is_empty() {
                    self.workers.send(worker, Job::Piece { file, path, offset: previous, data: bytes })?;
                }
                offset += length as u64;
            }
        }
        let (offset, data) = last;
        self.workers.send(worker, Job::Last { file, path: path.to_owned(), offset, data, attributes })
    }

    fn note(&mut self, made: Made) -> bool {
        self.recorded += u64::from(made == Made::Recorded);
        made != Made::Taken
    }

    /// Gives a file with several names the attributes of its last entry, as if it had been made by it.
    fn update_linked(&mut self, dir: &OpenDir, name: &OsStr, header: &Header, path: &Path) -> Result<()> {
        self.workers.barrier()?;
        let wanted = Attributes::of(header);
        let stat = dir.dir.stat(name).map_err(SnapshotError::entry("reading the state of", path))?;
        if (stat.uid, stat.gid) != (wanted.uid, wanted.gid) {
            let read = xattr::get_at(&dir.dir, name, b"security.capability");
            let capability = read.map_err(SnapshotError::entry("reading attributes of", path))?;
            if stat.kind == FileType::File {
                let (file, _) = dir.dir.open_file(name).map_err(SnapshotError::entry("opening", path))?;
                self.recorded += u64::from(self.ids.chown_fd(&file, path, &wanted)?);
            } else {
                self.recorded += u64::from(self.ids.chown_name(&dir.dir, name, path, &wanted)?);
            }
            if let Some(value) = capability {
                let set = xattr::set_at(&dir.dir, name, b"security.capability", &value);
                set.map_err(SnapshotError::entry("setting attributes of", path))?;
            }
        }
        if stat.kind != FileType::Symlink {
            dir.dir.chmod(name, wanted.mode).map_err(SnapshotError::entry("setting the mode of", path))?;
        }
        dir.dir.set_mtime(name, wanted.mtime).map_err(SnapshotError::entry("setting the time of", path))
    }
}

fn read_piece<R: Read>(entry: &mut Entry<'_, R>, length: usize) -> Result<Vec<u8>> {
    let mut data = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match entry.read_data(&mut data[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(TarError::Io("reading", error).into()),
        }
    }
    data.truncate(filled);
    Ok(data)
}

impl Target for Disk<'_, '_> {
    type Directory = Arc<OpenDir>;

    fn root(&mut self) -> Arc<OpenDir> {
        Arc::clone(&self.top)
    }

    fn shortcut(&mut self, path: &Path) -> Option<Arc<OpenDir>> {
        if path.as_os_str().is_empty() {
            return Some(self.root());
        }
        if let Some(open) = self.open.get(path) {
            return Some(Arc::clone(open));
        }
        let dir = self.root.open_dir_exact(path).ok()?;
        Some(self.keep(dir, path.to_owned()))
    }

    fn look(&mut self, dir: &Arc<OpenDir>, name: &OsStr) -> Result<Slot> {
        let path = dir.path.join(name);
        let stat = match dir.dir.stat(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Slot::Empty),
            stat => stat.map_err(SnapshotError::entry("reading the state of", &path))?,
        };
        let found = overlay::read(&dir.dir, name, &stat).map_err(SnapshotError::entry("reading", &path))?;
        Ok(match found {
            Found::Whiteout => Slot::Whiteout,
            Found::Entry { metadata, .. } => match metadata.kind {
                rbuild_tree::Kind::Directory => Slot::Directory,
                rbuild_tree::Kind::Symlink(target) => Slot::Symlink(target),
                _ => Slot::Other,
            },
        })
    }

    fn enter(&mut self, dir: &Arc<OpenDir>, name: &OsStr) -> Result<Arc<OpenDir>> {
        let path = dir.path.join(name);
        if let Some(open) = self.open.get(&path) {
            return Ok(Arc::clone(open));
        }
        let below = dir.dir.open_dir(name).map_err(SnapshotError::entry("opening", &path))?;
        Ok(self.keep(below, path))
    }

    fn make_directory(&mut self, dir: &Arc<OpenDir>, name: &OsStr) -> Result<Arc<OpenDir>> {
        let path = dir.path.join(name);
        dir.dir.mkdir(name, 0o700).map_err(SnapshotError::entry("making", &path))?;
        self.implied.insert(path);
        self.enter(dir, name)
    }

    fn describe(&mut self, dir: &Arc<OpenDir>, header: &Header) -> Result<()> {
        let (path, attributes) = (&dir.path, Attributes::of(header));
        self.recorded += u64::from(self.ids.chown_fd(&dir.dir, path, &attributes)?);
        let again = !self.implied.remove(path);
        if again {
            let names = xattr::list(&dir.dir).map_err(SnapshotError::entry("reading attributes of", path))?;
            for name in names.iter().filter(|name| is_layer_xattr(name) && !attributes.xattrs.contains_key(*name)) {
                xattr::remove(&dir.dir, name).map_err(SnapshotError::entry("removing attributes of", path))?;
            }
        }
        attributes.set_xattrs(&dir.dir).map_err(SnapshotError::entry("setting attributes of", path))?;
        self.described.insert(path.clone(), (attributes.mode, attributes.mtime));
        Ok(())
    }

    fn set_opaque(&mut self, dir: &Arc<OpenDir>) -> Result<()> {
        let set = xattr::set(&dir.dir, overlay::opaque_attribute(self.options.userxattr), b"y");
        set.map_err(SnapshotError::entry("marking as opaque", &dir.path))
    }

    fn whiteout(&mut self, dir: &Arc<OpenDir>, name: &OsStr) -> Result<()> {
        let written = overlay::write_whiteout(&dir.dir, name, self.options.userxattr);
        written.map_err(SnapshotError::entry("making the whiteout of", &dir.path.join(name)))
    }

    fn remove(&mut self, dir: &Arc<OpenDir>, name: &OsStr) -> Result<()> {
        let path = dir.path.join(name);
        match dir.dir.unlink(name) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
            Err(error) => return Err(SnapshotError::entry("replacing", &path)(error)),
        }
        dir.dir.remove_all(name).map_err(SnapshotError::entry("replacing", &path))?;
        self.forget(&path);
        Ok(())
    }

    fn create<R: Read>(&mut self, dir: &Arc<OpenDir>, name: &OsStr, entry: &mut Entry<'_, R>) -> Result<bool> {
        let path = dir.path.join(name);
        if entry.header.kind == EntryKind::File {
            return self.file(dir, name, entry, &path);
        }
        let attributes = Attributes::of(&entry.header);
        let node = match &entry.header.kind {
            EntryKind::Symlink(target) => {
                let made = make::symlink(&dir.dir, name, target, &attributes, self.ids, &path)?;
                return Ok(self.note(made));
            }
            EntryKind::CharDevice(Device { major, minor }) => Node::CharDevice(*major, *minor),
            EntryKind::BlockDevice(Device { major, minor }) => Node::BlockDevice(*major, *minor),
            EntryKind::Fifo => Node::Fifo,
            EntryKind::File | EntryKind::Directory | EntryKind::HardLink(_) => {
                unreachable!("files are made above, directories and hard links by other calls")
            }
        };
        let made = make::node(&dir.dir, name, node, &attributes, self.ids, &path)?;
        Ok(self.note(made))
    }

    fn link(
        &mut self,
        dir: &Arc<OpenDir>,
        name: &OsStr,
        target: (&Arc<OpenDir>, &OsStr),
        header: &Header,
    ) -> Result<bool> {
        let path = dir.path.join(name);
        let made = free(dir.dir.hard_link(name, &target.0.dir, target.1));
        if made.map_err(SnapshotError::entry("linking", &path))?.is_none() {
            return Ok(false);
        }
        self.update_linked(dir, name, header, &path)?;
        Ok(true)
    }
}
