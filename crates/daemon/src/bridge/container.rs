//! Containers of frontends: boxes in which a frontend runs processes while it builds.

mod attached;
mod exec;
mod files;
mod signal;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rbuild_buildkit_api::gateway::{InitMessage, NewContainerRequest};
use rbuild_graph::pb;
use rbuild_oci::Platform;
use rbuild_ops::{Container, ContainerProcess, ContainerRequest, ProcessRequest};
use tokio::sync::{Semaphore, watch};
use tonic::Code;

use crate::build::{Build, Mounted};
use crate::fault::Fault;

pub(super) use exec::serve;
pub(super) use files::{list, read, stat};

/// The most containers of a frontend at once.
const MAX_CONTAINERS: usize = 128;
/// The most processes of a frontend's containers at once.
const MAX_PROCESSES: usize = 512;
/// The most mounts of a container.
const MAX_MOUNTS: usize = 1000;
/// The longest names of containers and processes.
const MAX_NAME: usize = 1024;

/// The containers of a frontend.
pub(crate) struct Containers {
    known: Mutex<HashMap<String, Arc<Held>>>,
    processes: Arc<Semaphore>,
}

impl Default for Containers {
    fn default() -> Self {
        Self { known: Mutex::default(), processes: Arc::new(Semaphore::new(MAX_PROCESSES)) }
    }
}

/// A container of a frontend.
pub(super) struct Held {
    container: Arc<Container>,
    network: pb::NetMode,
    /// How many processes have not been waited for.
    alive: watch::Sender<usize>,
    /// Why the first of those processes failed that did.
    failure: Mutex<Option<Fault>>,
}

impl Held {
    /// Remembers a failure, if it is the first.
    fn failed(&self, fault: &Fault) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| fault.clone());
    }

    /// Ends all processes; returns why one failed.
    async fn release(self: Arc<Self>) -> Result<(), Fault> {
        let container = self.container.clone();
        let released = tokio::task::spawn_blocking(move || container.release()).await;
        released.map_err(|error| Fault::of(&error))?;
        let mut alive = self.alive.subscribe();
        let _ = alive.wait_for(|count| *count == 0).await;
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }
}

impl Containers {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Held>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Option<Arc<Held>> {
        self.known().get(id).cloned()
    }

    /// Takes a container in; none may have its name.
    fn insert(&self, id: String, held: Held) -> Result<(), Fault> {
        self.check(&id)?;
        self.known().insert(id, Arc::new(held));
        Ok(())
    }

    fn check(&self, id: &str) -> Result<(), Fault> {
        let known = self.known();
        if known.contains_key(id) {
            return Err(Fault::with_code(Code::AlreadyExists, format!("Container {id} already exists")));
        }
        if known.len() >= MAX_CONTAINERS {
            let message = format!("a frontend may have {MAX_CONTAINERS} containers at once");
            return Err(Fault::with_code(Code::ResourceExhausted, message));
        }
        Ok(())
    }

    /// Ends all containers.
    pub(crate) async fn release_all(&self) {
        let all: Vec<_> = self.known().drain().map(|(_, held)| held).collect();
        futures::future::join_all(all.into_iter().map(Held::release)).await;
    }
}

/// Makes a container ready.
pub(super) async fn create(build: &Build, request: NewContainerRequest) -> Result<(), Fault> {
    let id = request.container_id;
    if id.is_empty() || id.len() > MAX_NAME {
        return Err(Fault::with_code(Code::InvalidArgument, "the name of a container has 1 to 1024 characters"));
    }
    build.containers().check(&id)?;
    if request.mounts.len() > MAX_MOUNTS {
        return Err(Fault::with_code(Code::InvalidArgument, format!("a container may have {MAX_MOUNTS} mounts")));
    }
    let network = pb::NetMode::try_from(request.network);
    let network = network.map_err(|_| Fault::new(format!("invalid network mode {}", request.network)))?;
    let mut mounts = Vec::with_capacity(request.mounts.len());
    for mount in request.mounts {
        let failed = |fault: Fault| fault.context(&format!("failed to find ref for {:?} mount", mount.dest));
        let shown = match build.mounted(&mount.result_id).map_err(failed)? {
            Some(Mounted::Left(left)) => Some(left),
            Some(Mounted::Result(lazy)) => Some(build.solve(&lazy).await?.value.clone()),
            None => None,
        };
        mounts.push((mount, shown));
    }
    let asked = ContainerRequest {
        name: format!("container {id}"),
        mounts,
        network,
        hostname: request.hostname,
        extra_hosts: request.extra_hosts,
        platform: request.platform.as_ref().map(platform),
        ..ContainerRequest::default()
    };
    let container =
        build.unless_canceled(async { Ok(Container::prepare(build.worker().clone(), asked).await?) }).await?;
    let held =
        Held { container: Arc::new(container), network, alive: watch::Sender::new(0), failure: Mutex::default() };
    build.containers().insert(id, held)
}

/// A platform that names no processor is this machine's.
fn platform(asked: &pb::Platform) -> Platform {
    let mut platform = Platform::from(asked);
    let host = Platform::host();
    if platform.os.is_empty() {
        platform.os.clone_from(&host.os);
    }
    if platform.architecture.is_empty() {
        platform.architecture = host.architecture;
        platform.variant = host.variant;
    }
    platform.normalise()
}

/// Ends a container; returns why one of its processes failed.
pub(super) async fn release(build: &Build, id: &str) -> Result<(), Fault> {
    let held = build.containers().known().remove(id);
    let unknown = || Fault::new(format!("container details for {} not found", name(id)));
    held.ok_or_else(unknown)?.release().await
}

/// Starts a process, if the build was granted what it asks for.
async fn start(build: &Build, held: &Held, init: InitMessage) -> Result<ContainerProcess, Fault> {
    let security = pb::SecurityMode::try_from(init.security);
    let security = security.map_err(|_| Fault::new(format!("invalid security mode {}", init.security)))?;
    let granted = build.begun().entitlements();
    if held.network == pb::NetMode::Host && !granted.network_host {
        return Err(Fault::new("network.host is not allowed"));
    }
    if security == pb::SecurityMode::Insecure && !granted.security_insecure {
        return Err(Fault::new("security.insecure is not allowed"));
    }
    if let Some(secret) = init.secretenv.iter().find(|secret| secret.id.is_empty()) {
        return Err(Fault::new(format!("secret ID missing for {:?} environment variable", secret.name)));
    }
    let request = ProcessRequest {
        meta: init.meta.unwrap_or_default(),
        secrets: init.secretenv,
        security,
        terminal: init.tty,
        streams: [0, 1, 2].map(|number| init.fds.contains(&number)),
    };
    Ok(held.container.start(request).await?)
}

/// Returns a name as errors show it.
fn name(id: &str) -> String {
    id.chars().take(100).collect()
}
