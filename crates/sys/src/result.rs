//! Files that a person named for a result.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens the file at `path` for a result, empty.
///
/// A link at the place is replaced, never written through: what lies at the place of a result may be
/// another's doing. The names of the process's own descriptors (`/dev/stdout`, `/dev/fd/3`) and devices
/// are links and nodes to write to, and stay as they are.
pub fn create_result(path: &Path) -> io::Result<File> {
    if !is_of_the_system(path)? && std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        std::fs::remove_file(path)?;
        return OpenOptions::new().write(true).create_new(true).open(path);
    }
    OpenOptions::new().write(true).create(true).truncate(true).custom_flags(libc::O_NOCTTY).open(path)
}

/// Takes away an unfinished result, if it is a file of its own.
pub fn remove_result(path: &Path) {
    let is_own = |path| is_of_the_system(path).is_ok_and(|system| !system);
    if is_own(path) && std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file()) {
        let _ = std::fs::remove_file(path);
    }
}

/// Returns whether `path` lies where the kernel and the system keep their own names.
fn is_of_the_system(path: &Path) -> io::Result<bool> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = std::fs::canonicalize(parent)?;
    Ok((parent.starts_with("/dev") && !parent.starts_with("/dev/shm")) || parent.starts_with("/proc"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// X55.
    #[test]
    fn links_are_replaced_but_not_those_of_the_system() {
        let directory = std::env::temp_dir().join(format!("rbuild-result-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let (canary, link) = (directory.join("canary"), directory.join("link"));
        std::fs::write(&canary, "canary").unwrap();
        std::os::unix::fs::symlink(&canary, &link).unwrap();
        create_result(&link).unwrap().write_all(b"result").unwrap();
        assert_eq!(std::fs::read(&canary).unwrap(), b"canary");
        assert_eq!(std::fs::read(&link).unwrap(), b"result");

        let mut file = File::options().read(true).write(true).create_new(true).open(directory.join("own")).unwrap();
        let name = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        create_result(Path::new(&name)).unwrap().write_all(b"result").unwrap();
        remove_result(Path::new(&name));
        io::Seek::rewind(&mut file).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "result");
        assert!(create_result(&directory.join("none/file")).is_err());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
