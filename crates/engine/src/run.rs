//! One container from image to exit code.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rbuild_events::Reporter;
use rbuild_images::{Images, Mode};
use rbuild_network::{ExtraHost, HostAddress, Lease, Provider, hosts_file};
use rbuild_oci::{Digest, ImageConfig, Platform, Reference};
use rbuild_sandbox::{Emulator, Handle, RootSpec, Running, Sandbox, SandboxSpec, Stdio, Upper};
use rbuild_snapshot::{Active, Roots, Strategy};
use rbuild_store::LayerId;
use rbuild_sys::tty;
use tokio::signal::unix::{SignalKind, signal};

use crate::EngineError;
use crate::attach::{inward, outward};
use crate::request::{Network, Pull, RunRequest};
use crate::spec::{check_sources, spec};

/// The largest configuration that is read.
const CONFIG_LIMIT: u64 = 8 << 20;

/// What an engine is made of.
pub struct Parts {
    /// Store and registries.
    pub images: Images,
    /// How writable roots are made.
    pub roots: Roots,
    /// Networks of containers.
    pub network: Provider,
    /// Who hears of pulls.
    pub reporter: Arc<dyn Reporter>,
    /// Where emulators are looked for, in the form of `PATH`; none for the usual places.
    pub search_path: Option<OsString>,
    /// Opens standard input.
    pub stdin: fn() -> Box<dyn Read + Send>,
    /// Opens standard output.
    pub stdout: fn() -> Box<dyn Write + Send>,
    /// Opens standard error.
    pub stderr: fn() -> Box<dyn Write + Send>,
}

/// Runs containers.
pub struct Engine {
    parts: Parts,
}

/// Returns what an image is made for; one that does not say is made for this machine.
fn platform(config: &ImageConfig) -> Platform {
    let host = Platform::host();
    let given = |text: &str, or: String| if text.is_empty() { or } else { text.to_owned() };
    Platform::new(&given(&config.os, host.os), &given(&config.architecture, host.architecture), None)
}

/// A container's root, which goes with the temporary files of this process.
struct Container {
    active: Active,
}

impl Engine {
    /// Joins the parts.
    pub fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// Runs a container in the foreground and returns its exit code.
    ///
    /// # Errors
    /// If it could not be started; see [`EngineError::exit_code`].
    pub async fn run(&self, request: RunRequest) -> Result<u8, EngineError> {
        check_sources(&request.volumes)?;
        let (config, layers) = self.image(&request).await?;
        let emulator = Emulator::find(&platform(&config), self.parts.search_path.as_deref())?;
        let network = match request.network {
            Network::Bridge => rbuild_network::Network::Isolated,
            Network::Host => rbuild_network::Network::Host,
            Network::None => rbuild_network::Network::None,
        };
        self.parts.network.prepare(network)?;
        // Its init starts while we look for the image's layers and wire the network.
        let sandbox = Sandbox::detect()?;
        sandbox.prepare();
        let container = self.root(&layers)?;
        let hostname = match (&request.hostname, request.network) {
            (Some(name), _) => name.clone(),
            (None, Network::Host) => host_name(),
            (None, _) => {
                Digest::of(format!("{}-{:?}", std::process::id(), std::time::SystemTime::now()).as_bytes()).short()
            }
        };
        let mut spec = spec(&config.config, &request, self.root_spec(&container), &hostname)?;
        let mut handles = Vec::new();
        let lease = self.wire(&request, network, &mut spec, &mut handles)?;
        if let Some(emulator) = emulator {
            emulator.install(&mut spec, &mut handles);
        }
        let code = self.attend(&sandbox, &spec, handles, request.interactive).await;
        drop(lease);
        drop(container);
        code
    }

    /// Finds the image, pulling it if need be.
    async fn image(&self, request: &RunRequest) -> Result<(ImageConfig, Vec<LayerId>), EngineError> {
        let images = &self.parts.images;
        let local = match request.pull {
            Pull::Always => None,
            Pull::Missing | Pull::Never => match images.store().images().resolve(&request.image) {
                Ok(image) => Some(image),
                Err(rbuild_store::Error::NoImage(_)) => None,
                Err(error) => return Err(error.into()),
            },
        };
        let wanted = request.platform.clone().unwrap_or_else(Platform::host);
        let local =
            local.filter(|image| request.platform.as_ref().is_none_or(|wanted| wanted.matches(&image.platform)));
        let (id, layers) = match local {
            Some(image) => (image.id.0, image.layers),
            None => {
                let reference =
                    Reference::parse(&request.image).map_err(|error| EngineError::Request(error.to_string()))?;
                if request.pull == Pull::Never {
                    return Err(EngineError::Request(format!("No such image: {reference}")));
                }
                let pulled = images.pull(&reference, &wanted, &self.parts.reporter, Digest::of(b"pull")).await?;
                let image = images.resolve(&reference, &wanted, Mode::Never).await?;
                (pulled.id.0, images.layers(&image)?)
            }
        };
        let bytes = images.store().blobs().read(&id, CONFIG_LIMIT)?;
        let config = rbuild_oci::json::from_slice(&bytes);
        Ok((config.map_err(|error| EngineError::Request(format!("configuration {id}: {error}")))?, layers))
    }

    fn root(&self, layers: &[LayerId]) -> Result<Container, EngineError> {
        let images = &self.parts.images;
        let lowers = tokio::task::block_in_place(|| images.trees(layers, &self.parts.reporter, Digest::of(b"pull")))?;
        let directory = images.store().temp_dir()?.join("container");
        let (upper, work) = (directory.join("fs"), directory.join("work"));
        for path in [&directory, &upper, &work] {
            std::fs::create_dir(path).map_err(EngineError::io(format!("creating `{}`", path.display())))?;
        }
        let active = self.parts.roots.prepare(&upper, &work, &lowers)?;
        Ok(Container { active })
    }

    fn root_spec(&self, container: &Container) -> RootSpec {
        let active = &container.active;
        if active.lowers.is_empty() {
            return RootSpec::Dir(active.upper.clone());
        }
        let userxattr = matches!(self.parts.roots.strategy, Strategy::Overlay { userxattr: true });
        let upper = Upper { upper: active.upper.clone(), work: active.work.clone(), volatile: true };
        let mut lowers: Vec<_> = active.lowers.iter().rev().cloned().collect();
        if lowers.len() < rbuild_snapshot::MAX_LOWERS {
            lowers.extend(self.mount_points());
        }
        RootSpec::Overlay { lowers, upper: Some(upper), userxattr }
    }

    /// Returns a layer of mount points to lie below all others; without it, they are made in the root.
    fn mount_points(&self) -> Option<std::path::PathBuf> {
        let path = self.parts.images.store().temp_dir().ok()?.join("mount-points");
        std::fs::create_dir(&path).ok()?;
        rbuild_sandbox::fill_mount_points(&path).ok()?;
        Some(path)
    }

    fn wire(
        &self,
        request: &RunRequest,
        network: rbuild_network::Network,
        spec: &mut SandboxSpec,
        handles: &mut Vec<OwnedFd>,
    ) -> Result<Lease, EngineError> {
        let lease = self.parts.network.acquire(network)?;
        spec.network = match (request.network, lease.netns()) {
            (Network::Host, _) => rbuild_sandbox::Network::Host,
            (_, None) => rbuild_sandbox::Network::None,
            (_, Some(namespace)) => {
                handles
                    .push(namespace.try_clone_to_owned().map_err(EngineError::io("duplicating a network namespace"))?);
                rbuild_sandbox::Network::Join(Handle(handles.len() - 1))
            }
        };
        let extra = request.add_hosts.iter().map(|(name, address)| ExtraHost {
            name: name.clone(),
            address: address.parse().map_or(HostAddress::Gateway, HostAddress::Ip),
        });
        let address = lease.address().filter(|_| request.network == Network::Bridge);
        let hosts = hosts_file(&spec.hostname, address, lease.host_gateway(), &extra.collect::<Vec<_>>());
        spec.hosts = Some(hosts.map_err(|error| EngineError::Request(error.to_string()))?);
        spec.resolv_conf = Some(lease.resolv_conf().to_owned());
        Ok(lease)
    }

    /// Starts the process and looks after it until it ends.
    async fn attend(
        &self,
        sandbox: &Sandbox,
        spec: &SandboxSpec,
        handles: Vec<OwnedFd>,
        interactive: bool,
    ) -> Result<u8, EngineError> {
        let mut spec = spec.clone();
        let terminal = std::io::stdin();
        let is_terminal = matches!(spec.stdio, Stdio::Terminal { .. });
        if let (Stdio::Terminal { rows, columns }, Ok(size)) = (&mut spec.stdio, tty::size(&terminal)) {
            (*rows, *columns) = size;
        }
        // What the program says may bring a signal at once.
        let mut forwarder = Forwarder::new(is_terminal).map_err(EngineError::io("watching signals"))?;
        let mut running = tokio::task::block_in_place(|| sandbox.start(&spec, handles))?;
        // Without `-i` the keys stay with us, and Ctrl-C is a signal that is handed on.
        let raw = if is_terminal && interactive { tty::RawMode::enter(&terminal).ok() } else { None };
        let attached = EngineError::io("attaching to the container");
        let pumps = self.attach(&mut running, interactive).map_err(attached)?;
        let running = Arc::new(running);
        let waiter = running.clone();
        let mut waiting = tokio::task::spawn_blocking(move || waiter.wait());
        let exit = loop {
            tokio::select! {
                exit = &mut waiting => break exit,
                signal = forwarder.next() => forwarder.deliver(signal, &running),
            }
        };
        let exit = exit.map_err(|error| EngineError::Request(format!("waiting for the container: {error}")))??;
        for pump in pumps {
            let _ = pump.join();
        }
        drop(raw);
        Ok(exit.code)
    }

    fn attach(&self, running: &mut Running, interactive: bool) -> std::io::Result<Vec<std::thread::JoinHandle<()>>> {
        let mut pumps = Vec::new();
        if let Some(terminal) = running.take_terminal() {
            if interactive {
                inward((self.parts.stdin)(), terminal.try_clone()?)?;
            }
            pumps.push(outward(terminal, (self.parts.stdout)())?);
        }
        if let Some(stdin) = running.take_stdin() {
            inward((self.parts.stdin)(), stdin)?;
        }
        if let Some(stdout) = running.take_stdout() {
            pumps.push(outward(stdout, (self.parts.stdout)())?);
        }
        if let Some(stderr) = running.take_stderr() {
            pumps.push(outward(stderr, (self.parts.stderr)())?);
        }
        Ok(pumps)
    }
}

/// Our signals, handed on to the container's program.
struct Forwarder {
    signals: Vec<(i32, tokio::signal::unix::Signal)>,
    is_terminal: bool,
}

impl Forwarder {
    fn new(is_terminal: bool) -> std::io::Result<Self> {
        const HANDED_ON: [i32; 6] = [1, 2, 3, 10, 12, 15];
        let window = SignalKind::window_change().as_raw_value();
        let all = HANDED_ON.into_iter().chain(is_terminal.then_some(window));
        let signals = all.map(|number| Ok((number, signal(SignalKind::from_raw(number))?)));
        Ok(Self { signals: signals.collect::<std::io::Result<_>>()?, is_terminal })
    }

    /// Waits for the next signal.
    async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, signal) in &mut self.signals {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    fn deliver(&self, number: i32, running: &Running) {
        if self.is_terminal && number == SignalKind::window_change().as_raw_value() {
            if let Ok((rows, columns)) = tty::size(std::io::stdin()) {
                let _ = running.resize(rows, columns);
            }
            return;
        }
        let _ = running.kill(number);
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
