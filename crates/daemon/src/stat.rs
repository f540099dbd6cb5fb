//! Files in the words of the protocol, whose modes are those of Go's standard library.

use std::ffi::OsStr;

use rbuild_buildkit_api::fsutil::Stat;
use rbuild_tree::{Device, Kind, Node, Time};

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHARACTER: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;

/// Returns a node under a name.
pub(crate) fn of(node: &Node, name: &OsStr) -> Stat {
    let metadata = &node.metadata;
    let target = metadata.kind.symlink_target().map(|target| target.to_string_lossy().into_owned());
    let device = match &metadata.kind {
        Kind::CharDevice(device) | Kind::BlockDevice(device) => *device,
        _ => Device::default(),
    };
    Stat {
        path: name.to_string_lossy().into_owned(),
        mode: mode(node),
        uid: metadata.uid,
        gid: metadata.gid,
        size: i64::try_from(metadata.size).unwrap_or(i64::MAX),
        mod_time: nanoseconds(metadata.mtime),
        linkname: target.unwrap_or_default(),
        devmajor: i64::from(device.major),
        devminor: i64::from(device.minor),
        ..Stat::default()
    }
}

fn nanoseconds(time: Time) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(time.nanoseconds))
}

fn mode(node: &Node) -> u32 {
    let bits = node.metadata.mode;
    let special = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];
    let special: u32 = special.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, flag)| flag).sum();
    let kind = match node.metadata.kind {
        Kind::Directory => DIRECTORY,
        Kind::Symlink(_) => SYMLINK,
        Kind::CharDevice(_) => DEVICE | CHARACTER,
        Kind::BlockDevice(_) => DEVICE,
        Kind::Fifo => FIFO,
        Kind::Socket => SOCKET,
        Kind::File => 0,
    };
    bits & 0o777 | special | kind
}
