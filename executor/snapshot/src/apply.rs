//! What the entries of a layer tar mean, one after the other.
//!
//! The same rules make a directory ([`crate::unpack`]) and a view of the tar itself ([`crate::view`]): this
//! module decides, a [`Target`] does. The rules:
//!
//! * Names are clamped to the root. A parent that is a link *of this layer* is followed inside the root; links of
//!   lower layers are not known here (nor to other engines that unpack into an overlay upper). Missing parents are
//!   made, as *implied* directories whose attributes are those of the layers below.
//! * The last entry of a name wins. A directory entry upon a directory changes its attributes and keeps what it
//!   holds; every other entry removes what was there, without following it.
//! * A whiteout hides lower layers only: what this layer itself puts at the name stays, before or after.
//! * Character devices 0:0, which overlay would take for whiteouts, are dropped.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rbuild_tree::Device;
use rbuild_tree::entry::{OPAQUE_MARKER, WHITEOUT_PREFIX};
use rbuild_tree::tar::{Entry, EntryKind, Header};

use crate::error::{Result, SnapshotError};

/// How many links one parent path may follow.
const MAX_LINKS: usize = 255;
/// The longest path that the kernel takes.
const MAX_PATH: usize = 4095;
const META_PREFIX: &[u8] = b".wh..wh.";

/// What a name of this layer stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Slot {
    Empty,
    Whiteout,
    Directory,
    Symlink(PathBuf),
    Other,
}

/// Where entries go. Names are single components; directories are handles, so nothing is looked up twice.
pub(crate) trait Target {
    type Directory: Clone;

    fn root(&mut self) -> Self::Directory;
    /// Returns the directory at a path of real directories, if it is quickly had.
    fn shortcut(&mut self, path: &Path) -> Option<Self::Directory>;
    fn look(&mut self, dir: &Self::Directory, name: &OsStr) -> Result<Slot>;
    fn enter(&mut self, dir: &Self::Directory, name: &OsStr) -> Result<Self::Directory>;
    /// Makes a directory that no entry has described yet.
    fn make_directory(&mut self, dir: &Self::Directory, name: &OsStr) -> Result<Self::Directory>;
    fn describe(&mut self, dir: &Self::Directory, header: &Header) -> Result<()>;
    fn set_opaque(&mut self, dir: &Self::Directory) -> Result<()>;
    fn whiteout(&mut self, dir: &Self::Directory, name: &OsStr) -> Result<()>;
    /// Removes a name and all below it.
    fn remove(&mut self, dir: &Self::Directory, name: &OsStr) -> Result<()>;
    /// Makes something that is no directory and no hard link; returns false if the name is taken.
    fn create<R: Read>(&mut self, dir: &Self::Directory, name: &OsStr, entry: &mut Entry<'_, R>) -> Result<bool>;
    /// Makes another name of a file or link; returns false if the name is taken.
    fn link(
        &mut self,
        dir: &Self::Directory,
        name: &OsStr,
        target: (&Self::Directory, &OsStr),
        header: &Header,
    ) -> Result<bool>;
}

/// What the last component of a name says.
enum Name<'a> {
    Plain(&'a OsStr),
    Whiteout(&'a OsStr),
    Opaque,
    /// Book-keeping of a file system of old.
    Foreign,
}

/// Applies one entry.
pub(crate) fn apply<T: Target, R: Read>(target: &mut T, entry: &mut Entry<'_, R>) -> Result<()> {
    let path = entry.header.clean_path();
    if path.as_os_str().len() > MAX_PATH {
        return Err(SnapshotError::refused(&path, format!("the name is longer than {MAX_PATH} bytes")));
    }
    let Some(name) = path.file_name() else {
        return match entry.header.kind {
            EntryKind::Directory => {
                let root = target.root();
                target.describe(&root, &entry.header)
            }
            _ => Err(SnapshotError::refused(&entry.header.path, "the root of a layer is a directory")),
        };
    };
    let parent_path = path.parent().unwrap_or(Path::new(""));
    let name = match classify(name, &path)? {
        Name::Foreign => return Ok(()),
        other if is_foreign(parent_path) => {
            let _ = other;
            return Ok(());
        }
        name => name,
    };
    let parent = parent(target, parent_path, true)?.expect("missing parents are made");
    match name {
        Name::Opaque => target.set_opaque(&parent),
        Name::Whiteout(victim) => whiteout(target, &parent, victim),
        Name::Plain(name) => place(target, &parent, name, entry, &path),
        Name::Foreign => Ok(()),
    }
}

fn classify<'a>(name: &'a OsStr, path: &Path) -> Result<Name<'a>> {
    let bytes = name.as_bytes();
    if bytes == OPAQUE_MARKER {
        return Ok(Name::Opaque);
    }
    if bytes.starts_with(META_PREFIX) {
        return Ok(Name::Foreign);
    }
    match bytes.strip_prefix(WHITEOUT_PREFIX) {
        None => Ok(Name::Plain(name)),
        Some(b"" | b"." | b"..") => Err(SnapshotError::refused(path, "a whiteout of no name")),
        Some(victim) => Ok(Name::Whiteout(OsStr::from_bytes(victim))),
    }
}

fn is_foreign(parent: &Path) -> bool {
    parent.components().next().is_some_and(|first| first.as_os_str().as_bytes().starts_with(META_PREFIX))
}

fn whiteout<T: Target>(target: &mut T, parent: &T::Directory, victim: &OsStr) -> Result<()> {
    match target.look(parent, victim)? {
        Slot::Empty => target.whiteout(parent, victim),
        Slot::Directory => {
            let own = target.enter(parent, victim)?;
            target.set_opaque(&own)
        }
        Slot::Whiteout | Slot::Symlink(_) | Slot::Other => Ok(()),
    }
}

fn place<T: Target, R: Read>(
    target: &mut T,
    parent: &T::Directory,
    name: &OsStr,
    entry: &mut Entry<'_, R>,
    path: &Path,
) -> Result<()> {
    match &entry.header.kind {
        EntryKind::Directory => {
            let directory = directory(target, parent, name)?;
            target.describe(&directory, &entry.header)
        }
        EntryKind::CharDevice(Device { major: 0, minor: 0 }) => Ok(()),
        EntryKind::HardLink(_) => hard_link(target, parent, name, &entry.header, path),
        _ => {
            if target.create(parent, name, entry)? {
                return Ok(());
            }
            target.remove(parent, name)?;
            if target.create(parent, name, entry)? {
                return Ok(());
            }
            Err(SnapshotError::refused(path, "its name was taken again"))
        }
    }
}

/// Returns the directory of a name, made if something else or nothing is there.
fn directory<T: Target>(target: &mut T, parent: &T::Directory, name: &OsStr) -> Result<T::Directory> {
    match target.look(parent, name)? {
        Slot::Directory => target.enter(parent, name),
        Slot::Empty => target.make_directory(parent, name),
        Slot::Whiteout => {
            target.remove(parent, name)?;
            let made = target.make_directory(parent, name)?;
            target.set_opaque(&made)?;
            Ok(made)
        }
        Slot::Symlink(_) | Slot::Other => {
            target.remove(parent, name)?;
            target.make_directory(parent, name)
        }
    }
}

fn hard_link<T: Target>(
    target: &mut T,
    parent: &T::Directory,
    name: &OsStr,
    header: &Header,
    path: &Path,
) -> Result<()> {
    let missing = || SnapshotError::refused(path, "it is a hard link to nothing in this layer");
    let source = header.clean_link_target().ok_or_else(missing)?;
    let source_name = source.file_name().ok_or_else(missing)?;
    let source_parent = source.parent().unwrap_or(Path::new(""));
    let source_dir = self::parent(target, source_parent, false)?.ok_or_else(missing)?;
    match target.look(&source_dir, source_name)? {
        Slot::Symlink(_) | Slot::Other => {}
        Slot::Empty | Slot::Whiteout => return Err(missing()),
        Slot::Directory => return Err(SnapshotError::refused(path, "it is a hard link to a directory")),
    }
    if source == path {
        return Ok(());
    }
    if target.link(parent, name, (&source_dir, source_name), header)? {
        return Ok(());
    }
    target.remove(parent, name)?;
    // What was removed may have held the target.
    if target.look(&source_dir, source_name)? == Slot::Empty {
        return Err(missing());
    }
    match target.link(parent, name, (&source_dir, source_name), header)? {
        true => Ok(()),
        false => Err(SnapshotError::refused(path, "its name was taken again")),
    }
}

/// Returns the directory at `path`, following links of this layer inside its root.
fn parent<T: Target>(target: &mut T, path: &Path, make: bool) -> Result<Option<T::Directory>> {
    if let Some(found) = target.shortcut(path) {
        return Ok(Some(found));
    }
    let mut todo: VecDeque<OsString> = parts(path).collect();
    let mut stack = vec![target.root()];
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            stack.truncate((stack.len() - 1).max(1));
            continue;
        }
        let here = stack.last().expect("the root stays").clone();
        match target.look(&here, &part)? {
            Slot::Directory => stack.push(target.enter(&here, &part)?),
            Slot::Symlink(link) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(SnapshotError::refused(path, "its parents are links without end"));
                }
                if link.is_absolute() {
                    stack.truncate(1);
                }
                parts(&link).rev().for_each(|part| todo.push_front(part));
            }
            Slot::Empty | Slot::Whiteout if !make => return Ok(None),
            Slot::Empty | Slot::Whiteout => {
                if part.as_bytes().starts_with(WHITEOUT_PREFIX) {
                    return Err(SnapshotError::refused(path, "its parent has the name of a whiteout"));
                }
                stack.push(directory(target, &here, &part)?);
            }
            Slot::Other => return Err(SnapshotError::refused(path, "its parent is not a directory")),
        }
    }
    Ok(stack.pop())
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}
