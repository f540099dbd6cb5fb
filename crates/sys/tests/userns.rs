//! `userns_`: entering a user namespace, as the ordinary users that this host has.
//!
//! A program of its own, since only a process with a single thread can enter. Root starts it again
//! as each kind of user: one to whom `/etc/subuid` gives a range, and `nobody`.

#![allow(clippy::print_stderr)] // a test harness speaks

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rbuild_sys::host::{Host, Privilege, Tools};
use rbuild_sys::userns::{self, Plan};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, place] = arguments.as_slice()
        && let Some(expect) = mode.strip_prefix("inside-")
    {
        inside(expect, Path::new(place));
        return ExitCode::from(7);
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("userns_enter: skipped: needs root to become other users");
        return ExitCode::SUCCESS;
    }
    run_as("single", 65534, 65534);
    match user_with_ranges() {
        Some((uid, gid)) if Tools::find().newuidmap.is_some() => run_as("ranges", uid, gid),
        _ => eprintln!("userns_enter with ranges: skipped: needs newuidmap and a user in /etc/subuid and /etc/subgid"),
    }
    ExitCode::SUCCESS
}

/// Finds a user with a range of both kinds.
fn user_with_ranges() -> Option<(u32, u32)> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (passwd, subuid, subgid) = (read("/etc/passwd"), read("/etc/subuid"), read("/etc/subgid"));
    let has = |text: &str, name: &str| text.lines().any(|line| line.split(':').next() == Some(name));
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
        let ids = (uid.parse().ok()?, gid.parse().ok()?);
        (has(&subuid, name) && has(&subgid, name) && ids.0 != 0).then_some(ids)
    })
}

/// Starts this program again as `uid`, in a place that everybody can reach.
fn run_as(expect: &str, uid: u32, gid: u32) {
    let place = PathBuf::from(format!("/tmp/rbuild-userns-{}-{expect}", std::process::id()));
    fs::create_dir(&place).unwrap();
    let program = place.join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::os::unix::fs::chown(&place, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let mode = format!("inside-{expect}");
    let status = Command::new(&program).arg(mode).arg(&place).uid(uid).gid(gid).status();
    fs::remove_dir_all(&place).unwrap();
    assert_eq!(status.unwrap().code(), Some(7), "the exit code is the program's own");
}

fn inside(expect: &str, place: &Path) {
    let (uid, pid) = (rustix::process::geteuid().as_raw(), std::process::id());
    assert_eq!(Host::detect().unwrap().privilege, Privilege::Ordinary);
    let entered = userns::enter(&Plan::of_process(&Tools::find(), None)).unwrap();
    let host = Host::detect().unwrap();
    assert_eq!((host.uid, host.gid, std::process::id()), (0, 0, pid));
    assert_eq!(entered.mapping.uids.to_outside(0), Some(uid));
    let file = place.join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
    let chowned = std::os::unix::fs::chown(&file, Some(33), Some(33));
    match expect {
        "ranges" => {
            assert_eq!(entered.single, None);
            assert_eq!(host.privilege, Privilege::UserNs(entered.mapping));
            chowned.unwrap();
        }
        _ => {
            assert!(entered.single.is_some());
            assert_eq!(host.privilege, Privilege::SingleId(entered.mapping));
            chowned.unwrap_err();
        }
    }
    // Children can be looked into through /proc, and mounts are ours.
    fs::read_link("/proc/self/fd/0").unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("none", place, "tmpfs", flags, None).unwrap();
    assert!(!place.join("file").exists());
    rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH).unwrap();
    // A file that belongs to another id of ours can only be removed from in here.
    fs::remove_file(&file).unwrap();
}
