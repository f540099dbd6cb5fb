//! Containers of frontends: the box of a step that lives as long as the frontend wants, for any number of processes.
//!
//! The first process is the box's own, and the box ends with it; further ones join it. What is written is thrown away.
//! Everything but making and starting blocks.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use rbuild_graph::pb;
use rbuild_network::Lease;
use rbuild_oci::{Digest, Platform};
use rbuild_sandbox::{Mount, MountKind, Running, SandboxSpec, Security, Sensitive, Stdio, Stream, within_root};
use rbuild_snapshot::{LayerForm, MergedView};
use rbuild_solver::Context;
use rbuild_tree::Node;

use super::given::Given;
use super::mounts::{Mounts, secret_variable};
use super::process::Process;
use super::run::{self, Prepared, Step};
use super::user_error::ProcessFailed;
use crate::inspect::{self, FileRange};
use crate::value::Ref;
use crate::worker::{Worker, Writable};
use crate::{OpsError, blocking};

/// Where programs of Windows are looked for.
const WINDOWS_PATH: &str = r"PATH=c:\Windows\System32;c:\Windows;C:\Windows\System32\WindowsPowerShell\v1.0";

/// A container that is asked for.
#[derive(Default)]
pub struct ContainerRequest {
    /// What it is called.
    pub name: String,
    /// What is mounted, the root among it, and the result that a mount shows.
    pub mounts: Vec<(pb::Mount, Option<Ref>)>,
    /// Files besides, that only the container's root may read.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// Its network.
    pub network: pb::NetMode,
    /// Its host name; empty is that of steps.
    pub hostname: String,
    /// Further lines of its hosts file.
    pub extra_hosts: Vec<pb::HostIp>,
    /// What its programs are made for; none is this machine.
    pub platform: Option<Platform>,
}

/// A process that is asked for.
#[derive(Default)]
pub struct ProcessRequest {
    /// Program, environment, user, working directory, limits.
    pub meta: pb::Meta,
    /// Secrets that are variables.
    pub secrets: Vec<pb::SecretEnv>,
    /// How far it is trusted.
    pub security: pb::SecurityMode,
    /// Whether it has a terminal; else it has those streams that are wanted.
    pub terminal: bool,
    /// Whether standard input, output and errors are wanted.
    pub streams: [bool; 3],
}

/// A container of a frontend. Dropping it ends it.
pub struct Container {
    worker: Arc<Worker>,
    op: pb::ExecOp,
    /// Mounts by the order in which they were asked for.
    places: Vec<String>,
    platform: Option<Platform>,
    shown: HashMap<String, Vec<PathBuf>>,
    context: Context,
    state: Mutex<State>,
    released: Arc<AtomicBool>,
}

/// How far a container is.
enum State {
    /// Nothing runs yet.
    Fresh(Box<Prepared>),
    /// Its first process was started.
    Started(Box<Started>),
    /// It is over.
    Ended,
}

/// A box that was started; fields are dropped in their order.
struct Started {
    first: Arc<Running>,
    guests: Vec<Weak<Running>>,
    spec: SandboxSpec,
    _lease: Lease,
    _mounts: Mounts,
    _writable: Writable,
}

impl Container {
    /// Makes ready what a container shows; nothing runs yet.
    ///
    /// # Errors
    /// If the request asks for what cannot be, or the client lacks a secret.
    pub async fn prepare(worker: Arc<Worker>, request: ContainerRequest) -> Result<Self, OpsError> {
        let (op, inputs) = operation(&request)?;
        let vertex = Digest::of(request.name.as_bytes());
        let given = Given::ask(worker.session(), &vertex, &op).await?;
        let context = Context::new(vertex, &request.name, worker.reporter().clone(), SystemTime::now);
        let places = op.mounts.iter().map(|mount| mount.dest.clone()).collect();
        let mut container = Self {
            worker,
            op,
            places,
            platform: request.platform,
            shown: HashMap::new(),
            context,
            state: Mutex::new(State::Ended),
            released: Arc::default(),
        };
        let step = container.step(container.op.clone(), given);
        let prepared = blocking(move || step.prepare(&inputs)).await?;
        container.show(prepared, request.files);
        Ok(container)
    }

    fn show(&mut self, mut prepared: Prepared, files: Vec<(PathBuf, Vec<u8>)>) {
        self.shown = std::mem::take(&mut prepared.mounts.shown);
        let mut root = prepared.writable.lowers();
        root.reverse();
        root.push(prepared.writable.upper());
        self.shown.insert(pb::ROOT_MOUNT.to_owned(), root);
        prepared.mounts.mounts.extend(files.into_iter().map(|(path, content)| Mount {
            target: within_root(&path),
            kind: MountKind::Secret { content: Sensitive(content), mode: 0o400, owner: (0, 0) },
            readonly: true,
            exec: false,
        }));
        self.state = Mutex::new(State::Fresh(Box::new(prepared)));
    }

    fn step(&self, op: pb::ExecOp, given: Given) -> Step {
        Step {
            worker: self.worker.clone(),
            op: Arc::new(op),
            platform: self.platform.clone().filter(|platform| platform.os == "linux"),
            resources: None,
            ignore_cache: false,
            given,
            context: self.context.clone(),
            process: Arc::new(Process::default()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process: the container's own if it is the first, else one beside that.
    ///
    /// # Errors
    /// If it cannot be started; a container whose first process cannot is of no more use.
    pub async fn start(self: &Arc<Self>, request: ProcessRequest) -> Result<ContainerProcess, OpsError> {
        let asked = pb::ExecOp { secretenv: request.secrets.clone(), ..pb::ExecOp::default() };
        let vertex = self.context.vertex();
        let given = Given::ask(self.worker.session(), &vertex, &asked).await?;
        let container = self.clone();
        blocking(move || container.start_with(&request, given)).await
    }

    fn start_with(&self, request: &ProcessRequest, given: Given) -> Result<ContainerProcess, OpsError> {
        let (step, secrets) = self.process_step(request, given)?;
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Ended) {
            State::Fresh(prepared) => {
                let (started, process) = self.start_first(&step, *prepared, request, secrets)?;
                *state = State::Started(Box::new(started));
                Ok(process)
            }
            State::Started(mut started) => {
                let process = self.start_guest(&step, &mut started, request, secrets);
                *state = State::Started(started);
                process
            }
            State::Ended if self.released.load(Ordering::SeqCst) => Err(OpsError::GivenUp),
            State::Ended => Err(OpsError::Graph("the first process of the container did not start")),
        }
    }

    /// Returns the container's step with this process, and the variables of its secrets.
    fn process_step(&self, request: &ProcessRequest, given: Given) -> Result<(Step, Vec<String>), OpsError> {
        let variables = request.secrets.iter().map(|secret| secret_variable(&given, secret));
        let variables = variables.collect::<Result<Vec<_>, _>>()?;
        let own = self.op.meta.clone().unwrap_or_default();
        let mut meta = pb::Meta { hostname: own.hostname, extra_hosts: own.extra_hosts, ..request.meta.clone() };
        if meta.cwd.is_empty() {
            meta.cwd = "/".to_owned();
        }
        let is_windows = self.platform.as_ref().is_some_and(|platform| platform.os == "windows");
        if is_windows && !names(&meta.env, "PATH=") {
            meta.env.push(WINDOWS_PATH.to_owned());
        }
        if request.terminal && !names(&meta.env, "TERM=") {
            meta.env.push("TERM=xterm".to_owned());
        }
        let op = pb::ExecOp { meta: Some(meta), security: request.security as i32, ..self.op.clone() };
        Ok((self.step(op, given), variables))
    }

    fn start_first(
        &self,
        step: &Step,
        prepared: Prepared,
        request: &ProcessRequest,
        secrets: Vec<String>,
    ) -> Result<(Started, ContainerProcess), OpsError> {
        let meta = step.meta()?;
        let Prepared { emulator, mut mounts, writable, .. } = prepared;
        let mut spec = step.box_spec(&mut mounts, &writable)?;
        spec.env = run::last_of_each(spec.env.into_iter().chain(secrets).collect());
        spec.stdio = stdio(request);
        let mut handles = std::mem::take(&mut mounts.handles);
        let lease = step.wire(meta, &mut spec, &mut handles)?;
        if let Some(emulator) = emulator {
            emulator.install(&mut spec, &mut handles);
        }
        let running = self.worker.sandbox()?.start(&spec, handles);
        let (running, process) = self.process(running.map_err(|error| run::not_started(error, &meta.args))?, meta);
        let started =
            Started { first: running, guests: Vec::new(), spec, _lease: lease, _mounts: mounts, _writable: writable };
        Ok((started, process))
    }

    /// Further processes have the rights of the first.
    fn start_guest(
        &self,
        step: &Step,
        started: &mut Started,
        request: &ProcessRequest,
        secrets: Vec<String>,
    ) -> Result<ContainerProcess, OpsError> {
        let meta = step.meta()?;
        let mut spec = SandboxSpec::new(started.spec.root.clone(), meta.args.clone());
        spec.env = run::last_of_each(run::environment(meta).into_iter().chain(secrets).collect());
        spec.cwd = within_root(Path::new(&meta.cwd));
        spec.user.clone_from(&meta.user);
        spec.rlimits = meta.ulimit.iter().map(run::rlimit).collect();
        spec.stdio = stdio(request);
        spec.network = started.spec.network;
        spec.emulated.clone_from(&started.spec.emulated);
        spec.security = Security { devices: rbuild_sandbox::Devices::Default, ..started.spec.security.clone() };
        let running = self.worker.sandbox()?.enter(&started.first, &spec, Vec::new());
        let (running, process) = self.process(running.map_err(|error| run::not_started(error, &meta.args))?, meta);
        started.guests.retain(|guest| guest.strong_count() > 0);
        started.guests.push(Arc::downgrade(&running));
        Ok(process)
    }

    fn process(&self, mut running: Running, meta: &pb::Meta) -> (Arc<Running>, ContainerProcess) {
        let streams = Streams {
            stdin: running.take_stdin(),
            stdout: running.take_stdout(),
            stderr: running.take_stderr(),
            terminal: running.take_terminal(),
        };
        let running = Arc::new(running);
        let process = ContainerProcess {
            running: running.clone(),
            streams,
            command: meta.args.join(" "),
            released: self.released.clone(),
        };
        (running, process)
    }

    /// Ends all processes and waits until nothing of the container is left.
    pub fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
        let State::Started(started) = std::mem::replace(&mut *self.state(), State::Ended) else { return };
        let _ = started.first.destroy();
        let guests = started.guests.iter().filter_map(Weak::upgrade);
        for running in guests.chain([started.first.clone()]) {
            let _ = running.destroy();
            let _ = running.wait();
        }
    }

    /// Returns the content of a file that a mount shows, or a part of it, at most `limit` bytes and one.
    ///
    /// # Errors
    /// If there is no such mount or file, or it cannot be read.
    pub fn read_file(
        &self,
        mount: usize,
        path: &Path,
        range: Option<FileRange>,
        limit: u64,
    ) -> Result<Vec<u8>, OpsError> {
        inspect::read_range(&self.view(mount)?, path, range, limit)
    }

    /// Returns what is in a directory that a mount shows.
    ///
    /// # Errors
    /// If there is no such mount or directory, or the pattern is malformed.
    pub fn list(&self, mount: usize, path: &Path, pattern: Option<&str>) -> Result<Vec<Node>, OpsError> {
        inspect::list(&self.view(mount)?, path, pattern)
    }

    /// Returns what is at a path that a mount shows.
    ///
    /// # Errors
    /// If there is no such mount or path.
    pub fn stat(&self, mount: usize, path: &Path) -> Result<Node, OpsError> {
        inspect::stat(&self.view(mount)?, path)
    }

    /// Looks anew each time: processes write meanwhile.
    fn view(&self, mount: usize) -> Result<MergedView, OpsError> {
        let count = self.places.len();
        let place = self.places.get(mount).ok_or(OpsError::MountIndex { index: mount, count })?;
        let layers = self.shown.get(place).ok_or(OpsError::NotShown(mount))?;
        let layers: Vec<_> = layers.iter().cloned().map(LayerForm::Tree).collect();
        Ok(MergedView::open(&layers)?)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.release();
    }
}

/// Our ends of a process's streams.
#[derive(Default)]
pub struct Streams {
    /// What is written here the process reads.
    pub stdin: Option<OwnedFd>,
    /// What the process writes.
    pub stdout: Option<OwnedFd>,
    /// What the process complains of.
    pub stderr: Option<OwnedFd>,
    /// The master of its terminal, instead of the others.
    pub terminal: Option<OwnedFd>,
}

/// A process of a container. Dropping it kills it, unless it is the container's first.
pub struct ContainerProcess {
    running: Arc<Running>,
    /// Our ends of its streams.
    pub streams: Streams,
    command: String,
    released: Arc<AtomicBool>,
}

impl ContainerProcess {
    /// Waits for its end.
    ///
    /// # Errors
    /// If it ended badly, or because its container was released.
    pub fn wait(&self) -> Result<(), OpsError> {
        let exit = self.running.wait()?;
        match exit.code {
            0 => Ok(()),
            _ if exit.signal.is_some() && self.released.load(Ordering::SeqCst) => Err(OpsError::GivenUp),
            code => {
                let (command, out_of_memory) = (self.command.clone(), exit.oom);
                Err(ProcessFailed { command, code: code.into(), out_of_memory, reason: None }.into())
            }
        }
    }

    /// Sends it a signal, by number; one that has ended is none the wiser.
    ///
    /// # Errors
    /// If there is no such signal.
    pub fn signal(&self, number: i32) -> Result<(), OpsError> {
        Ok(self.running.kill(number)?)
    }

    /// Tells its terminal a new size.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), OpsError> {
        Ok(self.running.resize(rows, columns)?)
    }
}

/// Returns the step that makes what a request asks for, and its inputs.
fn operation(request: &ContainerRequest) -> Result<(pb::ExecOp, Vec<Ref>), OpsError> {
    let mut inputs = Vec::new();
    let mut mounts = Vec::new();
    for (mount, shown) in &request.mounts {
        if mount.dest == pb::ROOT_MOUNT && mount.mount_type() != pb::MountType::Bind {
            return Err(OpsError::Graph("the root of a container is a bind mount"));
        }
        let input = match shown {
            Some(shown) => {
                inputs.push(shown.clone());
                inputs.len() as i64 - 1
            }
            None => -1,
        };
        mounts.push(pb::Mount { input, output: -1, ..mount.clone() });
    }
    let meta = pb::Meta {
        cwd: "/".to_owned(),
        hostname: request.hostname.clone(),
        extra_hosts: request.extra_hosts.clone(),
        ..pb::Meta::default()
    };
    let op = pb::ExecOp { meta: Some(meta), mounts, network: request.network as i32, ..pb::ExecOp::default() };
    Ok((op, inputs))
}

fn stdio(request: &ProcessRequest) -> Stdio {
    if request.terminal {
        return Stdio::Terminal { rows: 0, columns: 0 };
    }
    let [stdin, stdout, stderr] = request.streams.map(|wanted| if wanted { Stream::Pipe } else { Stream::Null });
    Stdio::Streams { stdin, stdout, stderr }
}

fn names(env: &[String], prefix: &str) -> bool {
    env.iter().any(|variable| variable.starts_with(prefix))
}
