//! From an image's configuration and a request to a sandbox's specification: a pure function.

use std::path::{Path, PathBuf};

use rbuild_oci::ContainerConfig;
use rbuild_sandbox::{
    BindSource, Limits, Mount, MountKind, Pids, Rlimit, RootSpec, SandboxSpec, Seccomp, Stdio, Stream, caps::CapSet,
};

use crate::EngineError;
use crate::request::{RunRequest, Volume};

/// Where programs are looked for if neither image nor caller says.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the specification of a container with the host name `hostname`; network and terminal
/// size are filled in by whoever knows them.
///
/// # Errors
/// If there is nothing to run, or a value is out of range.
pub fn spec(
    config: &ContainerConfig,
    request: &RunRequest,
    root: RootSpec,
    hostname: &str,
) -> Result<SandboxSpec, EngineError> {
    let mut spec = SandboxSpec::new(root, arguments(config, request)?);
    spec.readonly_root = request.read_only;
    spec.writable_files = !request.read_only;
    spec.mounts = request.volumes.iter().map(mount).collect();
    spec.shm_size = request.shm_size.unwrap_or(spec.shm_size);
    spec.env = environment(config, request, hostname);
    spec.cwd = cwd(config, request)?;
    spec.create_cwd = true;
    spec.user = request.user.clone().unwrap_or_else(|| config.user.clone());
    spec.hostname = hostname.to_owned();
    spec.security.capabilities = capabilities(request)?;
    spec.security.no_new_privileges = request.security.no_new_privileges;
    if request.security.seccomp_unconfined {
        spec.security.seccomp = Seccomp::Unconfined;
    }
    if request.security.unmask_all {
        spec.security.masked_paths.clear();
        spec.security.readonly_paths.clear();
    }
    spec.rlimits = request.ulimits.iter().map(rlimit).collect();
    spec.limits = limits(request)?;
    spec.init = true;
    spec.stdio = match request.tty {
        true => Stdio::Terminal { rows: 24, columns: 80 },
        false => {
            let stdin = if request.interactive { Stream::Pipe } else { Stream::Null };
            Stdio::Streams { stdin, stdout: Stream::Pipe, stderr: Stream::Pipe }
        }
    };
    Ok(spec)
}

/// An entry point given by the caller replaces the image's command, too.
fn arguments(config: &ContainerConfig, request: &RunRequest) -> Result<Vec<String>, EngineError> {
    let mut args = match &request.entrypoint {
        Some(program) if program.is_empty() => Vec::new(),
        Some(program) => vec![program.clone()],
        None => config.entrypoint.clone().unwrap_or_default(),
    };
    if !request.command.is_empty() {
        args.extend(request.command.iter().cloned());
    } else if request.entrypoint.as_deref().is_none_or(str::is_empty) {
        args.extend(config.cmd.iter().flatten().cloned());
    }
    if args.is_empty() {
        let message = "no command specified: the image has neither entry point nor command; give one after the image";
        return Err(EngineError::Request(message.to_owned()));
    }
    Ok(args)
}

fn environment(config: &ContainerConfig, request: &RunRequest, hostname: &str) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if request.tty {
        env.push("TERM=xterm".to_owned());
    }
    let given = request.env.iter().map(|(name, value)| format!("{name}={value}"));
    for entry in config.env.iter().cloned().chain(given) {
        let name = entry.split('=').next().unwrap_or_default();
        let same = |known: &&mut String| known.split('=').next() == Some(name);
        match env.iter_mut().find(same) {
            Some(known) => *known = entry,
            None => env.push(entry),
        }
    }
    env
}

fn cwd(config: &ContainerConfig, request: &RunRequest) -> Result<PathBuf, EngineError> {
    let text = request.workdir.as_deref().unwrap_or(&config.working_dir);
    match text {
        "" => Ok(PathBuf::from("/")),
        text if text.starts_with('/') => Ok(rbuild_sandbox::within_root(Path::new(text))),
        text => Err(EngineError::Request(format!(
            "the working directory `{text}` is invalid, it needs to be an absolute path"
        ))),
    }
}

fn mount(volume: &Volume) -> Mount {
    match volume {
        Volume::Bind { source, target, read_only, .. } => Mount {
            target: target.clone(),
            kind: MountKind::Bind { source: BindSource::Path(source.clone()), recursive: true, nosuid: false },
            readonly: *read_only,
            exec: true,
        },
        Volume::Tmpfs { target, size, mode, read_only, exec } => Mount {
            target: target.clone(),
            kind: MountKind::Tmpfs { size: *size, mode: mode.unwrap_or(0o1777), owner: (0, 0) },
            readonly: *read_only,
            exec: *exec,
        },
    }
}

fn capabilities(request: &RunRequest) -> Result<CapSet, EngineError> {
    let parse = |name: &String| match name.to_ascii_uppercase().as_str() {
        "ALL" => Ok(CapSet::ALL),
        upper => {
            let name = if upper.starts_with("CAP_") { upper.to_owned() } else { format!("CAP_{upper}") };
            CapSet::named(&name).ok_or_else(|| EngineError::Request(format!("unknown capability `{name}`")))
        }
    };
    let union = |names: &[String]| {
        names.iter().try_fold(CapSet::EMPTY, |set, name| Ok::<_, EngineError>(set.with(parse(name)?)))
    };
    let (add, drop) = (union(&request.cap_add)?, union(&request.cap_drop)?);
    // As docker: dropping all and adding some leaves those; adding all and dropping some takes those.
    if request.cap_drop.iter().any(|name| name.eq_ignore_ascii_case("all")) {
        return Ok(add);
    }
    Ok(CapSet::DEFAULT.with(add).without(drop))
}

fn rlimit(limit: &crate::Ulimit) -> Rlimit {
    let value = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    Rlimit { name: limit.name.clone(), soft: value(limit.soft), hard: value(limit.hard) }
}

fn limits(request: &RunRequest) -> Result<Limits, EngineError> {
    const PERIOD: u64 = 100_000;
    const LEAST: u64 = 6 << 20;
    if request.memory.is_some_and(|memory| memory < LEAST) {
        return Err(EngineError::Request("minimum memory limit allowed is 6MB".to_owned()));
    }
    Ok(Limits {
        memory: request.memory.filter(|memory| *memory > 0),
        memory_swap: request.memory_swap,
        cpu_quota: request.cpus.map(|cpus| (cpus * PERIOD as f64) as i64),
        cpu_period: request.cpus.map(|_| PERIOD),
        pids: match request.pids {
            None => Pids::Default,
            Some(limit) => u64::try_from(limit).ok().filter(|limit| *limit > 0).map_or(Pids::Unlimited, Pids::Max),
        },
        ..Limits::default()
    })
}

/// Makes the sources of binds that are asked to be made, and checks the others.
pub(crate) fn check_sources(volumes: &[Volume]) -> Result<(), EngineError> {
    for volume in volumes {
        let Volume::Bind { source, create, .. } = volume else { continue };
        if source.exists() {
            continue;
        }
        match create {
            true => make_source(source)?,
            false => {
                return Err(EngineError::Request(format!("bind source path does not exist: {}", source.display())));
            }
        }
    }
    Ok(())
}

fn make_source(source: &Path) -> Result<(), EngineError> {
    std::fs::create_dir_all(source).map_err(EngineError::io(format!("creating `{}`", source.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(config: ContainerConfig, request: RunRequest) -> SandboxSpec {
        spec(&config, &request, RootSpec::Dir("/r".into()), "box").unwrap()
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments_as_docker_joins_them() {
        for (entrypoint, cmd, given_entrypoint, given, expected) in [
            (None, Some("sh"), None, "", "sh"),
            (None, Some("sh"), None, "ls -l", "ls -l"),
            (Some("/e"), Some("a b"), None, "", "/e a b"),
            (Some("/e"), Some("a b"), None, "c", "/e c"),
            (Some("/e"), Some("a b"), Some("/x"), "", "/x"),
            (Some("/e"), Some("a b"), Some("/x"), "c", "/x c"),
            (Some("/e"), Some("a b"), Some(""), "", "a b"),
            (Some("/e"), Some("a b"), Some(""), "c", "c"),
        ] {
            let config =
                ContainerConfig { entrypoint: entrypoint.map(words), cmd: cmd.map(words), ..Default::default() };
            let request = RunRequest {
                entrypoint: given_entrypoint.map(str::to_owned),
                command: words(given),
                ..Default::default()
            };
            assert_eq!(made(config, request).args, words(expected));
        }
        assert!(arguments(&ContainerConfig::default(), &RunRequest::default()).is_err());
    }

    #[test]
    fn environment_is_the_images_then_the_callers() {
        let config = ContainerConfig { env: words("PATH=/bin A=1 B=2"), cmd: Some(words("x")), ..Default::default() };
        let request = RunRequest { env: vec![("B".into(), "3".into())], ..Default::default() };
        assert_eq!(made(config, request).env, words("PATH=/bin HOSTNAME=box A=1 B=3"));
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        let of = |add: &str, drop: &str| {
            capabilities(&RunRequest { cap_add: words(add), cap_drop: words(drop), ..Default::default() })
        };
        assert_eq!(of("", "").unwrap(), CapSet::DEFAULT);
        assert_eq!(of("", "ALL").unwrap(), CapSet::EMPTY);
        assert_eq!(of("net_admin", "all").unwrap(), CapSet::named("CAP_NET_ADMIN").unwrap());
        assert_eq!(of("ALL", "CAP_SYS_ADMIN").unwrap(), CapSet::ALL.without(CapSet::named("CAP_SYS_ADMIN").unwrap()));
        assert!(of("bogus", "").is_err());
    }
}
