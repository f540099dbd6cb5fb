//! The fuse-overlayfs program: its mount, and turning what it leaves into the format of the kernel's overlay.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rbuild_sys::dir::{FileType, stat_fd};
use rbuild_sys::root::{Dir, Root};
use rbuild_sys::xattr;
use rbuild_tree::entry::{OPAQUE_MARKER, WHITEOUT_PREFIX};

use crate::error::{Result, SnapshotError};
use crate::overlay;

/// How long the program may take to mount or to end.
const PATIENCE: Duration = Duration::from_secs(20);
const OPAQUE: [&[u8]; 2] = [b"user.fuseoverlayfs.opaque", b"user.overlay.opaque"];

/// A running fuse-overlayfs. Dropped, it is unmounted.
#[derive(Debug)]
pub(crate) struct FuseMount {
    child: Child,
    path: PathBuf,
    mounted: bool,
}

impl FuseMount {
    /// Mounts `lowers` (bottom first) and `upper` at the existing directory `path`.
    pub(crate) fn start(program: &Path, lowers: &[PathBuf], upper: &Path, work: &Path, path: &Path) -> Result<Self> {
        let before = device(path)?;
        let mut command = Command::new(program);
        command.arg("-f").arg("-o").arg(options(lowers, upper, work)).arg(path).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().map_err(SnapshotError::io("starting", program))?;
        let mut mount = Self { child, path: path.to_owned(), mounted: false };
        let start = Instant::now();
        while device(path)? == before {
            let ended = mount.child.try_wait().map_err(SnapshotError::io("waiting for", program))?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                let reason = match ended {
                    Some(status) => format!("it ended with {status}: {}", mount.complaint()),
                    None => "it did not mount in time".to_owned(),
                };
                return Err(SnapshotError::Fuse { path: path.to_owned(), reason });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        mount.mounted = true;
        Ok(mount)
    }

    fn complaint(&mut self) -> String {
        let stderr = self.child.stderr.take().map(std::io::read_to_string);
        stderr.and_then(std::result::Result::ok).unwrap_or_default().trim().escape_debug().to_string()
    }

    /// Unmounts and waits for the program, which writes out what it holds.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.mounted) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            return Ok(());
        }
        if let Err(error) = rbuild_sys::mount::detach(&self.path) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            return Err(SnapshotError::io("unmounting", &self.path)(error));
        }
        let start = Instant::now();
        while self.child.try_wait().map_err(SnapshotError::io("waiting for", &self.path))?.is_none() {
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                let reason = "it did not end in time".to_owned();
                return Err(SnapshotError::Fuse { path: self.path.clone(), reason });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for FuseMount {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn device(path: &Path) -> Result<u64> {
    let root = Root::open(path).map_err(SnapshotError::io("opening", path))?;
    Ok(stat_fd(&root).map_err(SnapshotError::io("reading the state of", path))?.device)
}

/// Top first, with the characters escaped that the program splits at.
fn options(lowers: &[PathBuf], upper: &Path, work: &Path) -> OsString {
    let mut options = b"lowerdir=".to_vec();
    for (index, lower) in lowers.iter().rev().enumerate() {
        if index > 0 {
            options.push(b':');
        }
        escape(lower, &mut options);
    }
    options.extend_from_slice(b",upperdir=");
    escape(upper, &mut options);
    options.extend_from_slice(b",workdir=");
    escape(work, &mut options);
    OsStr::from_bytes(&options).to_owned()
}

fn escape(path: &Path, out: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
}

/// Turns the whiteouts and opaque marks of fuse-overlayfs below `upper` into the kernel's.
pub(crate) fn normalise(upper: &Path, userxattr: bool) -> Result<()> {
    let root = Root::open(upper).map_err(SnapshotError::io("opening", upper))?;
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let dir = root.open_dir_exact(&path).map_err(SnapshotError::entry("opening", &path))?;
        normalise_directory(&dir, &path, userxattr, &mut todo)?;
    }
    Ok(())
}

fn normalise_directory(dir: &Dir, path: &Path, userxattr: bool, todo: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |action: &'static str| move |error| SnapshotError::entry(action, path)(error);
    let stat = dir.stat_self().map_err(failed("reading the state of"))?;
    let mut opaque = false;
    for name in OPAQUE {
        opaque |= xattr::get(dir, name).map_err(failed("reading attributes of"))?.as_deref() == Some(b"y");
    }
    let mut changed = false;
    for (name, kind) in dir.names().map_err(failed("listing"))? {
        let is_directory = kind == FileType::Directory;
        if name.as_bytes() == OPAQUE_MARKER {
            dir.unlink(&name).map_err(failed("converting an opaque mark in"))?;
            (opaque, changed) = (true, true);
        } else if let Some(victim) = name.as_bytes().strip_prefix(WHITEOUT_PREFIX).filter(|_| !is_directory) {
            dir.unlink(&name).map_err(failed("converting a whiteout in"))?;
            let victim = OsStr::from_bytes(victim);
            overlay::write_whiteout(dir, victim, userxattr).map_err(failed("converting a whiteout in"))?;
            changed = true;
        } else if is_directory {
            todo.push(path.join(name));
        }
    }
    if opaque {
        xattr::set(dir, overlay::opaque_attribute(userxattr), b"y").map_err(failed("marking as opaque"))?;
    }
    if changed {
        rbuild_sys::dirfd::set_mtime_fd(dir, stat.mtime).map_err(failed("setting the time of"))?;
    }
    Ok(())
}
