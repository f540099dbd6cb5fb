//! Control groups: v1, hybrid and v2 behind one type.
//!
//! Every box gets a leaf `rbuild/<owner>-<n>` in each hierarchy it needs, below the group we are in (v1) or
//! below one whose controllers we can have (v2), or below a parent the caller names. Leaves are removed when
//! the box ends; those of killed engines at the next start.

mod devices;
mod layout;
mod leaf;
mod name;
mod v1;
mod v2;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub use devices::{DevicePolicy, Rule};
pub use leaf::Leaf;

use layout::{Layout, Place};
use name::Owner;

use crate::spec::{Limits, Pids};

/// Tasks a box may have where nothing else is said.
pub const DEFAULT_PIDS: u64 = 4096;

/// Directory in which our leaves lie.
const FOLDER: &str = "rbuild";

/// Why a group could not be made, joined or limited.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// A limit was asked for that nothing here can keep.
    #[error("a limit needs the cgroup controller `{controller}`, which is not available: {reason}")]
    Unavailable {
        /// The controller.
        controller: &'static str,
        /// Why.
        reason: String,
    },
    /// A file of a group refused what was written.
    #[error("writing `{value}` to `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A group could not be made.
    #[error("creating cgroup `{}`{}", path.display(), hint(source))]
    Create {
        /// The group.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A group could not be removed.
    #[error("removing cgroup `{}`", path.display())]
    Remove {
        /// The group.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A parent that is not a path of the hierarchy.
    #[error("cgroup parent `{0}` must be absolute and without `..`")]
    Parent(String),
}

/// Says what gives an ordinary user cgroups.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (limits without root need a delegated cgroup, such as `systemd-run --user --scope -p Delegate=yes` makes)"
        }
        _ => "",
    }
}

/// The cgroups of this host as far as we may use them.
#[derive(Debug)]
pub struct Cgroups {
    kind: Kind,
    owner: Owner,
    next: AtomicU64,
}

#[derive(Debug)]
enum Kind {
    V1(Layout),
    V2(Place),
    None(String),
}

/// What a new group is for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Parent in the hierarchy, instead of the group we are in.
    pub parent: Option<&'a Path>,
    /// Limits.
    pub limits: &'a Limits,
    /// Tasks of ours that come on top of the limit.
    pub own_tasks: u64,
    /// Devices; `None` where device nodes are powerless anyway.
    pub devices: Option<&'a DevicePolicy>,
}

impl Cgroups {
    /// Looks where cgroups are mounted; `root` tells whether we own the host rather than a user namespace.
    pub fn detect(root: bool) -> io::Result<Cgroups> {
        let read = |path: &str| fs::read_to_string(path);
        Cgroups::described(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup").unwrap_or_default(), root)
    }

    /// Takes the texts of `/proc/self/mountinfo` and `/proc/self/cgroup` as they are given.
    pub fn described(mountinfo: &str, cgroup: &str, root: bool) -> io::Result<Cgroups> {
        let layout = Layout::parse(mountinfo, cgroup);
        let owner = Owner::this_process()?;
        let kind = match layout.v2.clone() {
            _ if ["memory", "pids", "devices", "cpu"].iter().any(|name| layout.v1.contains_key(*name)) => {
                Kind::V1(layout)
            }
            // Root owns the whole hierarchy: below its top, controllers can be had without moving anybody.
            Some(place) if root => Kind::V2(Place { own: place.mount.clone(), ..place }),
            Some(place) => Kind::V2(place),
            None => Kind::None("no cgroup file system is mounted".to_owned()),
        };
        Ok(Cgroups { kind, owner, next: AtomicU64::new(1) })
    }

    /// Returns an instance that can make no groups, for `reason`.
    pub fn none(reason: &str) -> io::Result<Cgroups> {
        Ok(Cgroups { kind: Kind::None(reason.to_owned()), owner: Owner::this_process()?, next: AtomicU64::new(1) })
    }

    /// Whether processes are born in their group rather than moved there.
    pub(crate) fn gives_birth(&self) -> bool {
        matches!(self.kind, Kind::V2(_))
    }

    /// Returns which hierarchy limits steps, in a few words.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::V1(layout) => {
                format!("v1 ({})", layout.v1.keys().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
            Kind::V2(_) => "v2".to_owned(),
            Kind::None(reason) => format!("none: {reason}"),
        }
    }

    /// Removes groups whose engine is gone, with what may still run in them; returns how many.
    pub fn sweep(&self) -> usize {
        let folders: Vec<PathBuf> = match &self.kind {
            Kind::V1(layout) => layout.v1.values().map(|place| place.own.join(FOLDER)).collect(),
            Kind::V2(place) => vec![place.own.join(FOLDER)],
            Kind::None(_) => Vec::new(),
        };
        folders.iter().map(|folder| self.sweep_folder(folder)).sum()
    }

    fn sweep_folder(&self, folder: &Path) -> usize {
        let Ok(entries) = fs::read_dir(folder) else { return 0 };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let stale: Vec<PathBuf> =
            names.filter(|name| self.owner.is_stale(name)).map(|name| folder.join(name)).collect();
        let removed = stale.iter().filter(|dir| leaf::kill_and_remove(dir).is_ok()).count();
        if removed > 0 {
            // Only an empty folder goes.
            let _ = fs::remove_dir(folder);
        }
        removed
    }

    /// Makes a group; `None` with a warning where nothing was insisted on and nothing can be had.
    pub fn create(&self, request: &Request<'_>) -> Result<(Option<Leaf>, Vec<String>), CgroupError> {
        check_parent(request.parent)?;
        let name = self.owner.name(self.next.fetch_add(1, Ordering::Relaxed));
        let made = match &self.kind {
            Kind::V1(layout) => create_v1(layout, &name, request),
            Kind::V2(place) => create_v2(place, &name, request),
            Kind::None(reason) => Err(unavailable(request.limits, reason)),
        };
        match made {
            Ok((leaf, warnings)) => Ok((Some(leaf), warnings)),
            Err(error) if insisted(request) => Err(error),
            Err(CgroupError::Create { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok((
                None,
                vec!["the number of processes is not limited: no cgroup is delegated to this user".to_owned()],
            )),
            Err(error) => {
                let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
                Ok((None, vec![format!("the number of processes is not limited: {error}{why}")]))
            }
        }
    }
}

fn insisted(request: &Request<'_>) -> bool {
    request.parent.is_some() || !v1::needed(request.limits, matches!(request.limits.pids, Pids::Max(_))).is_empty()
}

fn unavailable(limits: &Limits, reason: &str) -> CgroupError {
    let controller = v1::needed(limits, true).first().copied().unwrap_or("pids");
    CgroupError::Unavailable { controller, reason: reason.to_owned() }
}

fn check_parent(parent: Option<&Path>) -> Result<(), CgroupError> {
    let Some(parent) = parent else { return Ok(()) };
    let climbs = parent.components().any(|part| part == std::path::Component::ParentDir);
    if climbs || !parent.is_absolute() {
        return Err(CgroupError::Parent(parent.display().to_string()));
    }
    Ok(())
}

/// Returns the folder for our leaves in a hierarchy.
fn folder(place: &Place, parent: Option<&Path>) -> PathBuf {
    match parent {
        Some(parent) => place.mount.join(parent.strip_prefix("/").unwrap_or(parent)).join(FOLDER),
        None => place.own.join(FOLDER),
    }
}

fn pids(request: &Request<'_>) -> Option<u64> {
    match request.limits.pids {
        Pids::Default => Some(DEFAULT_PIDS + request.own_tasks),
        Pids::Max(max) => Some(max.saturating_add(request.own_tasks)),
        Pids::Unlimited => None,
    }
}

fn create_v1(layout: &Layout, name: &str, request: &Request<'_>) -> Result<(Leaf, Vec<String>), CgroupError> {
    let needed = v1::needed(request.limits, pids(request).is_some());
    let mut wanted = vec!["memory"];
    wanted.extend(request.devices.map(|_| "devices"));
    wanted.extend(needed.iter().filter(|name| **name != "memory"));
    let mut leaf = Leaf::new(leaf::Version::V1);
    let mut warnings = Vec::new();
    for controller in wanted {
        let Some(place) = layout.v1.get(controller) else {
            // Without its controller a limit does not exist; the default limit on tasks is worth a warning.
            let default_pids = controller == "pids" && request.limits.pids == Pids::Default;
            if default_pids {
                warnings.push("the number of processes is not limited: no cgroup controller `pids`".to_owned());
            } else if needed.contains(&controller) {
                return Err(CgroupError::Unavailable { controller, reason: "it is not mounted".to_owned() });
            }
            continue;
        };
        let dir = leaf.create(controller, &folder(place, request.parent), name)?;
        if controller == "devices" {
            request.devices.map_or(Ok(()), |policy| v1::devices(&dir, policy))?;
            leaf.devices_controlled = true;
        } else {
            v1::set(&dir, controller, request.limits, pids(request))?;
        }
    }
    Ok((leaf, warnings))
}

fn create_v2(place: &Place, name: &str, request: &Request<'_>) -> Result<(Leaf, Vec<String>), CgroupError> {
    let folder = folder(place, request.parent);
    let mut leaf = Leaf::new(leaf::Version::V2);
    let dir = leaf.create_enabled(&place.mount, &folder, name)?;
    if request.parent.is_none() && place.own != place.mount && v2::controllers(&dir).is_empty() {
        v2::make_room(&place.own);
        v2::enable(&place.own);
        v2::enable(&folder);
    }
    // Processes are born into a group of v2, so even the init of a program that is process 1 is there.
    let request = &Request { own_tasks: 1, ..*request };
    let offered = v2::controllers(&dir);
    let has = |controller: &str| offered.iter().any(|name| name == controller);
    let mut warnings = Vec::new();
    let mut pids = pids(request);
    if request.limits.pids == Pids::Default && !has("pids") {
        warnings.push("the number of processes is not limited: no cgroup controller `pids`".to_owned());
        pids = None;
    }
    if let Some(controller) = v1::needed(request.limits, pids.is_some()).into_iter().find(|name| !has(name)) {
        let reason = "it is not delegated to us (try `systemd-run --user --scope -p Delegate=yes`)".to_owned();
        return Err(CgroupError::Unavailable { controller, reason });
    }
    v2::set(&dir, request.limits, pids)?;
    if let Some(policy) = request.devices {
        // Without BPF the caller mounts the root `nodev` instead.
        leaf.devices_controlled = v2::devices(&dir, policy).is_ok();
    }
    Ok((leaf, warnings))
}

fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    use std::io::Write as _;
    let result = fs::OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(value.as_bytes()));
    result.map_err(|source| CgroupError::Write { path: path.to_owned(), value: value.to_owned(), source })
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Returns the number after `key` in lines of `key number`.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
