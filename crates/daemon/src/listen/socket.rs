//! Unix sockets: who may use them, and whether a file that is there already is in use.
//!
//! A lock beside the socket, held as long as the daemon lives, lets one daemon at a time replace what a killed one
//! has left. Mode and owner are set before the socket listens, so nobody gets in before.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use tokio::net::UnixListener;

use super::{Listener, Socket, refused, unfit};
use crate::DaemonError;
use crate::address::Address;

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Who may use a unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Its owner; whoever runs the daemon if not given.
    pub uid: Option<u32>,
    /// Its group; that of the daemon if not given.
    pub gid: Option<u32>,
    /// Its mode.
    pub mode: u32,
    /// The mode of directories that are made for it.
    pub directory_mode: u32,
}

impl Default for Access {
    /// Owner and group, in directories that everyone may pass.
    fn default() -> Self {
        Self { uid: None, gid: None, mode: 0o660, directory_mode: 0o755 }
    }
}

impl Access {
    /// The owner only, in directories that nobody else may pass.
    pub const PRIVATE: Self = Self { uid: None, gid: None, mode: 0o600, directory_mode: 0o700 };
}

/// A socket's file, removed when dropped unless another has taken its place; and the lock that makes it ours.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    lock: PathBuf,
    _held: File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        // What cannot be removed is found stale by the next daemon.
        if ours {
            let _ = fs::remove_file(&self.path);
        }
        let _ = fs::remove_file(&self.lock);
    }
}

pub(super) fn open(path: &Path, address: &Address, access: &Access) -> Result<Listener, DaemonError> {
    let name = SocketAddrUnix::new(path)
        .map_err(|_| unfit(address, "the path of a socket has 107 bytes at most, and no NUL among them"))?;
    make_directory(path, access).map_err(refused(address, "creating its directory"))?;
    let lock = lock_path(path);
    let Some(held) = lock_file(&lock).map_err(refused(address, "locking it"))? else {
        return Err(unfit(address, "another daemon listens there"));
    };
    clear(path, &name, address)?;
    let socket = stream_socket().map_err(refused(address, "opening a socket"))?;
    bind(&socket, &name).map_err(|errno| refused(address, "binding a socket")(errno.into()))?;
    let found = fs::symlink_metadata(path).map_err(refused(address, "reading the socket"))?;
    let file = SocketFile { path: path.to_owned(), device: found.dev(), inode: found.ino(), lock, _held: held };
    restrict(path, access).map_err(refused(address, "setting owner, group and mode"))?;
    listen(&socket, BACKLOG).map_err(|errno| refused(address, "listening")(errno.into()))?;
    let listener = UnixListener::from_std(socket.into()).map_err(refused(address, "listening"))?;
    Ok(Listener { address: address.to_string(), socket: Socket::Unix(listener), tls: None, file: Some(file) })
}

fn make_directory(path: &Path, access: &Access) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => {
            DirBuilder::new().recursive(true).mode(access.directory_mode).create(parent)
        }
        _ => Ok(()),
    }
}

fn restrict(path: &Path, access: &Access) -> io::Result<()> {
    if access.uid.is_some() || access.gid.is_some() {
        std::os::unix::fs::lchown(path, access.uid, access.gid)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(access.mode))
}

/// Removes a socket at which nobody listens.
fn clear(path: &Path, name: &SocketAddrUnix, address: &Address) -> Result<(), DaemonError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(refused(address, "looking whether it is in use"))?,
    };
    if !found.file_type().is_socket() {
        return Err(unfit(address, "there is a file of this name, which is no socket"));
    }
    let probe = stream_socket().map_err(refused(address, "opening a socket"))?;
    match connect(&probe, name) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(refused(address, "removing a stale socket")),
        Err(Errno::NOENT) => Ok(()),
        // With EAGAIN so many wait to be accepted that one more must wait.
        Ok(()) | Err(Errno::AGAIN) => Err(unfit(address, "another daemon listens there")),
        Err(errno) => Err(refused(address, "looking whether it is in use")(errno.into())),
    }
}

fn stream_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Locks a file that is made if need be; none if somebody holds it.
fn lock_file(path: &Path) -> io::Result<Option<File>> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    loop {
        let file =
            File::options().write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            locked => locked?,
        }
        // A daemon that just ended may have removed the name of what is now locked.
        let held = file.metadata()?;
        if fs::symlink_metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
            return Ok(Some(file));
        }
    }
}
