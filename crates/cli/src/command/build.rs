//! `rbuild build`: an image from a Dockerfile.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_build::{
    BuildError, BuildOutcome, BuildRequest, Builder, CacheSpec, ContextSource, DeviceGrants, DockerfileSource,
    ExportSpec, ImportSpec, NetworkMode, NoCache, OutputSpec, SecretSource, SshSource, Ulimit,
};
use rbuild_oci::Reference;

use crate::command::builder::{interruptible, parts, told};
use crate::command::call::{self, Call, Format};
use crate::exchange;
use crate::limits::Limits;
use crate::ui::{self, Failure};
use crate::value;
use crate::world::{World, chain, variable, variable_or_empty};

/// Build an image from a Dockerfile
#[derive(Debug, clap::Args)]
#[command(visible_alias = "b")]
pub(crate) struct Args {
    /// Build context: a directory, a URL, or `-` for standard input
    #[arg(value_name = "PATH | URL | -")]
    pub(crate) context: String,
    /// Name and optionally a tag of the image (`name:tag`)
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,
    /// Name of the Dockerfile (default: PATH/Dockerfile), `-` for standard input
    #[arg(short, long, value_name = "PATH")]
    pub(crate) file: Option<String>,
    /// Set the target build stage
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Set build-time variables
    #[arg(long = "build-arg", value_name = "KEY[=VALUE]", value_parser = value::key_maybe_value)]
    pub(crate) build_args: Vec<(String, Option<String>)>,
    /// Set metadata for the image
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = value::key_maybe_value)]
    pub(crate) labels: Vec<(String, Option<String>)>,
    /// Do not use the cache
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL",
          hide_default_value = true, hide_possible_values = true, action = clap::ArgAction::Set)]
    pub(crate) no_cache: bool,
    /// Do not use the cache for these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',', conflicts_with = "no_cache")]
    pub(crate) no_cache_filter: Vec<String>,
    /// Always look for newer base images
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL",
          hide_default_value = true, hide_possible_values = true, action = clap::ArgAction::Set)]
    pub(crate) pull: bool,
    /// Set the target platform; several, separated by commas, become an index
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Where the result goes, such as `type=local,dest=out` or `type=oci,dest=app.tar`
    #[arg(short, long = "output", value_name = "SPEC", value_parser = output)]
    pub(crate) outputs: Vec<OutputSpec>,
    /// Push to the registry: short for `--output=type=registry`
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL",
          hide_default_value = true, hide_possible_values = true, action = clap::ArgAction::Set)]
    pub(crate) push: bool,
    /// Put the image into the local store, also beside other outputs
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL",
          hide_default_value = true, hide_possible_values = true, action = clap::ArgAction::Set)]
    pub(crate) load: bool,
    /// Cache to look into before running steps (`user/app:cache`, `type=registry,ref=…`, `type=local,src=DIR`)
    #[arg(long = "cache-from", value_name = "SPEC", value_parser = cache_from)]
    pub(crate) cache_from: Vec<Caches>,
    /// Cache to write (`type=registry,ref=…[,mode=max]`, `type=local,dest=DIR`, `type=inline`)
    #[arg(long = "cache-to", value_name = "SPEC", value_parser = cache_to)]
    pub(crate) cache_to: Vec<Caches>,
    /// Secret to expose to steps (`id=mysecret[,src=/local/secret]` or `id=mysecret,env=NAME`)
    #[arg(long = "secret", value_name = "SPEC")]
    pub(crate) secrets: Vec<String>,
    /// ssh agent to expose to steps (`default` or `ID=SOCKET`)
    #[arg(long, value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,
    /// Additional build contexts (`name=path`, `name=docker-image://…`, `name=target:STAGE`)
    #[arg(long = "build-context", value_name = "NAME=PATH", value_parser = value::key_value)]
    pub(crate) build_contexts: Vec<(String, String)>,
    /// Network of RUN steps
    #[arg(long, value_name = "MODE", default_value = "default", value_parser = ["default", "host", "none"])]
    pub(crate) network: String,
    /// Add a line to /etc/hosts (`host:ip`, `host:host-gateway`)
    #[arg(long = "add-host", value_name = "HOST:IP", value_parser = value::add_host)]
    pub(crate) add_hosts: Vec<(String, String)>,
    /// Ulimit of RUN steps (`nofile=1024:2048`)
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = value::ulimit)]
    pub(crate) ulimits: Vec<Ulimit>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = value::size)]
    pub(crate) shm_size: Option<u64>,
    /// Cgroup below which RUN steps run
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_parent: Option<String>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// How progress is shown
    #[arg(long, value_name = "MODE", default_value = "auto", env = "BUILDKIT_PROGRESS", hide_env = true,
          value_parser = ["auto", "tty", "plain", "rawjson", "quiet"])]
    pub(crate) progress: String,
    /// Print only the image id
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write what was built, as JSON, to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Allow what steps ask for (`network.host`, `security.insecure`, `device[=NAME]`)
    #[arg(long, value_name = "ENTITLEMENT")]
    pub(crate) allow: Vec<String>,
    /// Directory with CDI descriptions of devices (default: /etc/cdi and /var/run/cdi)
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
    /// Answer a question instead of building: `check`, `outline` or `targets`, as text or with `,format=json`
    #[arg(long, value_name = "METHOD[,format=…]", default_value = "build", hide_default_value = true,
          value_parser = call::method)]
    pub(crate) call: call::Method,
    /// Check the Dockerfile instead of building: short for `--call=check`
    #[arg(long, conflicts_with = "call")]
    pub(crate) check: bool,
}

/// Parses `--output`: attributes, or a path alone (`-` for a tar on standard output).
fn output(text: &str) -> Result<OutputSpec, String> {
    let fields = value::csv(text)?;
    if let [only] = fields.as_slice()
        && !only.contains('=')
    {
        let kind = if only == "-" { "tar" } else { "local" };
        return Ok(OutputSpec { kind: kind.to_owned(), attributes: [("dest".to_owned(), only.clone())].into() });
    }
    let mut attributes = value::attributes(text)?;
    let kind = attributes.remove("type").ok_or_else(|| format!("type is required for output `{text}`"))?;
    const KINDS: &[&str] = &["image", "registry", "oci", "docker", "local", "tar", "cacheonly"];
    if !KINDS.contains(&kind.as_str()) {
        return Err(format!("unknown output type `{kind}`: one of {}", KINDS.join(", ")));
    }
    Ok(OutputSpec { kind, attributes })
}

/// Caches that one flag names.
#[derive(Debug, Clone)]
pub(crate) struct Caches(Vec<CacheSpec>);

fn flat(caches: &[Caches]) -> Vec<CacheSpec> {
    caches.iter().flat_map(|caches| caches.0.clone()).collect()
}

/// Parses a cache: attributes, or as buildx has it names alone.
fn caches(text: &str) -> Result<Vec<CacheSpec>, String> {
    let fields = value::csv(text)?;
    if fields.iter().all(|field| !field.contains('=')) {
        return Ok(fields.iter().map(|name| CacheSpec::registry(name)).collect());
    }
    let mut attributes = value::attributes(text)?;
    let kind = attributes.remove("type").ok_or_else(|| format!("type is required for cache `{text}`"))?;
    Ok(vec![CacheSpec { kind, attributes }])
}

fn cache_from(text: &str) -> Result<Caches, String> {
    let caches = caches(text)?;
    caches.iter().try_for_each(|cache| ImportSpec::parse(cache).map(drop)).map_err(|error| error.to_string())?;
    Ok(Caches(caches))
}

fn cache_to(text: &str) -> Result<Caches, String> {
    let caches = caches(text)?;
    caches.iter().try_for_each(|cache| ExportSpec::parse(cache).map(drop)).map_err(|error| error.to_string())?;
    Ok(Caches(caches))
}

/// The caller's environment, read by name.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Args {
    /// Returns what the builder is asked.
    pub(crate) fn request(&self, lookup: Lookup<'_>) -> Result<BuildRequest, String> {
        let labels = self.labels.iter().map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())).collect();
        let references = self.tags.iter().map(|tag| tag_reference(tag)).collect::<Result<_, _>>()?;
        let platforms = self.platform.iter().map(|text| text.parse().map_err(|error| format!("--platform: {error}")));
        Ok(BuildRequest {
            context: context(&self.context)?,
            dockerfile: dockerfile(self.file.as_deref()),
            tags: references,
            target: self.target.clone(),
            build_args: given(&self.build_args, lookup),
            labels,
            no_cache: no_cache(self.no_cache, &self.no_cache_filter),
            pull: self.pull,
            platforms: platforms.collect::<Result<_, _>>()?,
            outputs: self.outputs()?,
            cache_from: flat(&self.cache_from),
            cache_to: flat(&self.cache_to),
            secrets: self.secrets.iter().map(|text| secret(text, lookup)).collect::<Result<_, _>>()?,
            ssh: self.ssh.iter().map(|text| ssh(text, lookup)).collect::<Result<_, _>>()?,
            build_contexts: self.build_contexts.iter().cloned().collect(),
            network: network(&self.network),
            add_hosts: self.add_hosts.clone(),
            ulimits: self.ulimits.clone(),
            shm_size: self.shm_size,
            cgroup_parent: self.cgroup_parent.clone(),
            resources: self.limits.resources(),
            allow: self.allowed()?,
            devices: self.granted_devices()?,
            cdi_spec_dirs: self.cdi_spec_dirs.clone(),
            source_date_epoch: lookup("SOURCE_DATE_EPOCH"),
            color: exchange::colors(ui::stderr_is_terminal()),
        })
    }

    fn outputs(&self) -> Result<Vec<OutputSpec>, String> {
        let mut outputs = self.outputs.clone();
        if self.push {
            if self.tags.is_empty() && !outputs.iter().any(|output| output.attributes.contains_key("name")) {
                return Err("tag is needed when pushing to registry: add -t NAME".to_owned());
            }
            outputs.push(OutputSpec { kind: "registry".to_owned(), attributes: BTreeMap::new() });
        }
        if self.load {
            outputs.push(OutputSpec { kind: "image".to_owned(), attributes: BTreeMap::new() });
        }
        Ok(outputs)
    }

    fn allowed(&self) -> Result<Vec<String>, String> {
        let mut allowed: Vec<String> = self.allow.iter().filter(|name| device_grant(name).is_none()).cloned().collect();
        if let Some(unknown) = allowed.iter().find(|name| !ENTITLEMENTS.contains(&name.as_str())) {
            return Err(format!("unknown entitlement `{unknown}`: one of {}, device", ENTITLEMENTS.join(", ")));
        }
        // As buildx: asking for the host's network on the command line is the consent to it.
        if self.network == "host" {
            allowed.push("network.host".to_owned());
        }
        Ok(allowed)
    }

    fn granted_devices(&self) -> Result<DeviceGrants, String> {
        let mut grants = DeviceGrants::default();
        for rest in self.allow.iter().filter_map(|name| device_grant(name)) {
            grants.add(rest).map_err(|error| error.to_string())?;
        }
        Ok(grants)
    }
}

/// Returns what follows the word in an entitlement to devices.
fn device_grant(name: &str) -> Option<&str> {
    name.strip_prefix("device").filter(|rest| rest.is_empty() || rest.starts_with('='))
}

/// Returns the build arguments that have a value: their own, or that of the environment.
pub(crate) fn given(pairs: &[(String, Option<String>)], lookup: Lookup<'_>) -> BTreeMap<String, String> {
    let value = |(key, value): &(String, Option<String>)| Some((key.clone(), value.clone().or_else(|| lookup(key))?));
    pairs.iter().filter_map(value).collect()
}

/// Returns what `--file` means.
pub(crate) fn dockerfile(file: Option<&str>) -> DockerfileSource {
    match file {
        None => DockerfileSource::Default,
        Some("-") => DockerfileSource::Stdin,
        Some(path) => DockerfileSource::Path(path.into()),
    }
}

/// What `--allow` knows.
pub(crate) const ENTITLEMENTS: &[&str] = &["network.host", "security.insecure"];

/// Reads `--no-cache` and `--no-cache-filter`.
pub(crate) fn no_cache(all: bool, stages: &[String]) -> NoCache {
    match (all, stages) {
        (true, _) => NoCache::All,
        (false, []) => NoCache::Off,
        (false, stages) => NoCache::Stages(stages.to_vec()),
    }
}

/// Reads `--network`, of which clap has checked the value.
pub(crate) fn network(mode: &str) -> NetworkMode {
    match mode {
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        _ => NetworkMode::Default,
    }
}

/// Parses a name for the image, which may not carry a digest.
fn tag_reference(text: &str) -> Result<Reference, String> {
    let reference: Reference = text.parse().map_err(|error| format!("invalid tag `{text}`: {error}"))?;
    match reference.digest {
        Some(_) => Err(format!("invalid tag `{text}`: a name with a digest cannot be given to an image")),
        None => Ok(reference),
    }
}

/// Parses the positional argument.
pub(crate) fn context(text: &str) -> Result<ContextSource, String> {
    let is_git = |text: &str| {
        let path = text.split(['#', '?']).next().unwrap_or_default();
        text.starts_with("git://")
            || text.starts_with("git@")
            || text.starts_with("ssh://")
            || text.starts_with("github.com/")
            || path.ends_with(".git") && text.contains("://")
    };
    match text {
        "-" => Ok(ContextSource::Stdin),
        "" => Err("the build context is empty: give a directory, a URL or `-`".to_owned()),
        _ if is_git(text) => Ok(ContextSource::Git(text.to_owned())),
        _ if text.starts_with("http://") || text.starts_with("https://") => Ok(ContextSource::Http(text.to_owned())),
        _ => {
            let path = PathBuf::from(text);
            match std::fs::metadata(&path) {
                Ok(found) if found.is_dir() => Ok(ContextSource::Directory(path)),
                Ok(_) => {
                    Err(format!("unable to prepare context: `{text}` is not a directory; name a Dockerfile with -f"))
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Err(format!("unable to prepare context: path `{text}` not found"))
                }
                Err(error) => Err(format!("unable to prepare context: `{text}`: {error}")),
            }
        }
    }
}

/// Parses `--secret`: `id=…[,src=…|,env=…][,type=file|env]`; an id alone names a file or variable.
fn secret(text: &str, lookup: Lookup<'_>) -> Result<(String, SecretSource), String> {
    let mut attributes = value::attributes(text)?;
    let mut take = |names: &[&str]| names.iter().find_map(|name| attributes.remove(*name));
    let (id, kind) = (take(&["id"]), take(&["type"]));
    let (file, variable) = (take(&["src", "source"]), take(&["env"]));
    if let Some(unknown) = attributes.keys().next() {
        return Err(format!("--secret `{text}`: unexpected key `{unknown}`: id, src, env or type"));
    }
    let id = id.or_else(|| file.as_ref().and_then(|file| Some(PathBuf::from(file).file_name()?.to_str()?.to_owned())));
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| format!("--secret `{text}`: id is required"))?;
    let by_environment = |name: &str| -> Result<SecretSource, String> {
        let value =
            lookup(name).ok_or_else(|| format!("--secret `{text}`: environment variable `{name}` is not set"))?;
        Ok(SecretSource::Value(value.into_bytes()))
    };
    let source = match (kind.as_deref(), file, variable) {
        (_, Some(_), Some(_)) => return Err(format!("--secret `{text}`: give src or env, not both")),
        (Some("env"), file, variable) => by_environment(&variable.or(file).unwrap_or_else(|| id.clone()))?,
        (Some("file") | None, Some(file), None) => SecretSource::File(file.into()),
        (None, None, Some(variable)) => by_environment(&variable)?,
        (None, None, None) if lookup(&id).is_some() => by_environment(&id)?,
        (Some("file") | None, None, _) => SecretSource::File(id.clone().into()),
        (Some(other), ..) => return Err(format!("--secret `{text}`: unsupported type `{other}`: file or env")),
    };
    if let SecretSource::File(path) = &source {
        let found = std::fs::metadata(path)
            .map_err(|error| format!("--secret `{text}`: reading `{}`: {error}", path.display()))?;
        if found.len() > 500 * 1024 {
            return Err(format!("--secret `{text}`: the file is larger than 500 KiB"));
        }
    }
    Ok((id, source))
}

/// Parses `--ssh`: `default`, `ID` or `ID=SOCKET`.
fn ssh(text: &str, lookup: Lookup<'_>) -> Result<SshSource, String> {
    let (id, socket) = text.split_once('=').map_or((text, None), |(id, socket)| (id, Some(socket.to_owned())));
    let socket = socket.or_else(|| lookup("SSH_AUTH_SOCK")).filter(|socket| !socket.is_empty());
    let socket = socket
        .ok_or_else(|| format!("--ssh `{text}`: invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set"))?;
    let path = PathBuf::from(&socket);
    let kind = std::fs::metadata(&path).map_err(|error| format!("--ssh `{text}`: `{socket}`: {error}"))?.file_type();
    if !std::os::unix::fs::FileTypeExt::is_socket(&kind) {
        return Err(format!(
            "--ssh `{text}`: `{socket}` is not an agent's socket; keys as files are not supported: add them to an agent"
        ));
    }
    Ok(SshSource { id: if id.is_empty() { "default".to_owned() } else { id.to_owned() }, socket: path })
}

/// A build that took so long may as well look for what it left behind.
const WORTH_TIDYING: std::time::Duration = std::time::Duration::from_secs(1);

/// Builds an image and tells what came of it.
pub(crate) fn run(args: Args, world: &World) -> Result<(), Failure> {
    let mut request = args.request(&variable_or_empty).map_err(Failure::User)?;
    add_proxies(&mut request.build_args, world);
    let inline = request.build_args.get("BUILDKIT_INLINE_CACHE");
    let inline = inline.is_some_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    if inline && !request.cache_to.iter().any(|cache| cache.kind == "inline") {
        request.cache_to.push(CacheSpec { kind: "inline".to_owned(), attributes: BTreeMap::new() });
    }
    match args.call {
        call::Method::Call(asked) => return call::run(asked, &request, &args.progress, world),
        call::Method::Build if args.check => {
            return call::run(Call::check(Format::Text), &request, &args.progress, world);
        }
        call::Method::Build => {}
    }
    let to_stdout = request.outputs.iter().any(|output| output.attributes.get("dest").is_some_and(|dest| dest == "-"));
    if to_stdout && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        return Err(Failure::User(
            "dest file is required for this output: refusing to write it to a terminal".to_owned(),
        ));
    }
    let mode = if args.quiet { rbuild_progress::Mode::Quiet } else { exchange::mode(&args.progress) };
    let (reporter, display) = exchange::show_with(mode, "Building", world.warnings);
    let began = std::time::Instant::now();
    let built = Builder::new(parts(world, reporter)?)
        .and_then(|builder| world.runtime().block_on(interruptible(&builder, builder.build(&request))));
    let failure = built.as_ref().err().map(|error| rbuild_progress::Failure {
        message: String::new(),
        source: match error {
            BuildError::Solve { source_lines, .. } => source_lines.clone(),
            _ => None,
        },
    });
    exchange::finish(display, failure);
    // Steps that failed and parts of contexts leave layers behind; after a cached build there are none.
    if built.is_err() || began.elapsed() > WORTH_TIDYING {
        world.expect_garbage();
    }
    let outcome = built.map_err(told)?;
    if let Some(path) = &args.iidfile {
        write_file(path, outcome.image_id.to_string().as_bytes())?;
    }
    if let Some(path) = &args.metadata_file {
        let text = serde_json::to_vec_pretty(&metadata(&outcome)).map_err(Failure::user)?;
        write_file(path, &text)?;
    }
    if args.quiet && !to_stdout {
        ui::out(&format!("{}\n", outcome.image_id))?;
    }
    Ok(())
}

/// Returns the proxies that docker's configuration has for builds.
fn proxies(world: &World) -> Vec<(&'static str, String)> {
    // The key of an engine is its address as docker's client has it.
    let host = variable("DOCKER_HOST").unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    world.docker_config().proxies(&host).unwrap_or_else(|error| {
        ui::say(&format!("WARNING: no proxies for the build: {}", chain(&error)));
        Vec::new()
    })
}

/// Adds build arguments for the proxies of docker's configuration.
pub(crate) fn add_proxies(build_args: &mut BTreeMap<String, String>, world: &World) {
    add_missing(build_args, &proxies(world));
}

/// Adds proxies in both cases as docker does; what the person says in either case goes before.
fn add_missing(build_args: &mut BTreeMap<String, String>, proxies: &[(&str, String)]) {
    for (name, value) in proxies {
        if !build_args.keys().any(|given| given.eq_ignore_ascii_case(name)) {
            build_args.insert((*name).to_owned(), value.clone());
            build_args.insert(name.to_ascii_lowercase(), value.clone());
        }
    }
}

/// What `--metadata-file` holds, as buildx writes it.
fn metadata(outcome: &BuildOutcome) -> serde_json::Value {
    let mut map = serde_json::Map::new();
    // As docker's own store has it: an image without a manifest is known by its id.
    for key in ["containerimage.config.digest", "containerimage.digest"] {
        map.insert(key.to_owned(), outcome.image_id.to_string().into());
    }
    for (key, value) in &outcome.response {
        let value = match key.as_str() {
            "containerimage.descriptor" => serde_json::json!(outcome.descriptor),
            _ => value.clone().into(),
        };
        map.insert(key.clone(), value);
    }
    map.into()
}

/// Writes a file in place of what is there; a link is replaced, not followed.
fn write_file(path: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
    let written =
        rbuild_sys::result::create_result(path).and_then(|mut file| std::io::Write::write_all(&mut file, bytes));
    written.map_err(|error| Failure::User(format!("writing `{}`: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs() {
        assert_eq!(output("-").unwrap().kind, "tar");
        assert_eq!(output("out").unwrap().attributes["dest"], "out");
        assert_eq!(output("type=oci,dest=a.tar").unwrap().kind, "oci");
        for bad in ["dest=x", "type=nope", "type="] {
            assert!(output(bad).is_err(), "{bad}");
        }
    }

    // items: A010
    #[test]
    fn proxies_of_the_configuration() {
        let mut args = BTreeMap::from([("https_proxy".to_owned(), "own".to_owned())]);
        add_missing(&mut args, &[("HTTP_PROXY", "h".to_owned()), ("HTTPS_PROXY", "s".to_owned())]);
        let args: Vec<_> = args.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(args, ["HTTP_PROXY=h", "http_proxy=h", "https_proxy=own"]);
    }

    #[test]
    fn contexts() {
        let git = |text: &str| matches!(context(text), Ok(ContextSource::Git(_)));
        assert!(git("https://example.com/a.git#main:sub"));
        assert!(git("git@example.com:a/b.git"));
        assert!(matches!(context("https://example.com/a.tar.gz"), Ok(ContextSource::Http(_))));
        assert!(matches!(context("-"), Ok(ContextSource::Stdin)));
        assert!(context("/nonexistent-for-sure").unwrap_err().contains("not found"));
    }

    // items: O012
    #[test]
    fn secrets() {
        let lookup = |name: &str| (name == "TOKEN").then(|| "hush".to_owned());
        assert_eq!(secret("id=a,env=TOKEN", &lookup).unwrap().1, SecretSource::Value(b"hush".to_vec()));
        assert_eq!(secret("id=TOKEN", &lookup).unwrap().1, SecretSource::Value(b"hush".to_vec()));
        assert_eq!(secret("id=a,type=env,src=TOKEN", &lookup).unwrap().1, SecretSource::Value(b"hush".to_vec()));
        for bad in ["env=TOKEN", "id=a,env=MISSING", "id=a,bogus=1", "id=a,src=/nonexistent-for-sure"] {
            assert!(secret(bad, &lookup).is_err(), "{bad}");
        }
    }
}
