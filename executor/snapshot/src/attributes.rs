//! Owners, modes, times and extended attributes of what a tar describes.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rbuild_sys::dir::Stamp;
use rbuild_sys::dirfd::{chmod_fd, chown_fd, current_owner, set_mtime_fd};
use rbuild_sys::root::Dir;
use rbuild_sys::xattr;
use rbuild_tree::entry::is_layer_xattr;
use rbuild_tree::tar::Header;
use rbuild_tree::{Metadata, Time, Xattrs};

use crate::error::{Result, SnapshotError, shown};
use crate::overlay::OWNER;

const EINVAL: i32 = 22;

/// What is set on an entry once its content is there.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) mtime: Stamp,
    pub(crate) xattrs: Xattrs,
}

impl Attributes {
    pub(crate) fn of(header: &Header) -> Self {
        let xattrs = header.xattrs.iter().filter(|(name, _)| is_layer_xattr(name));
        Self {
            uid: header.uid,
            gid: header.gid,
            mode: header.mode,
            mtime: stamp(header.mtime),
            xattrs: xattrs.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }

    /// Sets the extended attributes of an open file or directory; a filesystem without any is no error.
    pub(crate) fn set_xattrs(&self, file: impl AsFd) -> io::Result<()> {
        let file = file.as_fd();
        for (name, value) in &self.xattrs {
            match xattr::set(file, name, value) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                result => result?,
            }
        }
        Ok(())
    }
}

impl From<&Metadata> for Attributes {
    fn from(metadata: &Metadata) -> Self {
        let Metadata { mode, uid, gid, mtime, .. } = *metadata;
        Self { uid, gid, mode, mtime: stamp(mtime), xattrs: metadata.xattrs.clone() }
    }
}

impl Attributes {
    /// Sets all of an open directory in which nothing more is made.
    pub(crate) fn set_directory(&self, ids: Ids, dir: &Dir, path: &Path) -> Result<()> {
        ids.chown_fd(dir, path, self)?;
        self.set_xattrs(dir).map_err(SnapshotError::entry("setting attributes of", path))?;
        chmod_fd(dir, self.mode).map_err(SnapshotError::entry("setting the mode of", path))?;
        set_mtime_fd(dir, self.mtime).map_err(SnapshotError::entry("setting the time of", path))
    }
}

/// Returns a time that every filesystem here can keep.
pub(crate) fn stamp(time: Time) -> Stamp {
    // The limits of 64-bit nanoseconds, beyond which containerd too falls back to the epoch.
    const LAST: i64 = i64::MAX / 1_000_000_000;
    if time.seconds.unsigned_abs() >= LAST.unsigned_abs() {
        return Stamp::default();
    }
    Stamp { seconds: time.seconds, nanoseconds: time.nanoseconds }
}

/// Which owners can be set here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    own: (u32, u32),
    single: bool,
}

impl Ids {
    pub(crate) fn new(single: bool) -> Self {
        Self { own: current_owner(), single }
    }

    /// Sets the owner of an open file; returns whether it could only be recorded.
    pub(crate) fn chown_fd(self, file: impl AsFd, path: &Path, wanted: &Attributes) -> Result<bool> {
        let file = file.as_fd();
        if (wanted.uid, wanted.gid) == self.own {
            return Ok(false);
        }
        match chown_fd(file, wanted.uid, wanted.gid) {
            Ok(()) => Ok(false),
            Err(error) if self.single && is_denied(&error) => {
                let owner = format!("{}:{}", wanted.uid, wanted.gid);
                xattr::set(file, OWNER, owner.as_bytes())
                    .map_err(SnapshotError::entry("recording the owner of", path))?;
                Ok(true)
            }
            Err(error) => Err(unset(error, path, wanted)),
        }
    }

    /// Sets the owner of a name that cannot be opened; returns whether it stayed unset, which is
    /// accepted with a single id only.
    pub(crate) fn chown_name(self, dir: &Dir, name: &OsStr, path: &Path, wanted: &Attributes) -> Result<bool> {
        if (wanted.uid, wanted.gid) == self.own {
            return Ok(false);
        }
        match dir.chown(name, wanted.uid, wanted.gid) {
            Ok(()) => Ok(false),
            // Links and pipes have no place for a record.
            Err(error) if self.single && is_denied(&error) => Ok(true),
            Err(error) => Err(unset(error, path, wanted)),
        }
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied || error.raw_os_error() == Some(EINVAL)
}

fn unset(error: io::Error, path: &Path, wanted: &Attributes) -> SnapshotError {
    if error.raw_os_error() == Some(EINVAL) {
        return SnapshotError::Unmapped { path: shown(path.as_os_str()), uid: wanted.uid, gid: wanted.gid };
    }
    SnapshotError::entry("setting the owner of", path)(error)
}
