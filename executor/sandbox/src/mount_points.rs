//! A layer that holds the mount points every box needs.
//!
//! Put below all layers of an overlay, it saves making and removing them in the upper directory of each step, which
//! costs some hundred microseconds and copies `/etc` up. Images that have them are not changed by it, and a step's
//! upper directory never holds anything of it, unless the step itself writes there.

use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

const DIRECTORIES: [&str; 4] = ["dev", "proc", "sys", "etc"];
const FILES: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];

/// Fills `layer`, an empty directory on the file system of the other layers, with mount points.
///
/// Several processes may do so at once; all times are zero, so that what is copied up from it is the same anywhere.
pub fn fill_mount_points(layer: &Path) -> io::Result<()> {
    let unless_there = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    };
    for name in DIRECTORIES {
        unless_there(fs::create_dir(layer.join(name)))?;
    }
    for name in FILES {
        unless_there(fs::File::create_new(layer.join(name)).map(drop))?;
    }
    let epoch = fs::FileTimes::new().set_accessed(UNIX_EPOCH).set_modified(UNIX_EPOCH);
    let all = FILES.into_iter().chain(DIRECTORIES).map(|name| layer.join(name)).chain([layer.to_owned()]);
    for path in all {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        fs::File::open(&path)?.set_times(epoch)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filling_twice_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            fill_mount_points(dir.path()).unwrap();
            assert!(dir.path().join("etc/hosts").is_file() && dir.path().join("proc").is_dir());
            assert_eq!(fs::metadata(dir.path().join("etc")).unwrap().modified().unwrap(), UNIX_EPOCH);
        }
    }
}
