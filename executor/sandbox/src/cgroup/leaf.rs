//! One group for one box, from its making to its removal.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{CgroupError, read_number, v1, v2};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// One group for one box, perhaps with a directory in several hierarchies; dropping it removes it.
#[derive(Debug)]
pub struct Leaf {
    version: Version,
    /// Controller (empty for v2) and directory.
    dirs: Vec<(String, PathBuf)>,
    /// Directories above that we made, the lowest first.
    made: Vec<PathBuf>,
    /// Whether the group decides which devices can be opened.
    pub(super) devices_controlled: bool,
}

impl Leaf {
    pub(super) fn new(version: Version) -> Leaf {
        Leaf { version, dirs: Vec::new(), made: Vec::new(), devices_controlled: false }
    }

    /// Makes the directory `name` for a controller of v1 and returns it.
    pub(super) fn create(&mut self, controller: &str, folder: &Path, name: &str) -> Result<PathBuf, CgroupError> {
        let dir = folder.join(name);
        // Controllers mounted together share one directory.
        if !self.dirs.iter().any(|(_, known)| *known == dir) {
            let prepare = |dir: &Path| match controller {
                "cpuset" => v1::inherit_cpuset(dir),
                _ => Ok(()),
            };
            self.make(folder, &dir, prepare)?;
        }
        self.dirs.push((controller.to_owned(), dir.clone()));
        Ok(dir)
    }

    /// Makes the directory `name` of v2, enabling controllers from the top of the hierarchy down.
    pub(super) fn create_enabled(&mut self, top: &Path, folder: &Path, name: &str) -> Result<PathBuf, CgroupError> {
        let dir = folder.join(name);
        self.make(folder, &dir, |_| Ok(()))?;
        let mut above: Vec<&Path> = folder.ancestors().take_while(|dir| dir.starts_with(top)).collect();
        above.reverse();
        above.into_iter().for_each(v2::enable);
        self.dirs.push((String::new(), dir.clone()));
        Ok(dir)
    }

    /// Makes `dir` and what is missing above it; another engine may remove an empty folder meanwhile.
    fn make(
        &mut self,
        folder: &Path,
        dir: &Path,
        prepare: impl Fn(&Path) -> Result<(), CgroupError>,
    ) -> Result<(), CgroupError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CgroupError::Create { path, source }
        };
        for _ in 0..100 {
            match fs::create_dir(dir) {
                Ok(()) => return prepare(dir),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(dir)(error)),
            }
            let missing: Vec<&Path> = folder.ancestors().take_while(|dir| !dir.exists()).collect();
            for path in missing.into_iter().rev() {
                match fs::create_dir(path) {
                    Ok(()) => {
                        self.made.insert(0, path.to_owned());
                        prepare(path)?;
                    }
                    Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {}
                    Err(error) => return Err(failed(path)(error)),
                }
            }
        }
        Err(failed(dir)(io::Error::from(io::ErrorKind::NotFound)))
    }

    /// Tells whether the group decides which devices can be opened.
    pub fn controls_devices(&self) -> bool {
        self.devices_controlled
    }

    /// Returns controller and host directory of each part; the name is empty for v2.
    pub fn directories(&self) -> &[(String, PathBuf)] {
        &self.dirs
    }

    /// Returns the files into which a process of a single thread writes `0` to join.
    ///
    /// For v1 that is `tasks`: a thread that moves itself needs no lock on all forks of the system, which costs
    /// some ten milliseconds wherever it is not taken all the time.
    pub fn joins(&self) -> io::Result<Vec<OwnedFd>> {
        let mut dirs: Vec<&PathBuf> = self.dirs.iter().map(|(_, dir)| dir).collect();
        dirs.dedup();
        let file = match self.version {
            Version::V1 => "tasks",
            Version::V2 => "cgroup.procs",
        };
        let open = |dir: &PathBuf| fs::OpenOptions::new().write(true).open(dir.join(file));
        dirs.into_iter().map(|dir| open(dir).map(OwnedFd::from)).collect()
    }

    /// Returns the directory into which a process can be born, which v2 alone knows.
    pub fn birthplace(&self) -> Option<OwnedFd> {
        let dir = self.of("").filter(|_| self.version == Version::V2)?;
        fs::File::open(dir).ok().map(OwnedFd::from)
    }

    /// Tells whether the kernel killed something of the group for lack of memory.
    pub fn oom(&self) -> bool {
        match self.version {
            Version::V1 => self.of("memory").is_some_and(|dir| v1::oom_kills(dir) > 0),
            Version::V2 => self.of("").is_some_and(|dir| v2::oom_kills(dir) > 0),
        }
    }

    /// Returns what the group has used.
    pub fn stats(&self) -> crate::Stats {
        match self.version {
            Version::V1 => crate::Stats {
                cpu: self
                    .of("cpuacct")
                    .and_then(|dir| read_number(&dir.join("cpuacct.usage")))
                    .map(Duration::from_nanos),
                memory: self.of("memory").and_then(v1::memory_now),
                memory_peak: self.of("memory").and_then(v1::memory_peak),
                pids: self.of("pids").and_then(|dir| read_number(&dir.join("pids.current"))),
            },
            Version::V2 => {
                let dir = self.of("");
                let number = |file: &str| dir.and_then(|dir| read_number(&dir.join(file)));
                let cpu = dir.and_then(|dir| fs::read_to_string(dir.join("cpu.stat")).ok());
                crate::Stats {
                    cpu: cpu.and_then(|text| super::field(&text, "usage_usec")).map(Duration::from_micros),
                    memory: number("memory.current"),
                    memory_peak: number("memory.peak"),
                    pids: number("pids.current"),
                }
            }
        }
    }

    fn of(&self, controller: &str) -> Option<&Path> {
        self.dirs.iter().find(|(name, _)| name == controller).map(|(_, dir)| dir.as_path())
    }

    /// Kills whatever is in the group.
    pub fn kill(&self) {
        if let Some((_, dir)) = self.dirs.first() {
            kill(dir);
        }
    }

    /// Removes the group; its processes must be gone.
    pub fn remove(mut self) -> Result<(), CgroupError> {
        self.clear()
    }

    fn clear(&mut self) -> Result<(), CgroupError> {
        let mut dirs: Vec<PathBuf> = self.dirs.drain(..).map(|(_, dir)| dir).collect();
        dirs.dedup();
        let results: Vec<Result<(), CgroupError>> = dirs.iter().map(|dir| remove(dir)).collect();
        for path in self.made.drain(..).chain(dirs.iter().filter_map(|dir| dir.parent().map(Path::to_owned))) {
            // Others may still use it; the last one to leave removes it.
            let _ = fs::remove_dir(path);
        }
        results.into_iter().collect()
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // What cannot be removed now is found by the next engine's sweep.
        let _ = self.clear();
    }
}

/// Kills what is in a group left behind, and removes it.
pub(super) fn kill_and_remove(dir: &Path) -> Result<(), CgroupError> {
    kill(dir);
    remove(dir)
}

fn kill(dir: &Path) {
    if fs::write(dir.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // v1, or before 5.14: until nobody is left to fork.
    for _ in 0..100 {
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
            // It may have ended already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How long a dead process may take to leave its group: a busy machine is slow with it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removes a group, waiting for the kernel to forget processes that have just died.
fn remove(dir: &Path) -> Result<(), CgroupError> {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && begun.elapsed() < PATIENCE => {}
            Err(source) => return Err(CgroupError::Remove { path: dir.to_owned(), source }),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
