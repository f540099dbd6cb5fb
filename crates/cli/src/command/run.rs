//! `rbuild run`: a container of an image, in the foreground.

use std::path::PathBuf;

use rbuild_engine::{Engine, Network, Parts, Pull, RunRequest, Security, Ulimit, Volume};

use crate::ui::Failure;
use crate::value;
use crate::world::{World, chain, silent, stderr, stdin, stdout, variable};

/// Run a command in a new container of an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image (a name, or an id), then the command instead of the image's: what follows the image
    /// belongs to the container, flags, too
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_names = ["IMAGE", "COMMAND"], num_args = 1..)]
    pub(crate) image_and_command: Vec<String>,
    /// Remove the container when it ends (always done for now: containers are not kept)
    #[arg(long)]
    pub(crate) rm: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set an environment variable (`NAME=VALUE`, or `NAME` to hand on)
    #[arg(short, long = "env", value_name = "NAME[=VALUE]", value_parser = value::key_maybe_value)]
    pub(crate) env: Vec<(String, Option<String>)>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Mount a directory of the host (`/host:/container[:ro]`)
    #[arg(short, long = "volume", value_name = "SOURCE:TARGET[:OPTIONS]", value_parser = volume)]
    pub(crate) volumes: Vec<Volume>,
    /// Mount a directory or memory (`type=bind,src=…,dst=…`, `type=tmpfs,dst=…`)
    #[arg(long = "mount", value_name = "SPEC", value_parser = mount)]
    pub(crate) mounts: Vec<Volume>,
    /// Mount memory (`/path[:size=64m,mode=1777,ro,exec]`)
    #[arg(long = "tmpfs", value_name = "PATH[:OPTIONS]", value_parser = tmpfs)]
    pub(crate) tmpfs: Vec<Volume>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User name or id (`name|uid[:group|gid]`)
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Replace the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Network: `bridge`, `host` or `none`
    #[arg(long, visible_alias = "net", value_name = "MODE", default_value = "bridge", value_parser = ["bridge", "default", "host", "none"])]
    pub(crate) network: String,
    /// Host name of the container
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Add a line to /etc/hosts (`host:ip`)
    #[arg(long = "add-host", value_name = "HOST:IP", value_parser = value::add_host)]
    pub(crate) add_hosts: Vec<(String, String)>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES", value_parser = value::size)]
    pub(crate) memory: Option<u64>,
    /// Limit of memory and swap, -1 for unlimited swap
    #[arg(long, value_name = "BYTES", value_parser = value::memory_swap, allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<i64>,
    /// CPU limit, in CPUs
    #[arg(long, value_name = "NUMBER", value_parser = value::cpus)]
    pub(crate) cpus: Option<f64>,
    /// Limit of processes, -1 for none
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// Security options (`no-new-privileges`, `seccomp=unconfined`, `systempaths=unconfined`)
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Run an init that reaps orphans (rbuild always does)
    #[arg(long)]
    pub(crate) init: bool,
    /// Ulimit (`nofile=1024:2048`)
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = value::ulimit)]
    pub(crate) ulimits: Vec<rbuild_build::Ulimit>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = value::size)]
    pub(crate) shm_size: Option<u64>,
    /// When to look the image up at its registry
    #[arg(long, value_name = "WHEN", default_value = "missing", value_parser = ["always", "missing", "never"])]
    pub(crate) pull: String,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

/// Parses `-v`: `/host:/container[:ro|rw]`.
fn volume(text: &str) -> Result<Volume, String> {
    let mut parts = text.split(':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
        return Err(format!("volume `{text}`: anonymous volumes do not exist yet; expected /host:/container[:ro]"));
    };
    let mut read_only = false;
    for option in parts.flat_map(|options| options.split(',')) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            // Labels of SELinux, which mean nothing where it is not in force; and what is so anyway.
            "z" | "Z" if !std::path::Path::new("/sys/fs/selinux/enforce").exists() => {}
            "z" | "Z" => return Err(format!("volume `{text}`: relabelling for SELinux is not supported")),
            "rprivate" | "private" | "consistent" | "cached" | "delegated" => {}
            other => return Err(format!("volume `{text}`: option `{other}` is not supported: `ro` or `rw`")),
        }
    }
    if !source.starts_with(['/', '.']) {
        return Err(format!("volume `{text}`: named volumes do not exist yet; give a path that starts with / or ."));
    }
    let source = std::path::absolute(source).map_err(|error| format!("volume `{text}`: {error}"))?;
    Ok(Volume::Bind { source, target: absolute_target(target)?, read_only, create: true })
}

/// Parses `--mount`.
fn mount(text: &str) -> Result<Volume, String> {
    let mut attributes = value::attributes(text)?;
    let mut take = |names: &[&str]| names.iter().find_map(|name| attributes.remove(*name));
    let kind = take(&["type"]).unwrap_or_else(|| "volume".to_owned());
    let target =
        take(&["target", "dst", "destination"]).ok_or_else(|| format!("mount `{text}`: target is required"))?;
    let target = absolute_target(&target)?;
    let read_only = take(&["readonly", "ro"]).is_some_and(|value| matches!(value.as_str(), "" | "true" | "1"));
    let mounted = match kind.as_str() {
        "bind" => {
            let source = take(&["source", "src"]).ok_or_else(|| format!("mount `{text}`: source is required"))?;
            let source = std::path::absolute(&source).map_err(|error| format!("mount `{text}`: {error}"))?;
            Volume::Bind { source, target, read_only, create: false }
        }
        "tmpfs" => {
            let size = take(&["tmpfs-size"]).map(|size| value::size(&size)).transpose()?;
            let mode = take(&["tmpfs-mode"]).map(|mode| octal(&mode)).transpose()?;
            Volume::Tmpfs { target, size, mode, read_only, exec: false }
        }
        "volume" => return Err(format!("mount `{text}`: named volumes do not exist yet; use type=bind or type=tmpfs")),
        other => return Err(format!("mount `{text}`: unknown type `{other}`: `bind` or `tmpfs`")),
    };
    match attributes.keys().next() {
        Some(unknown) => Err(format!("mount `{text}`: unknown option `{unknown}`")),
        None => Ok(mounted),
    }
}

/// Parses `--tmpfs`: `/path[:size=64m,mode=1777,ro,exec]`; set-user-id bits and devices never count.
fn tmpfs(text: &str) -> Result<Volume, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut read_only, mut exec) = (None, None, false, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(value::size(value)?),
            Some(("mode", value)) => mode = Some(octal(value)?),
            None if matches!(option, "ro" | "rw") => read_only = option == "ro",
            None if matches!(option, "exec" | "noexec") => exec = option == "exec",
            None if matches!(option, "nosuid" | "nodev") => {}
            _ => {
                return Err(format!(
                    "tmpfs `{text}`: option `{option}` is not supported: size=, mode=, ro, rw, exec, noexec, nosuid or nodev"
                ));
            }
        }
    }
    Ok(Volume::Tmpfs { target: absolute_target(target)?, size, mode, read_only, exec })
}

fn absolute_target(target: &str) -> Result<PathBuf, String> {
    match target {
        "/" => Err("invalid mount target `/`: destination can't be '/'".to_owned()),
        target if target.starts_with('/') => Ok(PathBuf::from(target)),
        target => Err(format!("invalid mount target `{target}`: mount path must be absolute")),
    }
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| format!("invalid mode `{text}`"))
}

/// Parses the values of `--security-opt`.
fn security(options: &[String]) -> Result<Security, String> {
    let mut security = Security::default();
    for option in options {
        match option.replacen(':', "=", 1).as_str() {
            "no-new-privileges" | "no-new-privileges=true" => security.no_new_privileges = true,
            "no-new-privileges=false" => security.no_new_privileges = false,
            "seccomp=unconfined" => security.seccomp_unconfined = true,
            "seccomp=builtin" => security.seccomp_unconfined = false,
            "systempaths=unconfined" => security.unmask_all = true,
            _ => {
                return Err(format!(
                    "--security-opt `{option}` is not supported: no-new-privileges, seccomp=unconfined or systempaths=unconfined"
                ));
            }
        }
    }
    Ok(security)
}

/// Reads docker's env-file format: `NAME=VALUE` or `NAME` a line, `#` begins a comment line.
fn env_file(path: &std::path::Path, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("reading env file `{}`: {error}", path.display()))?;
    let mut variables = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line.trim_end(), lookup(line.trim_end())),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(format!(
                "env file `{}`, line {}: variable `{name}` contains whitespace or is empty",
                path.display(),
                number + 1
            ));
        }
        variables.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(variables)
}

impl Args {
    /// Returns what the engine is asked; `lookup` reads the caller's environment.
    pub(crate) fn request(self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<RunRequest, String> {
        let mut words = self.image_and_command.into_iter();
        let image = words.next().unwrap_or_default();
        if image.starts_with('-') {
            return Err(format!("unexpected argument '{image}' found; see 'rbuild run --help'"));
        }
        let mut env = Vec::new();
        for file in &self.env_file {
            env.extend(env_file(file, lookup)?);
        }
        for (name, value) in self.env {
            let value = value.or_else(|| lookup(&name));
            env.extend(value.map(|value| (name, value)));
        }
        Ok(RunRequest {
            image,
            command: words.collect(),
            entrypoint: self.entrypoint,
            env,
            workdir: self.workdir,
            user: self.user,
            hostname: self.hostname,
            interactive: self.interactive,
            tty: self.tty,
            volumes: [self.volumes, self.mounts, self.tmpfs].concat(),
            network: match self.network.as_str() {
                "host" => Network::Host,
                "none" => Network::None,
                _ => Network::Bridge,
            },
            add_hosts: self.add_hosts,
            memory: self.memory,
            memory_swap: self.memory_swap,
            cpus: self.cpus,
            pids: self.pids_limit,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            security: security(&self.security_opt)?,
            read_only: self.read_only,
            ulimits: self.ulimits.into_iter().map(|u| Ulimit { name: u.name, soft: u.soft, hard: u.hard }).collect(),
            shm_size: self.shm_size,
            pull: match self.pull.as_str() {
                "always" => Pull::Always,
                "never" => Pull::Never,
                _ => Pull::Missing,
            },
            platform: self.platform.as_deref().map(str::parse).transpose().map_err(|error| format!("{error}"))?,
        })
    }
}

/// Runs a container and ends with its exit code.
pub(crate) fn run(args: Args, world: &World) -> Result<(), Failure> {
    let request = args.request(&crate::world::variable_or_empty).map_err(Failure::Usage)?;
    if request.tty && request.interactive && !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        return Err(Failure::Engine("the input device is not a TTY: leave -t out".to_owned()));
    }
    let mode = crate::exchange::mode(if crate::ui::stderr_is_terminal() { "auto" } else { "quiet" });
    let local = world.store().images().resolve(&request.image).is_ok() && request.pull != Pull::Always;
    let (reporter, display) = if local {
        (silent(), None)
    } else {
        let (reporter, display) = crate::exchange::show(mode, "Pulling");
        (reporter, Some(display))
    };
    let parts = Parts {
        images: world.images().clone(),
        roots: world.roots(),
        network: world.network()?,
        reporter,
        search_path: variable("PATH").map(Into::into),
        stdin,
        stdout,
        stderr,
    };
    let code = world.runtime().block_on(Engine::new(parts).run(request));
    if let Some(display) = display {
        crate::exchange::finish(display, None);
    }
    match code {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Code(code)),
        Err(error) => {
            crate::ui::say_error(&chain(&error));
            Err(Failure::Code(error.exit_code()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tmpfs_options() {
        let check = |text: &str, expected: (Option<u64>, Option<u32>, bool, bool)| {
            let Ok(Volume::Tmpfs { size, mode, read_only, exec, .. }) = tmpfs(text) else { panic!("{text}") };
            assert_eq!((size, mode, read_only, exec), expected, "{text}");
        };
        check("/run", (None, None, false, false));
        check("/run:rw,noexec,nosuid,size=65536k", (Some(64 << 20), None, false, false));
        check("/run:ro,exec,nodev,mode=700", (None, Some(0o700), true, true));
        assert!(tmpfs("/run:suid").is_err() && tmpfs("run").is_err() && tmpfs("/").is_err());
    }

    #[test]
    fn volume_options() {
        let read_only = |text: &str| match volume(text) {
            Ok(Volume::Bind { read_only, .. }) => read_only,
            other => panic!("{text}: {other:?}"),
        };
        assert!(read_only("/a:/b:ro") && read_only("/a:/b:ro,rprivate"));
        assert!(!read_only("/a:/b") && !read_only("/a:/b:rw"));
        assert!(volume("/a:/b:rshared").is_err() && volume("name:/b").is_err() && volume("/b").is_err());
    }
}
