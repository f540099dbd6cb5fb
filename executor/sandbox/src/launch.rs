//! The engine's side of a start: everything that must be open before, and the birth of the init.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rbuild_sys::clone::{self, Namespaces, Program};
use rbuild_sys::host::Host;
use rbuild_sys::mount::{self, Attributes, Depth};
use rbuild_sys::pidfd::Process;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

use crate::cgroup::{Cgroups, DevicePolicy, Leaf, Request, Rule};
use crate::error::SandboxError;
use crate::facts::{self, GroupFacts, HostFacts};
use crate::plan;
use crate::running::{Ends, Running};
use crate::spare::{self, Spare, WAIT};
use crate::spec::{BindSource, Devices, Handle, Network, SandboxSpec};
use crate::step::{DeviceNode, Plan, Source};
use crate::wire::{self, Launch, Report};
use crate::{INIT_NAME, seccomp};

/// What is needed to start boxes, found out once in a process.
#[derive(Debug)]
pub struct Sandbox {
    facts: HostFacts,
    cgroups: Cgroups,
    /// Our own binary, where nobody can write to it.
    image: OwnedFd,
    /// The init of the next box, if one was prepared.
    spare: Mutex<Option<Spare>>,
}

impl Sandbox {
    /// Looks at the host, then prepares as [`Sandbox::new`] does.
    pub fn detect() -> Result<Sandbox, SandboxError> {
        let host = Host::detect().map_err(SandboxError::host("looking at the host"))?;
        Sandbox::new(&host)
    }

    /// Looks for cgroups, removes those of dead engines, and clones our own binary read-only.
    pub fn new(host: &Host) -> Result<Sandbox, SandboxError> {
        Sandbox::with_facts(HostFacts::detect(host).map_err(SandboxError::host("looking at the host"))?)
    }

    /// Does the same for a host that is described, for instance as older than it is.
    pub fn with_facts(facts: HostFacts) -> Result<Sandbox, SandboxError> {
        let cgroups = Cgroups::detect(!facts.rootless).map_err(SandboxError::host("looking for cgroups"))?;
        Sandbox::with_cgroups(facts, cgroups)
    }

    /// Does the same with other cgroups than those that would be found.
    pub fn with_cgroups(facts: HostFacts, cgroups: Cgroups) -> Result<Sandbox, SandboxError> {
        cgroups.sweep();
        let image = own_image().map_err(SandboxError::host("preparing our own binary as init"))?;
        Ok(Sandbox { facts, cgroups, image, spare: Mutex::default() })
    }

    /// Starts an init for the next box, so that it is ready when that box is wanted. What fails here
    /// is met again, and told, when the box is started.
    pub fn prepare(&self) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_some() || self.cgroups.gives_birth() {
            return;
        }
        let Ok((control, theirs)) = control_socket() else { return };
        let argument = format!("{WAIT}{}", theirs.as_raw_fd());
        let namespaces = Namespaces::MOUNT | Namespaces::IPC | Namespaces::UTS | Namespaces::PID;
        let born = self.execute(argument, namespaces, &[theirs.as_fd()], None);
        *spare = born.ok().map(|process| Spare::new(process, control));
    }

    /// Returns what was found out about the host.
    pub fn facts(&self) -> &HostFacts {
        &self.facts
    }

    /// Starts a process; returns once the program is executed.
    ///
    /// `handles` are the descriptors that the spec names by index.
    pub fn start(&self, spec: &SandboxSpec, handles: Vec<OwnedFd>) -> Result<Running, SandboxError> {
        plan::handles(spec, handles.len())?;
        let devices = facts::devices(&spec.security.devices, self.facts.rootless)?;
        // Refused before anything is made on the host.
        plan::plan(spec, &HostFacts { devices: devices.clone(), ..self.facts.clone() })?;
        let (leaf, warnings) = self.group(spec, &devices)?;
        let group = leaf.as_ref().map(|leaf| GroupFacts {
            directories: leaf.directories().to_vec(),
            controls_devices: leaf.controls_devices(),
        });
        let facts = HostFacts { devices, group: group.unwrap_or_default(), ..self.facts.clone() };
        let plan = plan::plan(spec, &facts)?;
        let sources = plan.sources.iter().map(|source| open_source(source, &handles)).collect::<Result<Vec<_>, _>>()?;
        let inside = Inside { sources, handles };
        let (init, control, ends, plan) = self.launch(spec, plan, inside, leaf.as_ref())?;
        let mut running = Running::new(init, control, ends, leaf, warnings);
        await_start(&mut running, &plan)?;
        Ok(running)
    }

    /// Starts a further process in a box that runs: `spec` says what and with which rights, and what it says of the
    /// box itself is not looked at. The box takes the process along when it ends.
    ///
    /// # Errors
    /// If the box has ended, or for the reasons of [`Sandbox::start`].
    pub fn enter(
        &self,
        running: &Running,
        spec: &SandboxSpec,
        mut handles: Vec<OwnedFd>,
    ) -> Result<Running, SandboxError> {
        let mut spec = spec.clone();
        spec.mounts.clear();
        if spec.network != Network::Host {
            spec.network = Network::None;
        }
        plan::handles(&spec, handles.len())?;
        // Held until the program runs: the box is not cleaned up around it.
        let group = running.group();
        let directories = group.as_ref().map(|leaf| leaf.directories().to_vec()).unwrap_or_default();
        let facts = HostFacts { group: GroupFacts { directories, ..GroupFacts::default() }, ..self.facts.clone() };
        let plan = plan::enter(&spec, &facts, Handle(handles.len()))?;
        let init = running.init().try_clone_to_owned();
        handles.push(init.map_err(SandboxError::host("duplicating the descriptor of a box"))?);
        let inside = Inside { sources: Vec::new(), handles };
        let (init, control, ends, plan) = self.launch(&spec, plan, inside, group.as_ref())?;
        let mut running = Running::new(init, control, ends, None, Vec::new()).into_guest();
        await_start(&mut running, &plan)?;
        Ok(running)
    }

    fn group(&self, spec: &SandboxSpec, devices: &[DeviceNode]) -> Result<(Option<Leaf>, Vec<String>), SandboxError> {
        let policy = device_policy(&spec.security.devices, devices);
        let request = Request {
            parent: spec.cgroup_parent.as_deref(),
            limits: &spec.limits,
            own_tasks: u64::from(spec.init),
            devices: (!self.facts.rootless).then_some(&policy),
        };
        Ok(self.cgroups.create(&request)?)
    }

    fn launch(
        &self,
        spec: &SandboxSpec,
        plan: Plan,
        inside: Inside,
        leaf: Option<&Leaf>,
    ) -> Result<(Process, OwnedFd, Ends, Plan), SandboxError> {
        let pipes = plan::pipes(&spec.stdio);
        let (ends, theirs) = make_pipes(pipes).map_err(SandboxError::host("making pipes"))?;
        let filter = plan.filter.and_then(seccomp::default_filter).map(|filter| seccomp::pack(&filter));
        let launch = Launch {
            filter: filter.unwrap_or_default(),
            groups: 0,
            sources: inside.sources.len(),
            handles: inside.handles.len(),
            pipes,
            plan,
        };
        let rest =
            inside.sources.iter().chain(&inside.handles).chain(theirs.iter().flatten()).map(AsFd::as_fd).collect();
        let suits = spare::suits(spec, &launch.plan);
        let (launch, init, control) = self.bear(launch, leaf, suits, rest)?;
        Ok((init, control, ends, launch.plan))
    }

    /// Starts the init, in its cgroup if that is possible, else with what it needs to join.
    fn bear(
        &self,
        mut launch: Launch,
        leaf: Option<&Leaf>,
        spare_suits: bool,
        rest: Vec<BorrowedFd<'_>>,
    ) -> Result<(Launch, Process, OwnedFd), SandboxError> {
        let (control, theirs) = control_socket().map_err(SandboxError::host("making the control socket"))?;
        let failed = || SandboxError::host("starting the init in new namespaces");
        // A guest's init stays outside of the group.
        let birthplace = leaf.filter(|_| !launch.plan.guest).and_then(Leaf::birthplace);
        if let Some(place) = birthplace {
            let task = write_launch(&launch).map_err(SandboxError::host("writing the plan"))?;
            let inherit = [&[task.as_fd(), theirs.as_fd()], rest.as_slice()].concat();
            match self.birth(&launch.plan, &inherit, Some(place.as_fd())) {
                Err(error) if error.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => {}
                born => return Ok((launch, born.map_err(failed())?, control)),
            }
        }
        let joins = leaf.map(Leaf::joins).transpose().map_err(SandboxError::host("opening the cgroup"))?;
        let joins = joins.unwrap_or_default();
        launch.groups = joins.len();
        let task = write_launch(&launch).map_err(SandboxError::host("writing the plan"))?;
        let others = joins.iter().map(AsFd::as_fd).chain(rest);
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take_if(|_| spare_suits);
        let descriptors: Vec<_> = std::iter::once(task.as_fd()).chain(others.clone()).collect();
        if let Some((init, control)) = spare.and_then(|spare| spare.employ(&descriptors)) {
            return Ok((launch, init, control));
        }
        let inherit: Vec<_> = [task.as_fd(), theirs.as_fd()].into_iter().chain(others).collect();
        let born = self.birth(&launch.plan, &inherit, None).map_err(failed())?;
        Ok((launch, born, control))
    }

    fn birth(&self, plan: &Plan, inherit: &[BorrowedFd<'_>], place: Option<BorrowedFd<'_>>) -> io::Result<Process> {
        let numbers: Vec<String> = inherit.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let mut namespaces = match plan.guest {
            true => Namespaces::NONE,
            false => Namespaces::MOUNT | Namespaces::IPC | Namespaces::UTS,
        };
        if plan.init {
            namespaces = namespaces | Namespaces::PID;
        }
        if plan.new_network {
            namespaces = namespaces | Namespaces::NETWORK;
        }
        self.execute(numbers.join(","), namespaces, inherit, place)
    }

    fn execute(
        &self,
        argument: String,
        namespaces: Namespaces,
        inherit: &[BorrowedFd<'_>],
        place: Option<BorrowedFd<'_>>,
    ) -> io::Result<Process> {
        let arguments = [INIT_NAME.to_owned(), argument]
            .map(|text| CString::new(text).expect("fixed names and digits hold no NUL"));
        let program = Program { image: self.image.as_fd(), arguments: &arguments, environment: &[], inherit };
        clone::start(&program, namespaces, place)
    }
}

/// What only the init needs.
struct Inside {
    sources: Vec<OwnedFd>,
    handles: Vec<OwnedFd>,
}

fn device_policy(asked: &Devices, nodes: &[DeviceNode]) -> DevicePolicy {
    let access = |index: usize| match asked {
        Devices::With(devices) => devices[index].access.clone(),
        Devices::Default | Devices::All => "rwm".to_owned(),
    };
    let rules = nodes.iter().enumerate().map(|(index, node)| Rule {
        kind: if node.block { 'b' } else { 'c' },
        major: Some(node.major),
        minor: Some(node.minor),
        access: access(index),
    });
    match asked {
        Devices::All => DevicePolicy::All,
        Devices::Default | Devices::With(_) => DevicePolicy::default_with(rules),
    }
}

/// Returns a copy of our binary that a program inside cannot write to, even as root (CVE-2019-5736).
fn own_image() -> io::Result<OwnedFd> {
    let own = rustix::fs::open(c"/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let readonly = Attributes { readonly: true, nosuid: true, nodev: true, ..Attributes::default() };
    let clone = mount::clone_mount(own.as_fd(), Depth::One)
        .and_then(|clone| mount::restrict(clone.as_fd(), Depth::One, readonly).map(|()| clone));
    clone.or_else(|_| sealed_copy())
}

/// For kernels before 5.12, and binaries that were removed meanwhile.
fn sealed_copy() -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create(INIT_NAME, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(memory);
    io::copy(&mut File::open("/proc/self/exe")?, &mut copy)?;
    rustix::fs::fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    // A descriptor open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Clones the mount of a source while we are still in the namespace it belongs to.
fn open_source(source: &Source, handles: &[OwnedFd]) -> Result<OwnedFd, SandboxError> {
    let failed = |error: io::Error| SandboxError::Source { target: source.target.clone(), source: error };
    let depth = if source.recursive { Depth::Tree } else { Depth::One };
    match &source.from {
        BindSource::Handle(handle) => mount::clone_mount(handles[handle.0].as_fd(), depth).map_err(failed),
        BindSource::Path(path) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = rustix::fs::open(path, flags, Mode::empty());
            open.map_err(io::Error::from).and_then(|fd| mount::clone_mount(fd.as_fd(), depth)).map_err(failed)
        }
    }
}

/// Makes the pipes that are wanted: our ends, and theirs.
fn make_pipes(wanted: [bool; 3]) -> io::Result<(Ends, [Option<OwnedFd>; 3])> {
    let mut ours = [None, None, None];
    let mut theirs = [None, None, None];
    for number in (0..3).filter(|number| wanted[*number]) {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (our, their) = if number == 0 { (write, read) } else { (read, write) };
        (ours[number], theirs[number]) = (Some(our), Some(their));
    }
    let [stdin, stdout, stderr] = ours;
    Ok((Ends { stdin, stdout, stderr, terminal: None }, theirs))
}

/// Makes a control socket: our end, and the init's.
fn control_socket() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn write_launch(launch: &Launch) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("rbuild-plan", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(&serde_json::to_vec(launch)?)?;
    Ok(file.into())
}

/// Listens to the init until the program runs.
fn await_start(running: &mut Running, plan: &Plan) -> Result<(), SandboxError> {
    loop {
        let received = wire::receive(running.control()).map_err(SandboxError::host("listening to the init"))?;
        match received {
            Some((Report::Terminal, terminal)) => running.set_terminal(terminal),
            Some((Report::Started, _)) => return Ok(()),
            Some((Report::NotExecuted { message, code }, _)) => return Err(SandboxError::Exec { message, code }),
            Some((Report::Failed { step, reason, hint }, _)) => {
                let total = plan.steps.len();
                let step_name = plan.steps.get(step).map(ToString::to_string).unwrap_or_default();
                return Err(SandboxError::Step { index: step + 1, total, step: step_name, reason, hint });
            }
            Some((Report::Ended { .. }, _)) | None => return Err(running.died()),
        }
    }
}
