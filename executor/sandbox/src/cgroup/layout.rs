//! Where cgroups are mounted and where we are in them, read from the texts of `/proc/self`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Directories of our own groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Controller of v1 to the directory of its hierarchy.
    pub(crate) v1: BTreeMap<String, Place>,
    /// The unified hierarchy.
    pub(crate) v2: Option<Place>,
}

/// One hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// Directory of the group we are in, at or below `mount`.
    pub(crate) own: PathBuf,
}

impl Layout {
    /// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`.
    pub(crate) fn parse(mountinfo: &str, cgroup: &str) -> Layout {
        let mut layout = Layout::default();
        for line in mountinfo.lines() {
            let Some(mount) = parse_mount(line) else { continue };
            if mount.kind == "cgroup2" {
                if let Some(own) = own_path(cgroup, "").and_then(|own| below(&mount, own)) {
                    layout.v2.get_or_insert(own);
                }
                continue;
            }
            for controller in mount.options.split(',') {
                if let Some(own) = own_path(cgroup, controller).and_then(|own| below(&mount, own)) {
                    layout.v1.entry(controller.to_owned()).or_insert(own);
                }
            }
        }
        layout
    }
}

struct MountLine<'a> {
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

/// Takes a line apart if it is about cgroups: `36 25 0:31 /root /point rw shared:9 - cgroup src rw,memory`.
fn parse_mount(line: &str) -> Option<MountLine<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let kind = right.next().filter(|kind| kind.starts_with("cgroup"))?;
    let options = right.nth(1)?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (unescape(left.next()?), unescape(left.next()?));
    Some(MountLine { root, point, kind, options })
}

/// Undoes the octal escapes of blank, tab, newline and backslash.
fn unescape(text: &str) -> PathBuf {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push_str(&rest[..at]);
        let Some(code) = code else {
            plain.push('\\');
            rest = &rest[at + 1..];
            continue;
        };
        plain.push(char::from(code));
        rest = &rest[at + 4..];
    }
    plain.push_str(rest);
    PathBuf::from(plain)
}

/// Finds our path in the hierarchy of `controller`; the unified one has none: `0::/path`.
fn own_path<'a>(cgroup: &'a str, controller: &str) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let found = match controller {
            "" => number == "0" && controllers.is_empty(),
            name => controllers.split(',').any(|known| known == name),
        };
        found.then_some(path)
    })
}

/// Translates a path of the hierarchy to one of the host, if the mount shows it.
fn below(mount: &MountLine<'_>, own: &str) -> Option<Place> {
    let inside = Path::new(own).strip_prefix(&mount.root).ok()?;
    if inside.components().any(|part| part == std::path::Component::ParentDir) {
        return None;
    }
    let own = if inside.as_os_str().is_empty() { mount.point.clone() } else { mount.point.join(inside) };
    Some(Place { mount: mount.point.clone(), own })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(mount: &str, own: &str) -> Place {
        Place { mount: mount.into(), own: own.into() }
    }

    #[test]
    fn hybrid() {
        let mounts = "\
25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
28 25 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
29 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let own = "4:memory:/box/1\n3:cpu,cpuacct:/\n1:name=systemd:/\n0::/init.scope\n";
        let layout = Layout::parse(mounts, own);
        let cpu = place("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(layout.v1["cpu"], cpu);
        assert_eq!(layout.v1["cpuacct"], cpu);
        assert_eq!(layout.v1["memory"], place("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/box/1"));
        assert_eq!(layout.v2, Some(place("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/init.scope")));
    }

    #[test]
    fn unified_within_a_container() {
        let mounts = "30 25 0:26 /../../a /sys/fs/cg\\040roup ro,nosuid - cgroup2 cgroup rw,nsdelegate";
        assert_eq!(Layout::parse(mounts, "0::/\n").v2, None, "our group is not below that mount");
        let mounts = "30 25 0:26 / /sys/fs/cg\\040roup ro,nosuid - cgroup2 cgroup rw,nsdelegate";
        assert_eq!(Layout::parse(mounts, "0::/\n").v2, Some(place("/sys/fs/cg roup", "/sys/fs/cg roup")));
        let mounts = "30 25 0:26 /user/1 /cg rw - cgroup2 cgroup rw";
        assert_eq!(Layout::parse(mounts, "0::/user/1/x\n").v2, Some(place("/cg", "/cg/x")));
    }

    #[test]
    fn nothing_mounted() {
        assert_eq!(Layout::parse("garbage\n1 2 0:3 / / rw - ext4 /dev/vda rw\n", "0::/\n"), Layout::default());
    }
}
