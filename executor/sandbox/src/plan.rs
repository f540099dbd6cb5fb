//! From a spec to the list of steps; pure.

mod check;
mod limits;

pub(crate) use check::handles;
pub(crate) use limits::resource;

use std::path::{Path, PathBuf};

use crate::error::SpecError;
use crate::facts::HostFacts;
use crate::spec::{
    Devices, Handle, Mount, MountKind, Network, RootSpec, SandboxSpec, Seccomp, Sensitive, Stdio, Stream,
};
use crate::step::{DeviceNode, Flags, Plan, Source, Step};

/// Returns the steps that build the box of `spec` on a host with `facts`.
pub fn plan(spec: &SandboxSpec, facts: &HostFacts) -> Result<Plan, SpecError> {
    check::check(spec, facts)?;
    let mut plan = Planner { spec, facts, steps: Vec::new(), sources: Vec::new() };
    plan.namespaces();
    plan.root();
    plan.kernel_mounts();
    plan.devices();
    plan.files();
    spec.mounts.iter().for_each(|mount| plan.mount(mount));
    plan.finish_root();
    plan.process(None)?;
    Ok(Plan {
        steps: plan.steps,
        sources: plan.sources,
        init: spec.init,
        guest: false,
        new_network: spec.network == Network::None,
        filter: (spec.security.seccomp == Seccomp::Default).then(|| capabilities(spec, facts)),
    })
}

/// Returns the steps that start a further process in a box that runs. `spec` describes the process; of what it says
/// of the box itself, only whether its network is the host's counts.
pub fn enter(spec: &SandboxSpec, facts: &HostFacts, process: Handle) -> Result<Plan, SpecError> {
    check::guest(spec, facts)?;
    let mut plan = Planner { spec, facts, steps: Vec::new(), sources: Vec::new() };
    plan.add(Step::Enter { process, network: spec.network != Network::Host });
    plan.resolve_user();
    plan.terminal();
    plan.process(Some(process))?;
    Ok(Plan {
        steps: plan.steps,
        sources: plan.sources,
        init: false,
        guest: true,
        new_network: false,
        filter: (spec.security.seccomp == Seccomp::Default).then(|| capabilities(spec, facts)),
    })
}

fn capabilities(spec: &SandboxSpec, facts: &HostFacts) -> crate::caps::CapSet {
    spec.security.capabilities.intersection(facts.capabilities)
}

struct Planner<'a> {
    spec: &'a SandboxSpec,
    facts: &'a HostFacts,
    steps: Vec<Step>,
    sources: Vec<Source>,
}

impl Planner<'_> {
    fn add(&mut self, step: Step) {
        self.steps.push(step);
    }

    fn namespaces(&mut self) {
        if !self.facts.group.directories.is_empty() {
            self.add(Step::JoinCgroup);
        }
        self.add(Step::UnshareCgroup);
        match self.spec.network {
            Network::None => self.add(Step::LoopbackUp),
            Network::Join(handle) => self.add(Step::JoinNetwork(handle)),
            Network::Host => {}
        }
        self.add(Step::PrivateMounts);
        self.add(Step::Scratch { size: self.scratch_size() });
    }

    /// Every file takes whole pages, of 64 KiB at most.
    fn scratch_size(&self) -> u64 {
        let file = |length: usize| (length as u64).next_multiple_of(64 << 10);
        let mounts = self.spec.mounts.iter().map(|mount| match &mount.kind {
            MountKind::Secret { content, .. } => file(content.0.len()),
            _ => 0,
        });
        let texts = [&self.spec.hosts, &self.spec.resolv_conf];
        let texts = texts.into_iter().flatten().map(|text| file(text.len()));
        (64 << 10) + mounts.sum::<u64>() + texts.sum::<u64>()
    }

    fn root(&mut self) {
        // Device nodes of an image are powerless: by the cgroup, else by the mount. (In a user namespace they
        // always are.)
        let nodev =
            !self.facts.rootless && !self.facts.group.controls_devices && self.spec.security.devices != Devices::All;
        let step = match &self.spec.root {
            RootSpec::Dir(path) => Step::RootDir { path: path.clone(), nodev },
            RootSpec::Overlay { lowers, upper, userxattr } => Step::RootOverlay {
                lowers: lowers.clone(),
                upper: upper.clone(),
                userxattr: *userxattr,
                one_by_one: self.facts.lowers_one_by_one,
                nodev,
            },
        };
        self.add(step);
        self.resolve_user();
    }

    fn resolve_user(&mut self) {
        self.add(Step::ResolveUser {
            user: self.spec.user.clone(),
            groups: self.spec.extra_groups.clone(),
            setgroups: self.facts.setgroups,
        });
    }

    fn kernel_mounts(&mut self) {
        let security = &self.spec.security;
        let readonly = !security.writable_sys || self.facts.rootless;
        self.add(Step::Proc);
        self.add(Step::Sys { readonly, bind_fallback: self.facts.rootless });
        if !self.facts.group.directories.is_empty() {
            let groups = self.facts.group.directories.clone();
            self.add(Step::CgroupView { groups, readonly });
        }
        for path in &security.readonly_paths {
            self.steps.push(Step::ReadonlyPath(path.clone()));
        }
    }

    fn devices(&mut self) {
        self.add(Step::Dev);
        let mut nodes: Vec<DeviceNode> = DEFAULT_DEVICES.iter().map(default_node).collect();
        nodes.extend(self.facts.devices.iter().cloned());
        for node in nodes {
            self.add(if self.facts.rootless { Step::BindNode(node) } else { Step::Node(node) });
        }
        self.add(Step::DevLinks);
        self.add(Step::Pts { gid: self.facts.tty_group });
        self.add(Step::Tmpfs {
            target: PathBuf::from("/dev/shm"),
            size: Some(self.spec.shm_size),
            mode: 0o1777,
            owner: (0, 0),
            flags: Flags::DATA,
        });
        self.add(Step::Mqueue);
        // Masks need /dev/null, and an empty directory of the scratch space.
        for path in &self.spec.security.masked_paths {
            self.steps.push(Step::Mask(path.clone()));
        }
    }

    fn files(&mut self) {
        let files = [("/etc/hosts", &self.spec.hosts), ("/etc/resolv.conf", &self.spec.resolv_conf)];
        for (target, text) in files {
            let Some(text) = text else { continue };
            self.steps.push(Step::File {
                target: PathBuf::from(target),
                content: Sensitive(text.clone().into_bytes()),
                mode: 0o644,
                owner: (0, 0),
                flags: Flags { readonly: !self.spec.writable_files, ..Flags::DATA },
            });
        }
    }

    fn mount(&mut self, mount: &Mount) {
        let target = mount.target.clone();
        let flags = Flags {
            readonly: mount.readonly,
            noexec: !mount.exec,
            nosuid: matches!(
                mount.kind,
                MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Bind { nosuid: true, .. }
            ),
            nodev: self.spec.security.devices != Devices::All,
        };
        let step = match &mount.kind {
            MountKind::Bind { source, recursive, .. } => {
                let recursive = *recursive;
                Step::Bind { source: self.source(source, recursive, &target), target, flags, recursive }
            }
            MountKind::Scratch { source, scratch, userxattr } => Step::Forgetful {
                source: self.source(source, false, &target),
                target,
                scratch: scratch.clone(),
                userxattr: *userxattr,
                one_by_one: self.facts.lowers_one_by_one,
                flags,
            },
            MountKind::Layers { lowers, selector, upper, userxattr } => Step::Layers {
                lowers: lowers.clone(),
                selector: selector.clone(),
                upper: upper.clone(),
                userxattr: *userxattr,
                one_by_one: self.facts.lowers_one_by_one,
                target,
                flags: Flags { readonly: mount.readonly || upper.is_none(), ..flags },
            },
            MountKind::Tmpfs { size, mode, owner } => {
                Step::Tmpfs { target, size: *size, mode: *mode, owner: *owner, flags }
            }
            MountKind::Secret { content, mode, owner } => {
                Step::File { target, content: content.clone(), mode: *mode, owner: *owner, flags }
            }
        };
        self.add(step);
    }

    fn source(&mut self, from: &crate::spec::BindSource, recursive: bool, target: &Path) -> usize {
        self.sources.push(Source { from: from.clone(), recursive, target: target.to_owned() });
        self.sources.len() - 1
    }

    fn finish_root(&mut self) {
        if self.spec.create_cwd {
            self.add(Step::MakeCwd(self.spec.cwd.clone()));
        }
        self.terminal();
        if self.spec.readonly_root {
            self.add(Step::ReadonlyRoot);
        }
        self.add(Step::Pivot);
        self.add(Step::Hostname(self.spec.hostname.clone()));
    }

    /// The program alone joins the group: its init must outlive the box, which is not gone before somebody has reaped
    /// the program.
    fn join(&mut self, process: Handle) {
        if !self.facts.group.directories.is_empty() {
            self.add(Step::JoinCgroup);
        }
        self.add(Step::EnterCgroup(process));
        if self.spec.security.apparmor.is_some() || self.spec.emulated.is_some() {
            // What lies at /proc of the box may not be what it was.
            self.add(Step::OwnProc);
        }
    }

    fn terminal(&mut self) {
        if let Stdio::Terminal { rows, columns } = self.spec.stdio {
            self.add(Step::Terminal { rows, columns });
        }
    }

    fn process(&mut self, guest: Option<Handle>) -> Result<(), SpecError> {
        let security = &self.spec.security;
        let capabilities = capabilities(self.spec, self.facts);
        let filter = (security.seccomp == Seccomp::Default).then_some(Step::Filter);
        self.add(Step::Start);
        if let Some(process) = guest {
            self.join(process);
        }
        self.add(match self.spec.stdio {
            Stdio::Streams { stdin, stdout, stderr } => Step::Streams([stdin, stdout, stderr]),
            Stdio::Terminal { .. } => Step::TerminalStreams,
        });
        self.add(Step::Rlimits(limits::rlimits(&self.spec.rlimits)?));
        self.steps.extend(security.apparmor.clone().map(Step::AppArmor));
        // Gives all capabilities inside, so it comes before they are limited.
        let handler = self.spec.emulated.clone().filter(|_| self.facts.own_handlers);
        let interpreted = self.spec.emulated.is_some() && handler.is_none();
        self.steps.extend(handler.map(Step::Emulate));
        self.add(Step::EnterCwd(self.spec.cwd.clone()));
        self.add(Step::Bounding(capabilities));
        if !security.no_new_privileges {
            // Without no_new_privs only a privileged process may install a filter.
            self.steps.extend(filter.clone());
        }
        self.add(Step::BecomeUser { setgroups: self.facts.setgroups });
        self.add(Step::Capabilities(capabilities));
        if security.no_new_privileges {
            self.add(Step::NoNewPrivileges);
            self.steps.extend(filter);
        }
        self.add(Step::Execute { args: self.spec.args.clone(), env: self.spec.env.clone(), interpreted });
        Ok(())
    }
}

/// Name and minor number of the memory devices; `tty` is 5:0.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

fn default_node(&(name, major, minor): &(&str, u32, u32)) -> DeviceNode {
    let path = Path::new("/dev").join(name);
    DeviceNode { source: path.clone(), target: path, block: false, major, minor, mode: 0o666, owner: None }
}

/// Returns which of the streams are pipes.
pub(crate) fn pipes(stdio: &Stdio) -> [bool; 3] {
    match stdio {
        Stdio::Streams { stdin, stdout, stderr } => [stdin, stdout, stderr].map(|stream| *stream == Stream::Pipe),
        Stdio::Terminal { .. } => [false; 3],
    }
}

#[cfg(test)]
mod tests;
