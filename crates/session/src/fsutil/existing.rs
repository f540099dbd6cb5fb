//! The directory that is received into: names acted on under its open root.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rbuild_sys::dir::{FileType, Stat};
use rbuild_sys::dirfd::{self, Dir, Node};
use rbuild_sys::root::Root;
use rbuild_sys::xattr;

use super::TransferError;
use super::entry::{Entry, Kind, Meta};

/// How many directories are kept open.
const MOST_OPEN: usize = 64;

/// An open tree.
pub(super) struct Tree {
    root: Root,
    open: HashMap<PathBuf, (Rc<Dir>, u64)>,
    uses: u64,
    /// Whose files we make; others can be given away by root only.
    owner: (u32, u32),
}

impl Tree {
    pub(super) fn open(path: &Path) -> Result<Self, TransferError> {
        let root = Root::open(path).map_err(TransferError::io("opening", path))?;
        Ok(Self { root, open: HashMap::new(), uses: 0, owner: dirfd::current_owner() })
    }

    /// Returns an open directory of the tree.
    pub(super) fn directory(&mut self, path: &Path) -> Result<Rc<Dir>, TransferError> {
        self.uses += 1;
        if let Some((dir, used)) = self.open.get_mut(path) {
            *used = self.uses;
            return Ok(dir.clone());
        }
        if self.open.len() >= MOST_OPEN {
            let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone());
            oldest.and_then(|path| self.open.remove(&path));
        }
        let dir = self.root.open_dir_exact(path).map_err(TransferError::io("opening", path))?;
        let dir = Rc::new(dir);
        self.open.insert(path.to_owned(), (dir.clone(), self.uses));
        Ok(dir)
    }

    /// Returns the directory that a path lies in, and its last name.
    pub(super) fn parent<'p>(&mut self, path: &'p Path) -> Result<(Rc<Dir>, &'p OsStr), TransferError> {
        let name = path.file_name().ok_or(TransferError::Protocol("a path without a name"))?;
        Ok((self.directory(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// Returns the names in a directory, the last first.
    pub(super) fn names(&mut self, path: &Path) -> Result<Vec<OsString>, TransferError> {
        let dir = self.directory(path)?;
        let mut names: Vec<_> = dir.names().map_err(TransferError::io("listing", path))?;
        names.sort_unstable_by(|(a, _), (b, _)| b.as_bytes().cmp(a.as_bytes()));
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    /// Removes a path and all below it.
    pub(super) fn remove(&mut self, path: &Path) -> Result<(), TransferError> {
        // Directories below it must not be found by their old names.
        self.open.retain(|open, _| !open.starts_with(path));
        let (dir, name) = self.parent(path)?;
        dir.remove_all(name).map_err(TransferError::io("removing", path))
    }

    /// Returns the state of a path, if there is anything.
    pub(super) fn stat(&mut self, path: &Path) -> Result<Option<Stat>, TransferError> {
        let (dir, name) = self.parent(path)?;
        match dir.stat(name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(TransferError::io("reading the state of", path)(error)),
        }
    }

    /// Whether what is at a path is what is wanted there, as far as metadata tells.
    pub(super) fn is_same(&mut self, entry: &Entry, stat: &Stat) -> Result<bool, TransferError> {
        let meta = &entry.meta;
        let owned = self.owner.0 != 0 || (stat.uid, stat.gid) == (meta.uid, meta.gid);
        let same = match &entry.kind {
            Kind::Directory => return Ok(stat.kind == FileType::Directory),
            Kind::HardLink(_) => return Ok(false),
            Kind::File(size) => stat.kind == FileType::File && stat.size == *size && stat.mode == meta.mode,
            Kind::Symlink(target) => stat.kind == FileType::Symlink && self.read_link(&entry.path)? == *target,
            Kind::Node(node) => node_of(stat) == Some(*node) && stat.mode == meta.mode,
        };
        Ok(same && owned && stat.mtime == meta.mtime && self.has_attributes(entry)?)
    }

    fn read_link(&mut self, path: &Path) -> Result<PathBuf, TransferError> {
        let (dir, name) = self.parent(path)?;
        dir.read_link(name).map_err(TransferError::io("reading the link", path))
    }

    /// Whether all attributes are there; those that are not wanted any more are not looked for.
    fn has_attributes(&mut self, entry: &Entry) -> Result<bool, TransferError> {
        for (name, value) in entry.meta.xattrs.iter().filter(|(name, _)| is_taken(name)) {
            let (dir, own) = self.parent(&entry.path)?;
            let found =
                xattr::get_at(&*dir, own, name).map_err(TransferError::io("reading attributes of", &entry.path))?;
            if found.as_ref() != Some(value) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes a directory, or gets access to the one that is there.
    pub(super) fn make_directory(&mut self, path: &Path, mode: u32, there: Option<&Stat>) -> Result<(), TransferError> {
        let (dir, name) = self.parent(path)?;
        // The mode that is wanted comes at the end: it may forbid us to write.
        match there {
            None => dir.mkdir(name, (mode | 0o700) & 0o777).map_err(TransferError::io("making directory", path)),
            Some(stat) if stat.mode & 0o700 != 0o700 && self.owner.0 != 0 => {
                dir.chmod(name, stat.mode | 0o700).map_err(TransferError::io("getting access to", path))
            }
            Some(_) => Ok(()),
        }
    }

    /// Makes a symbolic link, a pipe or a device.
    pub(super) fn make_special(&mut self, entry: &Entry) -> Result<(), TransferError> {
        let path = &entry.path;
        let (dir, name) = self.parent(path)?;
        match &entry.kind {
            Kind::Symlink(target) => dir.symlink(target, name).map_err(TransferError::io("making link", path))?,
            Kind::Node(node) => dir.mknod(name, node, 0o600).map_err(TransferError::io("making node", path))?,
            Kind::Directory | Kind::File(_) | Kind::HardLink(_) => return Ok(()),
        }
        self.dress(entry)
    }

    /// Makes `entry` another name of `target`, unless it is.
    pub(super) fn make_hard_link(&mut self, path: &Path, target: &Path) -> Result<(), TransferError> {
        let Some(wanted) = self.stat(target)? else {
            return Err(TransferError::Path {
                path: path.as_os_str().as_bytes().escape_ascii().to_string(),
                reason: "is another name of a file that is not there",
            });
        };
        if let Some(found) = self.stat(path)? {
            if (found.device, found.inode) == (wanted.device, wanted.inode) {
                return Ok(());
            }
            self.remove(path)?;
        }
        let (target_dir, target_name) = self.parent(target)?;
        let (dir, name) = self.parent(path)?;
        dir.hard_link(name, &target_dir, target_name).map_err(TransferError::io("linking", path))
    }

    /// Sets owner, mode, attributes and time of what has a name but no open file.
    pub(super) fn dress(&mut self, entry: &Entry) -> Result<(), TransferError> {
        let (path, meta, owner) = (&entry.path, &entry.meta, self.owner);
        let is_link = matches!(entry.kind, Kind::Symlink(_));
        let (dir, name) = self.parent(path)?;
        let failed = |action| TransferError::io(action, path);
        if wants_owner(owner, meta) {
            unmapped(dir.chown(name, meta.uid, meta.gid)).map_err(failed("setting the owner of"))?;
        }
        if !is_link {
            dir.chmod(name, meta.mode).map_err(failed("setting the mode of"))?;
        }
        for (attribute, value) in meta.xattrs.iter().filter(|(attribute, _)| is_taken(attribute)) {
            tolerate(xattr::set_at(&*dir, name, attribute, value)).map_err(failed("setting attributes of"))?;
        }
        dir.set_mtime(name, meta.mtime).map_err(failed("setting the time of"))
    }

    /// Sets what is different from what a directory should be.
    pub(super) fn dress_directory(&mut self, entry: &Entry) -> Result<(), TransferError> {
        let Some(stat) = self.stat(&entry.path)? else { return Ok(()) };
        let meta = &entry.meta;
        let owned = !wants_owner(self.owner, meta) && self.owner.0 != 0 || (stat.uid, stat.gid) == (meta.uid, meta.gid);
        if stat.mode == meta.mode && owned && stat.mtime == meta.mtime && self.has_attributes(entry)? {
            return Ok(());
        }
        self.dress(entry)
    }

    /// Sets owner, mode, attributes and time of an open file.
    pub(super) fn dress_file(&self, file: &std::fs::File, meta: &Meta) -> io::Result<()> {
        if wants_owner(self.owner, meta) {
            unmapped(dirfd::chown_fd(file, meta.uid, meta.gid))?;
        }
        dirfd::chmod_fd(file, meta.mode)?;
        for (name, value) in meta.xattrs.iter().filter(|(name, _)| is_taken(name)) {
            tolerate(xattr::set(file, name, value))?;
        }
        // Last: a file that was not finished does not pass for one that was.
        dirfd::set_mtime_fd(file, meta.mtime)
    }
}

fn wants_owner(own: (u32, u32), meta: &Meta) -> bool {
    own.0 == 0 && own != (meta.uid, meta.gid)
}

/// An owner that a user namespace does not know stays whoever made the file.
fn unmapped(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied) => Ok(()),
        result => result,
    }
}

/// Attributes that layers carry; others steer the host, or overlay mounts.
fn is_taken(name: &[u8]) -> bool {
    rbuild_tree::entry::is_layer_xattr(name)
}

/// A file system without attributes, or a user who may not set one, is no reason to fail.
fn tolerate(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

fn node_of(stat: &Stat) -> Option<Node> {
    let (major, minor) = stat.rdev;
    match stat.kind {
        FileType::Fifo => Some(Node::Fifo),
        FileType::CharDevice => Some(Node::CharDevice(major, minor)),
        FileType::BlockDevice => Some(Node::BlockDevice(major, minor)),
        _ => None,
    }
}
