//! `buildkitd`: the flags of BuildKit's daemon.
//!
//! Each flag does what it says there, or asks for what is so anyway, or is refused. What only says how BuildKit does
//! something is accepted empty or off.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rbuild_daemon::address::Address;
use rbuild_daemon::config::{Config, Entitlement, NetworkMode, Snapshotter, Space};
use rbuild_daemon::log::Level;
use rbuild_oci::Platform;

use super::serve::{self, Start, Tls};
use crate::args::Global;
use crate::ui::Failure;
use crate::world::variable;

/// Serve BuildKit's clients with the flags of BuildKit's daemon
#[derive(Debug, Parser)]
#[command(name = "buildkitd", disable_version_flag = true, max_term_width = 100)]
struct Args {
    /// Configuration file [default: /etc/buildkit/buildkitd.toml, rootless ~/.config/buildkit/buildkitd.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say more
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    debug: Option<bool>,
    /// Say more
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    trace: Option<bool>,
    /// Directory of the store [default: /var/lib/buildkit, rootless ~/.local/share/buildkit]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Where to listen: unix://PATH, tcp://HOST:PORT or fd://
    #[arg(long, value_name = "ADDRESS")]
    addr: Vec<Address>,
    /// Form of the log: text or json
    #[arg(long, value_parser = ["text", "json"])]
    log_format: Option<String>,
    /// Least important messages that are logged
    #[arg(long, env = "BUILDKITD_LOG_LEVEL", hide_env_values = true, value_parser = level)]
    log_level: Option<Level>,
    /// Group that may use unix sockets: a name or a number
    #[arg(long)]
    group: Option<String>,
    /// Not supported
    #[arg(long, hide = true)]
    debugaddr: Option<String>,
    #[command(flatten)]
    tls: Tls,
    /// What clients may be granted if they ask for it: network.host, security.insecure, device
    #[arg(long, value_name = "ENTITLEMENT", value_parser = serve::entitlement)]
    allow_insecure_entitlement: Vec<Entitlement>,
    /// Not supported
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    proxy_network: Option<bool>,
    /// Where BuildKit takes traces of its helpers; there are none here
    #[arg(long, hide = true)]
    otel_socket_path: Option<PathBuf>,
    /// No devices by the Container Device Interface
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    cdi_disabled: Option<bool>,
    /// Directory with descriptions of devices
    #[arg(long, value_name = "DIR")]
    cdi_spec_dir: Vec<PathBuf>,
    /// Not supported
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    save_cache_debug: Option<bool>,
    /// Must be run by an ordinary user
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    rootless: Option<bool>,
    /// Show the version
    #[arg(long, short)]
    version: bool,
    #[command(flatten)]
    worker: Worker,
    #[command(flatten)]
    absent: Absent,
}

/// The worker that BuildKit calls `oci`.
#[derive(Debug, clap::Args)]
struct Worker {
    /// true or auto: there is no other worker
    #[arg(long, value_name = "BOOL", value_parser = boolean_or_auto)]
    oci_worker: Option<Auto>,
    /// Label that clients are told
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::value::key_value)]
    oci_worker_labels: Vec<(String, String)>,
    /// How roots of steps are made: auto, overlayfs, fuse-overlayfs or native
    #[arg(long, value_name = "NAME", value_parser = snapshotter)]
    oci_worker_snapshotter: Option<Snapshotter>,
    /// Platform that clients are told
    #[arg(long, value_name = "PLATFORM")]
    oci_worker_platform: Vec<Platform>,
    /// Network of steps: auto, bridge or host
    #[arg(long, value_name = "NAME", value_parser = network)]
    oci_worker_net: Option<NetworkMode>,
    /// Steps that run at once
    #[arg(long, value_name = "NUMBER")]
    oci_max_parallelism: Option<usize>,
    /// Must be run by an ordinary user
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    oci_worker_rootless: Option<bool>,
    /// Has no effect: steps have processes of their own in any case
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    oci_worker_no_process_sandbox: Option<bool>,
    /// Give up cache by itself
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    oci_worker_gc: Option<bool>,
    /// Cache that is kept, in MB: RESERVED[,FREE[,MAXIMUM]]
    #[arg(long, value_name = "SPACES", value_parser = spaces)]
    oci_worker_gc_keepstorage: Option<Spaces>,
    /// Not supported
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    oci_worker_selinux: Option<bool>,
    /// Not supported
    #[arg(long, hide = true)]
    oci_worker_proxy_snapshotter_path: Option<String>,
    /// Not supported
    #[arg(long, hide = true)]
    oci_worker_binary: Option<String>,
    /// Not supported
    #[arg(long, hide = true)]
    oci_worker_apparmor_profile: Option<String>,
    /// Not supported
    #[arg(long, hide = true)]
    oci_cni_config_path: Option<String>,
    /// Not supported
    #[arg(long, hide = true)]
    oci_cni_binary_dir: Option<String>,
    /// Not supported
    #[arg(long, hide = true)]
    oci_cni_pool_size: Option<String>,
}

/// The worker on containerd, which is not there: whatever else is said of it has no effect.
#[derive(Debug, clap::Args)]
struct Absent {
    /// false or auto: there is no such worker
    #[arg(long, value_name = "BOOL", value_parser = boolean_or_auto)]
    containerd_worker: Option<Auto>,
    #[arg(long, hide = true)]
    containerd_worker_addr: Option<String>,
    #[arg(long, hide = true)]
    containerd_worker_labels: Vec<String>,
    #[arg(long, hide = true)]
    containerd_worker_platform: Vec<String>,
    #[arg(long, hide = true)]
    containerd_worker_namespace: Option<String>,
    #[arg(long, hide = true)]
    containerd_worker_runtime: Option<String>,
    #[arg(long, hide = true)]
    containerd_worker_net: Option<String>,
    #[arg(long, hide = true)]
    containerd_worker_snapshotter: Option<String>,
    #[arg(long, hide = true)]
    containerd_worker_apparmor_profile: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    containerd_worker_selinux: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    containerd_worker_rootless: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    containerd_worker_gc: Option<bool>,
    #[arg(long, hide = true)]
    containerd_worker_gc_keepstorage: Option<String>,
    #[arg(long, hide = true)]
    containerd_cni_config_path: Option<String>,
    #[arg(long, hide = true)]
    containerd_cni_binary_dir: Option<String>,
    #[arg(long, hide = true)]
    containerd_cni_pool_size: Option<String>,
    #[arg(long, hide = true)]
    containerd_max_parallelism: Option<String>,
}

/// A choice that may be left to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Auto {
    Auto,
    Is(bool),
}

/// What `--oci-worker-gc-keepstorage` says: reserved, free and most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spaces([Option<Space>; 3]);

/// Runs the daemon with its own flags, the name first.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => return crate::clap_exit(&error, 2),
    };
    if args.version {
        return match crate::ui::out(&version("buildkitd")) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.exit(),
        };
    }
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

/// Returns what a program of BuildKit's says of its version: drivers of buildx want four words.
pub(crate) fn version(name: &str) -> String {
    let version = rbuild_daemon::workers::buildkit_version();
    format!("{name} {} {} {}\n", version.package, version.version, version.revision)
}

fn run(args: Args) -> Result<(), Failure> {
    let rootless = !rustix::process::geteuid().is_root();
    let mut config = match &args.config {
        Some(path) => serve::read(path)?,
        None => Config::load(&usual_config(rootless)).map_err(Failure::user)?.unwrap_or_default(),
    };
    args.apply(&mut config).map_err(Failure::Usage)?;
    if config.root.is_none() {
        config.root = Some(usual_root(rootless)?);
    }
    let debug = config.log.level == Level::Debug;
    let global = Global { root: None, debug, config: variable("DOCKER_CONFIG").map(PathBuf::from) };
    serve::start(Start { config, mode: None, insecure_tcp: args.tls.insecure_tcp, directory: "buildkit" }, &global)
}

fn usual_config(rootless: bool) -> PathBuf {
    serve::usual_config("buildkit", rootless).join("buildkitd.toml")
}

fn usual_root(rootless: bool) -> Result<PathBuf, Failure> {
    if !rootless {
        return Ok(PathBuf::from("/var/lib/buildkit"));
    }
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let data = variable("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    let missing = || Failure::User("neither XDG_DATA_HOME nor HOME is set: say --root".to_owned());
    Ok(data.ok_or_else(missing)?.join("buildkit"))
}

impl Args {
    /// Puts the flags over what the file says.
    fn apply(&self, config: &mut Config) -> Result<(), String> {
        refuse_text("--debugaddr", &self.debugaddr, "there is no debugging server")?;
        refuse("--proxy-network", self.proxy_network, "steps are not forced through a proxy")?;
        refuse("--save-cache-debug", self.save_cache_debug, "the cache can be looked at with `rbuild explain`")?;
        if let Some(root) = &self.root {
            config.root = Some(root.clone());
        }
        if !self.addr.is_empty() {
            config.addresses.clone_from(&self.addr);
        }
        if self.debug == Some(true) || self.trace == Some(true) {
            config.log.level = Level::Debug;
        }
        config.log.level = self.log_level.unwrap_or(config.log.level);
        if let Some(format) = &self.log_format {
            config.log.json = format == "json";
        }
        if let Some(group) = self.group.as_deref().filter(|group| !group.is_empty()) {
            config.gid = Some(serve::group(group)?);
        }
        if !self.allow_insecure_entitlement.is_empty() {
            config.entitlements = self.allow_insecure_entitlement.iter().copied().collect();
        }
        config.cdi.disabled = self.cdi_disabled.unwrap_or(config.cdi.disabled);
        if !self.cdi_spec_dir.is_empty() {
            config.cdi.spec_dirs.clone_from(&self.cdi_spec_dir);
        }
        config.worker.rootless = self.rootless.or(config.worker.rootless);
        self.tls.apply(config);
        if self.absent.containerd_worker == Some(Auto::Is(true)) {
            return Err("--containerd-worker=true: rbuild does not run on containerd".to_owned());
        }
        self.worker.apply(config)
    }
}

impl Worker {
    fn apply(&self, config: &mut Config) -> Result<(), String> {
        self.refuse_others()?;
        let worker = &mut config.worker;
        worker.labels.extend(self.oci_worker_labels.iter().cloned());
        worker.snapshotter = self.oci_worker_snapshotter.unwrap_or(worker.snapshotter);
        if !self.oci_worker_platform.is_empty() {
            worker.platforms.clone_from(&self.oci_worker_platform);
        }
        worker.network = self.oci_worker_net.unwrap_or(worker.network);
        if let Some(number) = self.oci_max_parallelism {
            worker.max_parallelism = Some(number).filter(|number| *number > 0);
        }
        worker.rootless = self.oci_worker_rootless.or(worker.rootless);
        worker.gc.enabled = self.oci_worker_gc.unwrap_or(worker.gc.enabled);
        if let Some(Spaces([reserved, min_free, max_used])) = self.oci_worker_gc_keepstorage {
            (worker.gc.reserved, worker.gc.min_free, worker.gc.max_used) = (reserved, min_free, max_used);
        }
        Ok(())
    }

    fn refuse_others(&self) -> Result<(), String> {
        const NO_PLUGINS: &str = "the networks of steps are made without plugins";
        const OWN_EXECUTOR: &str = "steps are run by rbuild itself";
        if self.oci_worker == Some(Auto::Is(false)) {
            return Err("--oci-worker=false: there is no other worker than this one".to_owned());
        }
        refuse("--oci-worker-selinux", self.oci_worker_selinux, "steps have no labels of SELinux")?;
        let profile = "steps have no profile of AppArmor";
        refuse_text("--oci-worker-apparmor-profile", &self.oci_worker_apparmor_profile, profile)?;
        let path = &self.oci_worker_proxy_snapshotter_path;
        refuse_text("--oci-worker-proxy-snapshotter-path", path, OWN_EXECUTOR)?;
        refuse_text("--oci-worker-binary", &self.oci_worker_binary, OWN_EXECUTOR)?;
        refuse_text("--oci-cni-config-path", &self.oci_cni_config_path, NO_PLUGINS)?;
        refuse_text("--oci-cni-binary-dir", &self.oci_cni_binary_dir, NO_PLUGINS)?;
        let pool = self.oci_cni_pool_size.clone().filter(|size| size != "0");
        refuse_text("--oci-cni-pool-size", &pool, NO_PLUGINS)
    }
}

fn refuse(flag: &str, value: Option<bool>, reason: &str) -> Result<(), String> {
    if value == Some(true) { Err(format!("{flag} is not supported: {reason}")) } else { Ok(()) }
}

fn refuse_text(flag: &str, value: &Option<String>, reason: &str) -> Result<(), String> {
    refuse(flag, value.as_ref().map(|text| !text.is_empty()), reason)
}

/// Parses a boolean as Go's flags do.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

fn boolean_or_auto(text: &str) -> Result<Auto, String> {
    if text.is_empty() || text.eq_ignore_ascii_case("auto") {
        return Ok(Auto::Auto);
    }
    boolean(text).map(Auto::Is).map_err(|_| "expected true, false or auto".to_owned())
}

fn level(text: &str) -> Result<Level, String> {
    Level::parse(text).ok_or_else(|| "expected error, warn, info or debug".to_owned())
}

fn snapshotter(name: &str) -> Result<Snapshotter, String> {
    Snapshotter::parse(name).ok_or_else(|| "expected auto, overlayfs, fuse-overlayfs or native".to_owned())
}

fn network(name: &str) -> Result<NetworkMode, String> {
    NetworkMode::parse(name).ok_or_else(|| "expected auto, bridge or host".to_owned())
}

fn spaces(text: &str) -> Result<Spaces, String> {
    let mut spaces = Spaces([None; 3]);
    let invalid = || "expected megabytes: RESERVED[,FREE[,MAXIMUM]]".to_owned();
    let mut parts = text.split(',');
    for (place, part) in spaces.0.iter_mut().zip(&mut parts) {
        let megabytes: u64 = part.parse().map_err(|_| invalid())?;
        *place = Some(Space::Bytes(megabytes.checked_mul(1_000_000).ok_or_else(invalid)?));
    }
    if parts.next().is_some() { Err(invalid()) } else { Ok(spaces) }
}

#[cfg(test)]
#[path = "buildkitd_tests.rs"]
mod tests;
