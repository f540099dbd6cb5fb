//! `rbuild explain`: the graph that a build would evaluate.

use std::io::IsTerminal;
use std::path::Path;

use rbuild_build::{BuildRequest, Builder, ContextSource, DeviceGrants, DockerfileSource, ExplainOptions, Ulimit};

use crate::command::{build, builder};
use crate::exchange;
use crate::ui::{self, Failure};
use crate::value;
use crate::world::{World, silent, variable_or_empty};

/// Show what a build would do: its steps, what each is made of, and their cache keys
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Nothing is built or stored. Base images are looked up as a build does: in the store, \
    then at their registry, of which only manifest and configuration are read. With --offline nobody is asked: \
    each base counts as an image without environment, working directory or triggers, so steps may differ from the \
    build's.\n\n\
    KEY is the operation's own key. A build asks the cache with it and with the keys of what the step is made of; \
    those that depend on files, on an image that was not looked up or on an address are not known before, and say \
    so. What hangs on `~` counts by its content: the same files made otherwise find the same result.\n\n\
    Examples:\n  \
    rbuild explain .                           the tree of the last stage\n  \
    rbuild explain --all --offline Dockerfile  all stages, asking nobody\n  \
    rbuild explain --format=dot . | dot -Tsvg  a picture")]
pub(crate) struct Args {
    /// Build context, or a Dockerfile, whose directory is then the context; `-` for standard input
    #[arg(value_name = "PATH | FILE | -")]
    context: String,
    /// How the graph is written: for people, for graphviz, for Markdown, for programs
    #[arg(long, value_name = "FORMAT", default_value = "tree", value_parser = ["tree", "dot", "mermaid", "json"])]
    format: String,
    /// Show all stages, not only what the target needs
    #[arg(long, conflicts_with = "target")]
    all: bool,
    /// Ask neither store nor registry for base images
    #[arg(long, conflicts_with = "pull")]
    offline: bool,
    /// Name of the Dockerfile (default: PATH/Dockerfile), `-` for standard input
    #[arg(short, long, value_name = "PATH")]
    file: Option<String>,
    /// Set the target build stage
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Set build-time variables
    #[arg(long = "build-arg", value_name = "KEY[=VALUE]", value_parser = value::key_maybe_value)]
    build_args: Vec<(String, Option<String>)>,
    /// Set the target platform
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    platform: Vec<String>,
    /// Additional build contexts (`name=path`, `name=docker-image://…`)
    #[arg(long = "build-context", value_name = "NAME=PATH", value_parser = value::key_value)]
    build_contexts: Vec<(String, String)>,
    /// Do not use the cache
    #[arg(long)]
    no_cache: bool,
    /// Do not use the cache for these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',', conflicts_with = "no_cache")]
    no_cache_filter: Vec<String>,
    /// Always look for newer base images
    #[arg(long)]
    pull: bool,
    /// Network of RUN steps
    #[arg(long, value_name = "MODE", default_value = "default", value_parser = ["default", "host", "none"])]
    network: String,
    /// Add a line to /etc/hosts (`host:ip`)
    #[arg(long = "add-host", value_name = "HOST:IP", value_parser = value::add_host)]
    add_hosts: Vec<(String, String)>,
    /// Ulimit of RUN steps (`nofile=1024:2048`)
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = value::ulimit)]
    ulimits: Vec<Ulimit>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = value::size)]
    shm_size: Option<u64>,
    /// Cgroup below which RUN steps run
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
}

impl Args {
    /// Returns the build that is to be explained.
    fn request(&self) -> Result<BuildRequest, String> {
        let (context, dockerfile) = self.sources()?;
        let platforms = self.platform.iter().map(|text| text.parse().map_err(|error| format!("--platform: {error}")));
        Ok(BuildRequest {
            dockerfile,
            target: self.target.clone(),
            build_args: build::given(&self.build_args, &variable_or_empty),
            no_cache: build::no_cache(self.no_cache, &self.no_cache_filter),
            pull: self.pull,
            platforms: platforms.collect::<Result<_, _>>()?,
            build_contexts: self.build_contexts.iter().cloned().collect(),
            network: build::network(&self.network),
            add_hosts: self.add_hosts.clone(),
            ulimits: self.ulimits.clone(),
            shm_size: self.shm_size,
            cgroup_parent: self.cgroup_parent.clone(),
            // Nothing is run, so nothing has to be granted.
            allow: build::ENTITLEMENTS.iter().map(|name| (*name).to_owned()).collect(),
            devices: DeviceGrants::all(),
            source_date_epoch: variable_or_empty("SOURCE_DATE_EPOCH"),
            color: exchange::colors(ui::stderr_is_terminal()),
            ..BuildRequest::new(context)
        })
    }

    /// Returns context and Dockerfile: a file alone stands in its context.
    fn sources(&self) -> Result<(ContextSource, DockerfileSource), String> {
        let path = Path::new(&self.context);
        let is_file = self.context != "-" && std::fs::metadata(path).is_ok_and(|found| !found.is_dir());
        if is_file && self.file.is_some() {
            return Err(format!("`{}` is a file: give either it or -f with a directory", self.context));
        }
        if is_file {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return Ok((ContextSource::Directory(parent.to_owned()), DockerfileSource::Path(path.to_owned())));
        }
        Ok((build::context(&self.context)?, build::dockerfile(self.file.as_deref())))
    }
}

/// Prints the graph.
pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let mut request = args.request().map_err(Failure::User)?;
    build::add_proxies(&mut request.build_args, world);
    let options = ExplainOptions { all: args.all, offline: args.offline };
    let made = Builder::new(builder::parts(world, silent())?);
    let explained =
        made.and_then(|made| world.runtime().block_on(builder::interruptible(&made, made.explain(&request, options))));
    let explained = explained.map_err(builder::told)?;
    match args.format.as_str() {
        // What JSON escapes is harmless already.
        "json" => ui::out(&explained.to_json()),
        "dot" => ui::out(&ui::escaped(&explained.to_dot())),
        "mermaid" => ui::out(&ui::escaped(&explained.to_mermaid())),
        _ => ui::out(&ui::escaped(&explained.to_tree(columns()))),
    }
}

/// Returns how wide standard output is, if it is a terminal.
fn columns() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = stdout.is_terminal().then(|| rbuild_sys::tty::size(&stdout).ok()).flatten();
    size.map(|(_, columns)| usize::from(columns))
}
