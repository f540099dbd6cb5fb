//! `rbuild serve`: the daemon that BuildKit's clients drive.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_daemon::address::Address;
use rbuild_daemon::collect::Collector;
use rbuild_daemon::config::{Config, Entitlement, NetworkMode, Snapshotter};
use rbuild_daemon::listen::{self, Access, Opening};
use rbuild_daemon::log::{Level, Log};
use rbuild_daemon::notify::ServiceManager;
use rbuild_daemon::serve::serve;
use rbuild_daemon::{Engine, Parts};
use rbuild_network::Network;
use rbuild_snapshot::{Roots, Strategy};
use tokio_util::sync::CancellationToken;

use crate::args::Global;
use crate::ui::{self, Failure};
use crate::world::{World, chain, variable};

/// Blocks of memory that are not kept when they are free, in bytes: larger than any buffer that is used over and over.
const LARGE_BLOCK: i32 = 4 << 20;

/// Serve BuildKit's clients: buildctl, docker buildx, bake
#[derive(Debug, clap::Args)]
#[command(after_help = "Called `buildkitd`, or as `rbuild buildkitd`, it takes the flags of BuildKit's daemon.")]
pub(crate) struct Args {
    /// Where to listen: unix://PATH, tcp://HOST:PORT or fd:// [default: unix:///run/rbuild/buildkitd.sock,
    /// rootless unix://$XDG_RUNTIME_DIR/rbuild/buildkitd.sock]
    #[arg(long, value_name = "ADDRESS")]
    addr: Vec<Address>,
    /// Group that may use unix sockets: a name or a number
    #[arg(long)]
    group: Option<String>,
    /// Mode of unix sockets [default: 0660, rootless 0600]
    #[arg(long, value_parser = mode)]
    mode: Option<u32>,
    #[command(flatten)]
    tls: Tls,
    /// What clients may be granted if they ask for it: network.host, security.insecure, device
    #[arg(long, value_name = "ENTITLEMENT", value_parser = entitlement)]
    allow_insecure_entitlement: Vec<Entitlement>,
    /// Configuration file, as that of BuildKit's daemon
    #[arg(long, value_name = "FILE")]
    daemon_config: Option<PathBuf>,
}

/// What guards ports.
#[derive(Debug, clap::Args)]
pub(crate) struct Tls {
    /// Certificate of the daemon
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
    /// Certificate of the authority that vouches for clients
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// Open tcp addresses to everyone who reaches them: they get the rights of the daemon
    #[arg(long)]
    pub(crate) insecure_tcp: bool,
}

impl Tls {
    /// Puts what was given over what the file says.
    pub(crate) fn apply(&self, config: &mut Config) {
        let given = |file: &Option<PathBuf>, old: &mut Option<PathBuf>| {
            if let Some(file) = file.as_ref().filter(|file| !file.as_os_str().is_empty()) {
                *old = Some(file.clone());
            }
        };
        given(&self.tlscert, &mut config.tls.certificate);
        given(&self.tlskey, &mut config.tls.key);
        given(&self.tlscacert, &mut config.tls.authority);
    }
}

/// A daemon that is about to start.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) config: Config,
    /// The mode of unix sockets, if it was said.
    pub(crate) mode: Option<u32>,
    pub(crate) insecure_tcp: bool,
    /// The directory in `/run` of the usual address.
    pub(crate) directory: &'static str,
}

pub(crate) fn run(args: Args, global: &Global) -> Result<(), Failure> {
    rbuild_sys::allocator::give_back_blocks(LARGE_BLOCK);
    let mut config = match &args.daemon_config {
        Some(path) => read(path)?,
        None => Config::default(),
    };
    if !args.addr.is_empty() {
        config.addresses = args.addr;
    }
    if let Some(name) = &args.group {
        config.gid = Some(group(name).map_err(Failure::Usage)?);
    }
    if !args.allow_insecure_entitlement.is_empty() {
        config.entitlements = args.allow_insecure_entitlement.into_iter().collect();
    }
    if global.debug {
        config.log.level = Level::Debug;
    }
    args.tls.apply(&mut config);
    let insecure_tcp = args.tls.insecure_tcp;
    start(Start { config, mode: args.mode, insecure_tcp, directory: "rbuild" }, global)
}

/// Reads a configuration file that was named, so it has to be there.
pub(crate) fn read(path: &std::path::Path) -> Result<Config, Failure> {
    let missing = || Failure::User(format!("there is no configuration file `{}`", path.display()));
    Config::load(path).map_err(Failure::user)?.ok_or_else(missing)
}

/// Starts the daemon, and ends when it is told to.
pub(crate) fn start(start: Start, global: &Global) -> Result<(), Failure> {
    let inherited = inherited()?;
    let global = Global { root: global.root.clone().or_else(|| start.config.root.clone()), ..global.clone() };
    let world = World::enter(&global)?;
    let ended = world.runtime().block_on(daemon(start, inherited, &world));
    world.leave();
    ended
}

async fn daemon(start: Start, inherited: Vec<OwnedFd>, world: &World) -> Result<(), Failure> {
    let config = &start.config;
    if config.worker.rootless == Some(true) && !world.rootless && world.host.privilege.is_root() {
        let message = "a rootless daemon is started by an ordinary user, and this is root";
        return Err(Failure::User(message.to_owned()));
    }
    let log = log(config);
    let addresses = match config.addresses.is_empty() {
        true => vec![usual_address(start.directory, world.rootless)?],
        false => config.addresses.clone(),
    };
    let usual = if world.rootless && config.gid.is_none() { Access::PRIVATE } else { Access::default() };
    let mode = start.mode.unwrap_or(usual.mode);
    let opening = Opening {
        access: Access { uid: config.uid, gid: config.gid, mode, ..usual },
        tls: config.tls.complete().map_err(Failure::Usage)?,
        insecure_tcp: start.insecure_tcp,
        inherited,
    };
    let listeners = listen::open(&addresses, opening).await.map_err(|error| Failure::User(chain(&error)))?;
    let stop = CancellationToken::new();
    let engine = Engine::new(parts(&start, world, &stop)?).map_err(|error| Failure::User(chain(&error)))?;
    let engine = Arc::new(engine);
    let routes = rbuild_daemon::services(&engine).with_health(stop.clone()).with_reflection();
    tokio::spawn(engine.clone().keep_tidy(log.clone()));
    let collector = Collector::new(world.store().clone(), config.worker.gc.clone());
    tokio::spawn(collector.run(stop.clone(), log.clone()));
    let manager =
        variable("NOTIFY_SOCKET").map(|name| ServiceManager::new(&name)).transpose().map_err(Failure::user)?;
    tell(&manager, ServiceManager::ready, &log);
    tokio::spawn(stop_upon_signal(stop.clone()));
    let served = serve(listeners, routes, stop, &log).await;
    tell(&manager, ServiceManager::stopping, &log);
    served.map_err(|error| Failure::User(chain(&error)))
}

/// Returns what the daemon's engine is made of.
fn parts(start: &Start, world: &World, stop: &CancellationToken) -> Result<Parts, Failure> {
    let config = &start.config;
    let mut options = world.registry_options().clone();
    config.apply_registries(&mut options);
    // Servers tell builders by BuildKit's name.
    let version = rbuild_daemon::workers::buildkit_version().version;
    options.user_agent = format!("buildkit/{version} {}", options.user_agent);
    let roots = roots(config, world)?;
    let snapshotter = match roots.strategy {
        Strategy::Overlay { .. } => "overlayfs",
        Strategy::FuseOverlay { .. } => "fuse-overlayfs",
        Strategy::Copy => "native",
    };
    let environment = config.provenance_env_dir.clone();
    let environment = environment.unwrap_or_else(|| usual_config(start.directory, world.rootless).join("provenance.d"));
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let worker = rbuild_daemon::workers::Worker {
        config: config.worker.clone(),
        hostname: hostname.trim().to_owned(),
        snapshotter,
        network: if config.worker.network == NetworkMode::Host { "host" } else { "bridge" },
        platforms: vec![rbuild_oci::Platform::host()],
    };
    Ok(Parts {
        images: world.images().with_options(world.store(), options),
        roots,
        network: world.network()?,
        search_path: variable("PATH").map(Into::into),
        worker,
        entitlements: config.grantable(),
        cdi_spec_dirs: config.cdi.spec_dirs.clone(),
        default_network: match config.worker.network {
            NetworkMode::Auto => Network::Isolated,
            NetworkMode::Host => Network::Host,
        },
        frontends: config.frontends.clone(),
        parallelism: config.worker.max_parallelism.and_then(NonZeroUsize::new),
        keeps_images: start.directory == "rbuild",
        history: config.history.clone(),
        environment: rbuild_daemon::config::environment(&environment).map_err(Failure::user)?,
        stop: stop.clone(),
    })
}

/// Returns how writable roots are made, as the administrator wants it.
fn roots(config: &Config, world: &World) -> Result<Roots, Failure> {
    let best = world.roots();
    let fits = match (config.worker.snapshotter, &best.strategy) {
        (Snapshotter::Native, _) => return Ok(Roots::new(Strategy::Copy, best.single_id)),
        (Snapshotter::Auto, _) => true,
        (Snapshotter::Overlay, strategy) => matches!(strategy, Strategy::Overlay { .. }),
        (Snapshotter::FuseOverlay, strategy) => matches!(strategy, Strategy::FuseOverlay { .. }),
    };
    let wanted = config.worker.snapshotter;
    let refused = || Failure::User(format!("snapshotter {wanted:?} cannot be had here: leave the choice to auto"));
    if fits { Ok(best) } else { Err(refused()) }
}

async fn stop_upon_signal(stop: CancellationToken) {
    crate::signals::first().await;
    tokio::spawn(crate::signals::insist());
    stop.cancel();
}

fn tell(manager: &Option<ServiceManager>, what: fn(&ServiceManager) -> std::io::Result<()>, log: &Log) {
    if let Some(Err(error)) = manager.as_ref().map(what) {
        log.warning(format_args!("telling the service manager: {error}"));
    }
}

/// Takes over the sockets that systemd has opened for this process.
fn inherited() -> Result<Vec<OwnedFd>, Failure> {
    let for_us = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
    let Some(count) = variable("LISTEN_FDS").filter(|_| for_us) else { return Ok(Vec::new()) };
    let invalid = || Failure::User(format!("LISTEN_FDS is `{count}`, which is no number of sockets"));
    let count: i32 = count.parse().ok().filter(|count| (0..=1024).contains(count)).ok_or_else(invalid)?;
    let numbers: Vec<i32> = (3..3 + count).collect();
    rbuild_sys::clone::claim_inherited(&numbers)
        .map_err(|error| Failure::User(format!("taking over {count} sockets of the service manager: {error}")))
}

/// Returns where configuration lies that nobody names.
pub(crate) fn usual_config(directory: &str, rootless: bool) -> PathBuf {
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".config"));
    let user = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home).filter(|_| rootless);
    user.unwrap_or_else(|| PathBuf::from("/etc")).join(directory)
}

/// Returns the address of a daemon that was told none.
pub(crate) fn usual_address(directory: &str, rootless: bool) -> Result<Address, Failure> {
    let runtime = match rootless {
        false => PathBuf::from("/run"),
        true => variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()).ok_or_else(|| {
            Failure::User("XDG_RUNTIME_DIR is not set: say where the socket lies with --addr".to_owned())
        })?,
    };
    Ok(Address::Unix(runtime.join(directory).join("buildkitd.sock")))
}

fn log(config: &Config) -> Log {
    if config.log.json {
        return Log::new(config.log.level, |level, message| {
            let time = time::OffsetDateTime::now_utc();
            let time = time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
            ui::say(&serde_json::json!({ "level": level.as_str(), "msg": message, "time": time }).to_string());
        });
    }
    Log::new(config.log.level, |level, message| ui::say(&format!("{}: {message}", level.as_str())))
}

/// Returns the number of a group that is named, or is a number.
pub(crate) fn group(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string("/etc/group").map_err(|error| format!("reading /etc/group: {error}"))?;
    let numbered = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    groups.lines().find_map(numbered).ok_or_else(|| {
        format!("no group `{name}` in /etc/group; groups that are known elsewhere can be given by their numbers")
    })
}

/// Parses an entitlement.
pub(crate) fn entitlement(name: &str) -> Result<Entitlement, String> {
    Entitlement::parse(name)
        .ok_or_else(|| format!("no entitlement `{name}`: expected network.host, security.insecure or device"))
}

fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| mode & !0o777 == 0 && mode & 0o600 == 0o600);
    mode.ok_or_else(|| format!("`{text}` is no mode under which the owner can use a socket, such as 0660"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_and_leave_the_owner_in() {
        for (text, bits) in [("0660", 0o660), ("666", 0o666), ("0o600", 0o600)] {
            assert_eq!(mode(text), Ok(bits), "{text}");
        }
        for text in ["", "0888", "0060", "1777", "-1"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn groups() {
        assert_eq!(group("17"), Ok(17));
        assert_eq!(group("root"), Ok(0));
        assert!(group("no such group").unwrap_err().contains("by their numbers"));
    }
}
