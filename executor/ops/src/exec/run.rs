//! One run of a step: from inputs to layers.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rbuild_events::Stream;
use rbuild_graph::{Operand, pb};
use rbuild_network::{ExtraHost, HostAddress, hosts_file};
use rbuild_oci::Platform;
use rbuild_sandbox::{Emulator, Limits, Network, Pids, Rlimit, RootSpec, SandboxSpec, Security, Upper, within_root};
use rbuild_solver::Context;
use rbuild_store::LayerId;

use super::given::Given;
use super::mounts::Mounts;
use super::output::pump;
use super::process::Process;
use super::user_error::ProcessFailed;
use crate::OpsError;
use crate::remains::Remains;
use crate::value::Ref;
use crate::worker::{Worker, Writable};

/// The name of the machine that a step sees, as BuildKit has it.
const HOSTNAME: &str = "buildkitsandbox";
/// Where programs are looked for if the op does not say.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A step about to run.
pub(crate) struct Step {
    pub(crate) worker: Arc<Worker>,
    pub(crate) op: Arc<pb::ExecOp>,
    /// What the step's programs are made for; none is this machine.
    pub(crate) platform: Option<Platform>,
    pub(crate) resources: Option<pb::LinuxResources>,
    pub(crate) ignore_cache: bool,
    /// What the client gives.
    pub(crate) given: Given,
    pub(crate) context: Context,
    pub(crate) process: Arc<Process>,
}

/// What is ready before the process of a step is known.
pub(crate) struct Prepared {
    pub(crate) emulator: Option<Emulator>,
    /// What the root is made of.
    pub(crate) layers: Vec<LayerId>,
    pub(crate) mounts: Mounts,
    pub(crate) writable: Writable,
}

impl Step {
    /// Runs the step and returns its outputs.
    pub(crate) fn run(&self, inputs: &[Ref]) -> Result<Vec<Ref>, OpsError> {
        let meta = self.meta()?;
        let root = self.root_mount()?;
        // Dropped last: by then the directories of the step are gone, too.
        let _busy;
        let mut prepared = self.prepare(inputs)?;
        _busy = self.process.begin().ok_or(OpsError::GivenUp)?;
        if let Err(error) = self.attempt(meta, &mut prepared) {
            return Err(match self.worker.keeps_remains() && !self.process.is_given_up() {
                true => error.leaving(self.remains(inputs, prepared)),
                false => error,
            });
        }
        let Prepared { layers, mut mounts, writable, .. } = prepared;
        let mut outputs = vec![None; self.outputs()];
        let done = std::mem::take(&mut mounts.outputs);
        if let Ok(output) = usize::try_from(root.output) {
            let layer = self.worker.commit(writable)?;
            outputs[output] = Some(Ref::Layers(layers.into_iter().chain([layer]).collect()));
        }
        for (output, below, writable) in done {
            let layers = match writable {
                Some(writable) => below.into_iter().chain([self.worker.commit(writable)?]).collect(),
                None => below,
            };
            outputs[output] = Some(Ref::Layers(layers));
        }
        outputs.into_iter().collect::<Option<_>>().ok_or(OpsError::Graph("an output that no mount makes"))
    }

    /// Runs the process to its end.
    fn attempt(&self, meta: &pb::Meta, prepared: &mut Prepared) -> Result<(), OpsError> {
        let mut spec = self.box_spec(&mut prepared.mounts, &prepared.writable)?;
        let mut handles = std::mem::take(&mut prepared.mounts.handles);
        let lease = self.wire(meta, &mut spec, &mut handles)?;
        if let Some(emulator) = prepared.emulator.take() {
            emulator.install(&mut spec, &mut handles);
        }
        let exit = self.execute(&spec, handles, &meta.args)?;
        drop(lease);
        self.check(exit, meta)
    }

    /// Keeps what the mounts hold after a failure. What cannot be kept is as it was given.
    fn remains(&self, inputs: &[Ref], prepared: Prepared) -> Remains {
        let given = |mount: &pb::Mount| match Operand::of(mount.input, inputs.len()) {
            Operand::Input(input) => Some(inputs[input].clone()),
            Operand::Scratch | Operand::Action(_) => None,
        };
        let given: Vec<Option<Ref>> = self.op.mounts.iter().map(given).collect();
        let mut left = given.clone();
        let mut keep = |is: &dyn Fn(&pb::Mount) -> bool, below: Vec<LayerId>, writable: Writable| {
            let index = self.op.mounts.iter().position(is);
            if let (Some(index), Ok(layer)) = (index, self.worker.commit(writable)) {
                left[index] = Some(Ref::Layers(below.into_iter().chain([layer]).collect()));
            }
        };
        let Prepared { layers, mounts, writable, .. } = prepared;
        keep(&|mount| mount.dest == pb::ROOT_MOUNT, layers, writable);
        for (output, below, writable) in mounts.outputs {
            let is = |mount: &pb::Mount| usize::try_from(mount.output) == Ok(output);
            writable.into_iter().for_each(|writable| keep(&is, below.clone(), writable));
        }
        for (dest, below, writable) in mounts.spare {
            keep(&|mount| mount.dest == dest, below, writable);
        }
        Remains { inputs: given, mounts: left, part: None }
    }

    pub(super) fn meta(&self) -> Result<&pb::Meta, OpsError> {
        self.op.meta.as_ref().ok_or(OpsError::Graph("an exec op without a process"))
    }

    /// Makes ready what does not depend on the process.
    pub(crate) fn prepare(&self, inputs: &[Ref]) -> Result<Prepared, OpsError> {
        let emulator = self.emulator()?;
        let layers = match Operand::of(self.root_mount()?.input, inputs.len()) {
            Operand::Input(input) => self.worker.layers(&inputs[input])?,
            _ => Vec::new(),
        };
        let lowers = self.worker.trees(&self.context, &layers)?;
        let mounts = Mounts::prepare(self, inputs)?;
        let writable = self.worker.prepare(&lowers, self.context.name())?;
        Ok(Prepared { emulator, layers, mounts, writable })
    }

    /// Returns the box of the process, but for its network.
    pub(crate) fn box_spec(&self, mounts: &mut Mounts, writable: &Writable) -> Result<SandboxSpec, OpsError> {
        let mut spec = self.spec(self.meta()?, self.root_spec(writable)?)?;
        spec.readonly_root = self.root_mount()?.readonly;
        spec.mounts = std::mem::take(&mut mounts.mounts);
        spec.env.append(&mut mounts.env);
        if !self.op.cdi_devices.is_empty() {
            self.worker.device_registry().edit(&mut spec, &self.op.cdi_devices)?;
        }
        spec.env = last_of_each(spec.env);
        Ok(spec)
    }

    /// Returns what runs programs of the step's platform, if this machine does not.
    fn emulator(&self) -> Result<Option<Emulator>, OpsError> {
        let Some(platform) = &self.platform else { return Ok(None) };
        Ok(Emulator::find(platform, self.worker.session().search_path().as_deref())?)
    }

    fn root_mount(&self) -> Result<&pb::Mount, OpsError> {
        let root = self.op.mounts.iter().find(|mount| mount.dest == pb::ROOT_MOUNT);
        root.ok_or(OpsError::Graph("an exec op without a root mount"))
    }

    fn outputs(&self) -> usize {
        let outputs = self.op.mounts.iter().filter(|mount| mount.mount_type() == pb::MountType::Bind);
        outputs.map(|mount| usize::try_from(mount.output + 1).unwrap_or(0)).max().unwrap_or(0)
    }

    /// Nothing below means that the new layer is the whole root.
    fn root_spec(&self, writable: &Writable) -> Result<RootSpec, OpsError> {
        let mut lowers = writable.lowers();
        if lowers.is_empty() {
            return Ok(RootSpec::Dir(writable.upper()));
        }
        if lowers.len() < rbuild_snapshot::MAX_LOWERS {
            lowers.push(self.worker.mount_points()?);
        }
        let upper = Upper { upper: writable.upper(), work: writable.work(), volatile: true };
        Ok(RootSpec::Overlay { lowers, upper: Some(upper), userxattr: self.worker.userxattr() })
    }

    fn spec(&self, meta: &pb::Meta, root: RootSpec) -> Result<SandboxSpec, OpsError> {
        let mut spec = SandboxSpec::new(root, meta.args.clone());
        spec.env = environment(meta);
        spec.cwd = within_root(Path::new(&meta.cwd));
        spec.create_cwd = true;
        spec.user.clone_from(&meta.user);
        spec.hostname = if meta.hostname.is_empty() { HOSTNAME.to_owned() } else { meta.hostname.clone() };
        if self.op.security() == pb::SecurityMode::Insecure {
            spec.security = Security::insecure();
        }
        spec.rlimits = meta.ulimit.iter().map(rlimit).collect();
        spec.limits = self.resources.as_ref().map(limits).unwrap_or_default();
        spec.cgroup_parent = Some(&meta.cgroup_parent).filter(|parent| !parent.is_empty()).map(PathBuf::from);
        Ok(spec)
    }

    /// Gives the process its network, and the files that tell of it.
    pub(crate) fn wire(
        &self,
        meta: &pb::Meta,
        spec: &mut SandboxSpec,
        handles: &mut Vec<std::os::fd::OwnedFd>,
    ) -> Result<rbuild_network::Lease, OpsError> {
        let mode = match self.op.network() {
            pb::NetMode::Unset => self.worker.default_network(),
            pb::NetMode::Host => rbuild_network::Network::Host,
            pb::NetMode::None => rbuild_network::Network::None,
        };
        let mut lease = self.worker.network().acquire(mode)?;
        if self.op.security() == pb::SecurityMode::Insecure {
            lease.taint();
        }
        spec.network = match (mode, lease.netns()) {
            (rbuild_network::Network::Host, _) => Network::Host,
            (_, None) => Network::None,
            (_, Some(namespace)) => {
                let namespace = namespace.try_clone_to_owned();
                handles.push(namespace.map_err(|error| OpsError::io("duplicating a network namespace", error))?);
                Network::Join(rbuild_sandbox::Handle(handles.len() - 1))
            }
        };
        let extra = meta.extra_hosts.iter().map(extra_host).collect::<Result<Vec<_>, _>>()?;
        let hosts = hosts_file(&spec.hostname, None, lease.host_gateway(), &extra);
        spec.hosts = Some(hosts.map_err(OpsError::Hosts)?);
        spec.resolv_conf = Some(lease.resolv_conf().to_owned());
        Ok(lease)
    }

    fn execute(
        &self,
        spec: &SandboxSpec,
        handles: Vec<std::os::fd::OwnedFd>,
        args: &[String],
    ) -> Result<rbuild_sandbox::Exit, OpsError> {
        let sandbox = self.worker.sandbox()?;
        let mut running = sandbox.start(spec, handles).map_err(|error| not_started(error, args))?;
        for warning in running.warnings() {
            self.worker.warn_once(&self.context, warning);
        }
        let streams = [(running.take_stdout(), Stream::Stdout), (running.take_stderr(), Stream::Stderr)];
        let running = Arc::new(running);
        if !self.process.started(&running) {
            let _ = running.destroy();
        }
        // The next step is likely to need one, and this one's program has begun.
        sandbox.prepare();
        let written = AtomicU64::new(0);
        let exit = std::thread::scope(|scope| {
            for (fd, stream) in streams {
                let Some(fd) = fd else { continue };
                scope.spawn({
                    let written = &written;
                    move || pump(fd, stream, &self.context, written)
                });
            }
            running.wait()
        });
        Ok(exit?)
    }

    fn check(&self, exit: rbuild_sandbox::Exit, meta: &pb::Meta) -> Result<(), OpsError> {
        let code = i32::from(exit.code);
        let valid = if meta.valid_exit_codes.is_empty() { code == 0 } else { meta.valid_exit_codes.contains(&code) };
        if valid {
            return Ok(());
        }
        let command = meta.args.join(" ");
        Err(OpsError::Process(ProcessFailed { command, code, out_of_memory: exit.oom, reason: None }))
    }
}

pub(super) fn rlimit(limits: &pb::Ulimit) -> Rlimit {
    let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    Rlimit { name: limits.name.clone(), soft: limit(limits.soft), hard: limit(limits.hard) }
}

fn extra_host(host: &pb::HostIp) -> Result<ExtraHost, OpsError> {
    let address = match host.ip.as_str() {
        "host-gateway" => HostAddress::Gateway,
        ip => HostAddress::Ip(ip.parse().map_err(|_| {
            let (host, address) = (host.host.escape_debug().to_string(), ip.escape_debug().to_string());
            OpsError::HostAddress { host, address }
        })?),
    };
    Ok(ExtraHost { name: host.host.clone(), address })
}

/// A program that is not there ended badly, as a shell would say; all else is the engine's failure.
pub(super) fn not_started(error: rbuild_sandbox::SandboxError, args: &[String]) -> OpsError {
    match error.exec_code() {
        Some(code) => {
            let (command, reason) = (args.join(" "), Some(error.to_string()));
            OpsError::Process(ProcessFailed { command, code: code.into(), out_of_memory: false, reason })
        }
        None => error.into(),
    }
}

/// The environment of the process: its own, then proxies, which never count for the cache; `PATH` always.
pub(super) fn environment(meta: &pb::Meta) -> Vec<String> {
    let mut env = meta.env.clone();
    let proxy = meta.proxy_env.clone().unwrap_or_default();
    let proxies = [
        ("HTTP_PROXY", &proxy.http_proxy),
        ("HTTPS_PROXY", &proxy.https_proxy),
        ("FTP_PROXY", &proxy.ftp_proxy),
        ("NO_PROXY", &proxy.no_proxy),
        ("ALL_PROXY", &proxy.all_proxy),
    ];
    for (name, value) in proxies.into_iter().filter(|(_, value)| !value.is_empty()) {
        env.push(format!("{name}={value}"));
        env.push(format!("{}={value}", name.to_ascii_lowercase()));
    }
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.push(DEFAULT_PATH.to_owned());
    }
    env
}

/// Leaves the last of variables that are set several times: programs would take the first.
pub(super) fn last_of_each(env: Vec<String>) -> Vec<String> {
    let name = |variable: &String| variable.split('=').next().unwrap_or_default().to_owned();
    let mut seen = HashSet::new();
    let mut last: Vec<String> = env.into_iter().rev().filter(|variable| seen.insert(name(variable))).collect();
    last.reverse();
    last
}

fn limits(resources: &pb::LinuxResources) -> Limits {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Limits {
        memory: u64::try_from(resources.memory).ok().filter(|memory| *memory > 0),
        memory_swap: Some(resources.memory_swap).filter(|swap| *swap != 0),
        cpu_shares: Some(resources.cpu_shares).filter(|shares| *shares > 0),
        cpu_quota: Some(resources.cpu_quota).filter(|quota| *quota != 0),
        cpu_period: Some(resources.cpu_period).filter(|period| *period > 0),
        cpuset_cpus: text(&resources.cpuset_cpus),
        cpuset_mems: text(&resources.cpuset_mems),
        pids: Pids::Default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // items: A010 R002 M018
    #[test]
    fn variables_of_a_process() {
        let proxy = |http: &str| pb::ProxyEnv { http_proxy: http.to_owned(), ..Default::default() };
        let env = |own: &[&str], proxy: Option<pb::ProxyEnv>, secrets: &[&str]| {
            let text = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            let meta = pb::Meta { env: text(own), proxy_env: proxy, ..pb::Meta::default() };
            last_of_each(environment(&meta).into_iter().chain(text(secrets)).collect()).join(" ")
        };
        assert_eq!(env(&["PATH=/b", "A=1"], None, &[]), "PATH=/b A=1");
        assert_eq!(env(&["A=1"], None, &[]), format!("A=1 {DEFAULT_PATH}"));
        assert_eq!(env(&["PATH=/b"], Some(proxy("p")), &[]), "PATH=/b HTTP_PROXY=p http_proxy=p");
        assert_eq!(env(&["PATH=/b"], Some(proxy("")), &[]), "PATH=/b");
        // A secret goes before ENV, a proxy before ARG: what comes last counts.
        assert_eq!(env(&["T=plain", "PATH=/b"], None, &["T=secret"]), "PATH=/b T=secret");
        assert_eq!(env(&["PATH=/b", "http_proxy=a"], Some(proxy("p")), &[]), "PATH=/b HTTP_PROXY=p http_proxy=p");
    }

    #[test]
    fn addresses_of_hosts() {
        let address = |ip: &str| {
            let host = pb::HostIp { host: "h".to_owned(), ip: ip.to_owned() };
            extra_host(&host).map(|host| host.address).map_err(|error| error.to_string())
        };
        assert!(matches!(address("::1"), Ok(HostAddress::Ip(_))));
        assert!(matches!(address("host-gateway"), Ok(HostAddress::Gateway)));
        for bad in ["", "localhost", "1.2.3"] {
            let error = address(bad).err().unwrap_or_default();
            assert!(error.contains("neither an IP address nor host-gateway"), "{bad}: {error}");
        }
    }
}
