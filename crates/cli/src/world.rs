//! Everything a command stands on: environment, user namespace, store, registries, networks.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rbuild_events::{Reporter, Silent};
use rbuild_images::Images;
use rbuild_network::{Provider, Settings};
use rbuild_progress::Warnings;
use rbuild_registry::{Chain, CredentialStore, DockerConfig, Options, Proxies, TrustedRealm};
use rbuild_snapshot::{Roots, Strategy, UnpackOptions};
use rbuild_store::Store;
use rbuild_sys::host::{Host, Privilege};
use rbuild_sys::userns;
use tokio::runtime::Runtime;

use crate::args::Global;
use crate::ui::{self, Failure};

/// Largest content of one layer that is unpacked.
const MAX_LAYER: u64 = 1 << 40;

/// Everything a command stands on.
pub(crate) struct World {
    pub(crate) host: Host,
    /// Whether the caller is an ordinary user.
    pub(crate) rootless: bool,
    /// How much is said of warnings.
    pub(crate) warnings: Warnings,
    store: Store,
    runtime: Runtime,
    options: Options,
    config: PathBuf,
    images: OnceLock<Images>,
    /// Whether there may be layers that nothing refers to.
    garbage: AtomicBool,
}

/// Returns a variable of the caller's environment; empty counts as unset.
#[expect(clippy::disallowed_methods, reason = "this is the door that reads the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns a variable of the caller's environment, which may be empty.
#[expect(clippy::disallowed_methods, reason = "this is the door that reads the environment")]
pub(crate) fn variable_or_empty(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl World {
    /// Becomes the root of a user namespace if need be, and opens the store.
    pub(crate) fn enter(global: &Global) -> Result<Self, Failure> {
        let outside = Host::detect().map_err(|error| Failure::User(format!("looking at this host: {error}")))?;
        let rootless = outside.privilege == Privilege::Ordinary;
        if rootless {
            let plan = userns::Plan::of_process(&outside.tools, variable("USER").as_deref());
            let entered = userns::enter(&plan).map_err(|error| Failure::User(chain(&error)))?;
            if let Some(reason) = entered.single
                && variable("RBUILD_QUIET_SINGLE_ID").is_none()
            {
                ui::say(&format!("WARNING: only one user id is available: {reason}"));
            }
        }
        let host = Host::detect().map_err(|error| Failure::User(format!("looking at this host: {error}")))?;
        let root = store_root(global, rootless)?;
        let store = Store::open(&root).map_err(|error| Failure::User(chain(&error)))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            // Walks go as deep as paths are long.
            .thread_stack_size(rbuild_tree::WALK_STACK)
            .enable_all()
            .build()
            .map_err(|error| Failure::User(format!("starting threads: {error}")))?;
        let config = docker_directory(global);
        let options = registry_options(&config);
        Ok(Self {
            host,
            rootless,
            warnings: if global.debug { Warnings::Expanded } else { Warnings::Listed },
            store,
            runtime,
            options,
            config,
            images: OnceLock::new(),
            garbage: AtomicBool::new(false),
        })
    }

    /// Does what may wait until the result is told.
    pub(crate) fn leave(self) {
        let Self { store, runtime, images, garbage, .. } = self;
        drop(images);
        // A thread that waits for standard input cannot be woken.
        runtime.shutdown_background();
        let _ = store.tidy(garbage.into_inner());
    }

    /// Takes note that the store may hold layers that nothing refers to.
    pub(crate) fn expect_garbage(&self) {
        self.garbage.store(true, Ordering::Relaxed);
    }

    /// Returns the store.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the runtime of everything that waits.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Returns where credentials are kept.
    pub(crate) fn docker_config(&self) -> Arc<DockerConfig> {
        docker_config(&self.config)
    }

    /// Returns the settings of registries.
    pub(crate) fn registry_options(&self) -> &Options {
        &self.options
    }

    /// Returns store and registries.
    pub(crate) fn images(&self) -> &Images {
        self.images.get_or_init(|| {
            let unpack = UnpackOptions {
                userxattr: self.userxattr(),
                single_id: matches!(self.host.privilege, Privilege::SingleId(_)),
                threads: 2,
                max_size: MAX_LAYER,
            };
            Images::new(self.store.clone(), self.options.clone(), self.runtime.handle().clone(), unpack)
        })
    }

    fn userxattr(&self) -> bool {
        !self.host.privilege.is_root()
    }

    /// Returns how writable roots are made here.
    pub(crate) fn roots(&self) -> Roots {
        let kernel = &self.host.kernel;
        let strategy =
            match (self.userxattr(), kernel.overlay, kernel.overlay_in_userns, &self.host.tools.fuse_overlayfs) {
                (false, true, ..) => Strategy::Overlay { userxattr: false },
                (true, _, true, _) => Strategy::Overlay { userxattr: true },
                (true, _, false, Some(program)) if kernel.fuse => Strategy::FuseOverlay { program: program.clone() },
                _ => Strategy::Copy,
            };
        Roots::new(strategy, matches!(self.host.privilege, Privilege::SingleId(_)))
    }

    /// Returns the networks of steps and containers.
    pub(crate) fn network(&self) -> Result<Provider, Failure> {
        let locks = match self.rootless {
            false => PathBuf::from("/run/rbuild"),
            true => self.store.root().join("tmp"),
        };
        if !self.rootless {
            std::fs::create_dir_all(&locks)
                .map_err(|error| Failure::User(format!("creating `{}`: {error}", locks.display())))?;
        }
        Ok(Provider::new(Settings::for_host(&self.host, locks).map_err(|error| Failure::User(chain(&error)))?))
    }
}

/// Whoever wants no progress.
pub(crate) fn silent() -> Arc<dyn Reporter> {
    Arc::new(Silent)
}

/// Returns an error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Opens standard input.
pub(crate) fn stdin() -> Box<dyn Read + Send> {
    Box::new(std::io::stdin())
}

/// Opens standard output.
pub(crate) fn stdout() -> Box<dyn Write + Send> {
    Box::new(std::io::stdout())
}

/// Opens standard error.
pub(crate) fn stderr() -> Box<dyn Write + Send> {
    Box::new(std::io::stderr())
}

/// `/var/lib/rbuild`, or for an ordinary user `$XDG_DATA_HOME/rbuild`.
fn store_root(global: &Global, rootless: bool) -> Result<PathBuf, Failure> {
    if let Some(root) = &global.root {
        return std::path::absolute(root)
            .map_err(|error| Failure::Usage(format!("--root `{}`: {error}", root.display())));
    }
    if !rootless {
        return Ok(PathBuf::from("/var/lib/rbuild"));
    }
    let data = variable("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let missing =
        || Failure::User("neither XDG_DATA_HOME nor HOME is set: say where the store lies with --root".to_owned());
    Ok(data.or_else(home).ok_or_else(missing)?.join("rbuild"))
}

/// Reads which token servers on other sites may see credentials: `REGISTRY=TOKENSERVER`, with commas between.
fn trusted_realms(text: &str) -> Vec<TrustedRealm> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let host = |text: &str| text.trim().to_ascii_lowercase();
    pairs.map(|(registry, realm)| TrustedRealm { registry: host(registry), realm: host(realm) }).collect()
}

fn docker_directory(global: &Global) -> PathBuf {
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".docker"));
    global.config.clone().or_else(home).unwrap_or_else(|| PathBuf::from("/root/.docker"))
}

fn docker_config(directory: &std::path::Path) -> Arc<DockerConfig> {
    Arc::new(DockerConfig::new(directory.join("config.json"), variable("PATH").unwrap_or_default()))
}

fn registry_options(config: &std::path::Path) -> Options {
    let search_path = variable("PATH").unwrap_or_default();
    let mut stores: Vec<Arc<dyn CredentialStore>> = vec![docker_config(config)];
    // What podman's users logged in with, read only.
    let podman = variable("REGISTRY_AUTH_FILE").map(PathBuf::from);
    let runtime = variable("XDG_RUNTIME_DIR").map(|directory| PathBuf::from(directory).join("containers/auth.json"));
    for path in podman.into_iter().chain(runtime) {
        stores.push(Arc::new(DockerConfig::new(path, search_path.clone())));
    }
    let home = variable("HOME").map(PathBuf::from);
    let mut certificates = vec![PathBuf::from("/etc/docker/certs.d"), PathBuf::from("/etc/containers/certs.d")];
    certificates
        .extend(home.iter().flat_map(|home| [home.join(".docker/certs.d"), home.join(".config/containers/certs.d")]));
    let mut options =
        Options { credentials: Arc::new(Chain(stores)), certificate_directories: certificates, ..Options::default() };
    options.hosts.trusted_realms = trusted_realms(&variable("RBUILD_TRUSTED_REALMS").unwrap_or_default());
    if let Some(file) = variable("SSL_CERT_FILE") {
        options.ca_bundles.push(PathBuf::from(file));
    }
    let either = |upper: &str, lower: &str| variable(lower).or_else(|| variable(upper));
    options.proxies = Proxies {
        http: either("HTTP_PROXY", "http_proxy"),
        https: either("HTTPS_PROXY", "https_proxy"),
        no_proxy: either("NO_PROXY", "no_proxy"),
    };
    options
}
