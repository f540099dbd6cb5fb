//! All devices that are described on this host.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_graph::pb;
use rustix::fs::OFlags;

use super::DeviceError;
use super::spec::{self, Described, Spec};

/// Where descriptions lie: what the administrator wrote, then what programs made at boot, which wins.
const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The largest description that is read.
const LIMIT: u64 = 16 << 20;

/// Puts several devices under one name.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
/// Lets every build have the device.
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// All devices that are described on this host, by their qualified names (`vendor/class=name`).
#[derive(Debug, Default)]
pub(crate) struct Registry {
    devices: BTreeMap<String, Device>,
    /// Files that could not be read, and why.
    broken: Vec<String>,
}

/// A device with the file that describes it.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) spec: Arc<Spec>,
    at: usize,
}

impl Device {
    pub(super) fn described(&self) -> &Described {
        &self.spec.devices[self.at]
    }

    fn annotation(&self, name: &str) -> Option<String> {
        let own = self.described().annotations.get(name);
        own.or_else(|| self.spec.annotations.get(name)).map(ToString::to_string)
    }

    /// Whether the administrator lets every build have it.
    pub(super) fn allows_all(&self) -> bool {
        self.annotation(AUTO_ALLOW)
            .is_some_and(|text| matches!(text.as_str(), "1" | "t" | "T" | "true" | "True" | "TRUE"))
    }
}

/// A device that is described on this host, as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedDevice {
    /// Its qualified name (`vendor/class=name`).
    pub name: String,
    /// Whether the administrator lets every build have it.
    pub is_free: bool,
    /// What its description says of it besides.
    pub annotations: BTreeMap<String, String>,
}

/// Returns the devices that are described in `directories` now; none is the usual places.
pub fn described_devices(directories: &[PathBuf]) -> Vec<DescribedDevice> {
    let of = |(name, device): (&String, &Device)| {
        let all = device.spec.annotations.iter().chain(&device.described().annotations);
        let annotations = all.map(|(key, value)| (key.clone(), value.to_string())).collect();
        DescribedDevice { name: name.clone(), is_free: device.allows_all(), annotations }
    };
    Registry::scan(directories).devices.iter().map(of).collect()
}

impl Registry {
    /// Reads the descriptions in `directories`, those in the later ones winning; none is the usual places. A file
    /// that cannot be read is remembered, and told if a device is missing.
    pub(crate) fn scan(directories: &[PathBuf]) -> Registry {
        let usual = DIRECTORIES.map(PathBuf::from);
        let directories = if directories.is_empty() { usual.as_slice() } else { directories };
        let mut registry = Registry::default();
        for directory in directories {
            registry.add_directory(directory);
        }
        registry
    }

    fn add_directory(&mut self, directory: &Path) {
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| {
            file.extension().is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known))
        });
        files.sort();
        let mut here: BTreeMap<String, Option<Device>> = BTreeMap::new();
        for file in files {
            match read(&file) {
                Err(reason) => self.broken.push(format!("{}: {reason}", file.display())),
                Ok(spec) => {
                    let spec = Arc::new(spec);
                    for (at, described) in spec.devices.iter().enumerate() {
                        let name = format!("{}={}", spec.kind, described.name);
                        let device = Device { spec: spec.clone(), at };
                        // Two files of one directory that disagree: neither counts.
                        here.entry(name).and_modify(|found| *found = None).or_insert(Some(device));
                    }
                }
            }
        }
        for (name, device) in here {
            match device {
                Some(device) => drop(self.devices.insert(name, device)),
                None => {
                    self.broken.push(format!("{}: {name} is described by several files", directory.display()));
                    self.devices.remove(&name);
                }
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Device> {
        self.devices.get(name)
    }

    /// Returns the devices that a step's request means: one by its name, the first or all (`=*`) of a kind, or those
    /// of a class; none if it is optional and there is none.
    pub(super) fn find(&self, wanted: &pb::CdiDevice) -> Result<Vec<String>, DeviceError> {
        let (kind, name) = wanted.name.split_once('=').unwrap_or((&wanted.name, ""));
        let of_kind = || self.devices.keys().filter(|known| known.split_once('=').is_some_and(|(its, _)| its == kind));
        let mut found: Vec<String> = match name {
            _ if !spec::is_kind(kind) => Vec::new(),
            "" => of_kind().take(1).cloned().collect(),
            "*" => of_kind().cloned().collect(),
            _ => self.devices.keys().filter(|known| **known == wanted.name).cloned().collect(),
        };
        if found.is_empty() {
            let of_class = |device: &Device| device.annotation(CLASS).is_some_and(|class| class == wanted.name);
            found = self.devices.iter().filter(|(_, it)| of_class(it)).map(|(name, _)| name.clone()).collect();
        }
        if found.is_empty() && !wanted.optional {
            return Err(DeviceError::Unknown { name: wanted.name.clone(), broken: self.broken.clone() });
        }
        Ok(found)
    }
}

fn read(file: &Path) -> Result<Spec, String> {
    let mut text = String::new();
    // A pipe would keep us waiting for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(file, flags, rustix::fs::Mode::empty()).map_err(|error| error.to_string())?;
    let opened = std::fs::File::from(opened);
    if !opened.metadata().is_ok_and(|found| found.is_file()) {
        return Err("not a file".to_owned());
    }
    opened.take(LIMIT + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LIMIT {
        return Err(format!("larger than {LIMIT} bytes"));
    }
    spec::parse(&text)
}
