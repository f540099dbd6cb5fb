//! One build from request to outputs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::sync::Arc;

use futures::future::try_join_all;
use rbuild_dockerfile::render::Color;
use rbuild_dockerfile::{Diagnostic, Dockerfile};
use rbuild_events::{Event, Reporter, Source, Track, Warning};
use rbuild_export::{Exporter, Response, StoredImages};
use rbuild_graph::{Graph, pb};
use rbuild_images::Images;
use rbuild_lower::{
    Answer, Bridge, Entitlement, HostAddress, LowerError, Lowered, MainContext, Request, ResolveMode, Subrequest,
    answer, lower, read,
};
use rbuild_network::Provider;
use rbuild_oci::{Descriptor, Digest, Platform, Reference};
use rbuild_ops::{LayerResults, OpsError, Ref, Worker, resolve};
use rbuild_remote::{Solution, Target};
use rbuild_snapshot::Roots;
use rbuild_solver::{Edge, Locks, Settings, Solver, SqliteCache};
use rbuild_store::LayerId;
use rbuild_tree::pattern::Matcher;

use crate::bridge::{Asked, Host};
use crate::cache::Caches;
use crate::error::{BuildError, line_pair};
use crate::input::{self, Input};
use crate::named::{Contexts, contexts};
use crate::output;
use crate::remote::Fetcher;
use crate::request::{BuildRequest, ContextSource, NetworkMode, NoCache};
use crate::session::InProcess;
use crate::syntax;

/// What a builder is made of.
pub struct Parts {
    /// Store and registries.
    pub images: Images,
    /// How writable roots are made.
    pub roots: Roots,
    /// Networks of steps.
    pub network: Provider,
    /// Who hears of progress.
    pub reporter: Arc<dyn Reporter>,
    /// Where programs such as git are looked for, in the form of `PATH`; none for the usual places.
    pub search_path: Option<OsString>,
    /// Opens standard input.
    pub stdin: fn() -> Box<dyn Read + Send>,
    /// Opens standard output.
    pub stdout: fn() -> Box<dyn Write + Send>,
}

/// Builds images.
pub struct Builder {
    parts: Parts,
    solver: Solver<Ref>,
}

/// What a build made.
#[derive(Debug, Clone)]
pub struct BuildOutcome {
    /// The image id: the digest of the configuration.
    pub image_id: Digest,
    /// The manifest or index, if one was made.
    pub descriptor: Option<Descriptor>,
    /// The names the image got.
    pub names: Vec<Reference>,
    /// What the outputs tell, by BuildKit's keys.
    pub response: Response,
}

/// What is known before the Dockerfile is read.
pub(crate) struct Prepared {
    pub(crate) input: Input,
    pub(crate) contexts: Contexts,
    pub(crate) host: Host,
}

/// One platform's part of a build.
pub(crate) struct Lowering {
    pub(crate) lowered: Lowered,
    pub(crate) graph: Graph,
}

impl Builder {
    /// Joins the parts; opens the cache of the store.
    ///
    /// # Errors
    /// If the cache cannot be opened.
    pub fn new(parts: Parts) -> Result<Self, BuildError> {
        let store = parts.images.store();
        let cache = SqliteCache::open(&store.cache_path()).map_err(BuildError::engine)?;
        let results = Arc::new(LayerResults(store.clone()));
        let settings =
            Settings { locks: Locks::shared(store.steps_dir().map_err(BuildError::engine)?), ..Settings::default() };
        let solver = Solver::new(Arc::new(cache), results, settings);
        Ok(Self { parts, solver })
    }

    /// Carries out a build.
    ///
    /// # Errors
    /// If the input, a step or an output fails.
    pub async fn build(&self, request: &BuildRequest) -> Result<BuildOutcome, BuildError> {
        let outputs = output::outputs(request)?;
        let mut caches = Caches::parse(request, &self.parts.images, &self.parts.reporter)?;
        let stored = outputs.iter().any(|output| output.is_named_in_store());
        if stored && platforms(request).len() > 1 {
            return Err(BuildError::Input(
                "the local store cannot keep several platforms under one name yet: give --push, or -o type=oci,dest=FILE"
                    .to_owned(),
            ));
        }
        let prepared = self.prepare(request).await?;
        let dockerfile = self.read(request, &prepared)?;
        let Prepared { input, contexts, host } = prepared;
        let worker = self.worker(request, &contexts);
        let platforms = platforms(request);
        let mut lowerings = Vec::with_capacity(platforms.len());
        for platform in &platforms {
            let asked = frontend_request(request, &input, &contexts.named, platform.clone(), platforms.len() > 1)?;
            lowerings.push(self.lower(&dockerfile, &input, &asked, &host, request.color).await?);
        }
        for warning in lowerings.first().iter().flat_map(|first| &first.lowered.warnings) {
            self.warn(warning, &input);
        }
        caches.import(&self.solver).await?;
        let solved = loop {
            // At the same time: steps that platforms share run once, and the first failure ends the others.
            let solving = lowerings.iter().map(|lowering| self.solve(lowering, &worker, &input, &caches));
            let solved = try_join_all(solving).await;
            if solved.is_err() {
                self.solver.idle().await;
                if caches.strike()? {
                    continue;
                }
            }
            break solved?;
        };
        let (layers, solutions): (Vec<_>, Vec<Solution>) = solved.into_iter().unzip();
        let lowered: Vec<_> = lowerings.iter().map(|lowering| &lowering.lowered).collect();
        let exporter = Exporter {
            images: self.parts.images.clone(),
            reporter: self.parts.reporter.clone(),
            stored: StoredImages::Lazy,
            inline_cache: caches.inline(&self.solver, &lowered, &solutions).await?,
        };
        let result = output::result(&lowered, layers);
        let mut outcome = output::export(&exporter, &outputs, result, self.parts.stdout).await?;
        outcome.response.extend(caches.export(&self.solver, &solutions).await?);
        Ok(outcome)
    }

    /// Answers a question about the Dockerfile, for the first platform; builds nothing. The text comes with colours
    /// if asked for.
    ///
    /// # Errors
    /// If there is no Dockerfile, or it is wrong and the question is not about that.
    pub async fn call(&self, asked: Subrequest, request: &BuildRequest, color: Color) -> Result<Answer, BuildError> {
        let Prepared { input, contexts, host } = self.prepare(request).await?;
        let platform = request.platforms.first().cloned();
        let question = frontend_request(request, &input, &contexts.named, platform, false)?;
        let answered = answer(asked, &input.text, &question, &host, color).await;
        answered.map_err(|error| self.refused(&error, &input, request.color))
    }

    /// Reads the Dockerfile; what is wrong with it is told with the warnings found before.
    pub(crate) fn read(&self, request: &BuildRequest, prepared: &Prepared) -> Result<Dockerfile, BuildError> {
        let asked = Request { build_args: build_args(request), ..Request::default() };
        read(&prepared.input.text, &asked).map_err(|error| self.refused(&error, &prepared.input, request.color))
    }

    /// Finds Dockerfile and contexts.
    pub(crate) async fn prepare(&self, request: &BuildRequest) -> Result<Prepared, BuildError> {
        let fetcher = Fetcher {
            job: self.solver.job(self.parts.reporter.clone()),
            worker: self.worker(request, &Contexts::default()),
        };
        let input = match &request.context {
            ContextSource::Git(_) | ContextSource::Http(_) => {
                fetcher.input(request, &build_args(request), self.parts.stdin).await?
            }
            ContextSource::Directory(_) | ContextSource::Stdin => self.input(request).await?,
        };
        syntax::check(&input.filename, &input.text, request)?;
        let contexts = contexts(request, &input)?;
        let ignore = match &input.context {
            MainContext::Local { exclude, .. } => Matcher::new(exclude).map_err(BuildError::input)?,
            _ => Matcher::default(),
        };
        let (images, reporter) = (self.parts.images.clone(), self.parts.reporter.clone());
        let (locals, layouts) = (contexts.locals.clone(), contexts.layouts.clone());
        let host = Host { images, locals, layouts, fetcher, reporter, ignore, asked: Asked::default() };
        Ok(Prepared { input, contexts, host })
    }

    /// Returns what carries out operations for a request.
    pub(crate) fn worker(&self, request: &BuildRequest, contexts: &Contexts) -> Arc<Worker> {
        let session = InProcess {
            locals: contexts.locals.clone(),
            secrets: request.secrets.clone(),
            ssh: request.ssh.clone(),
            layouts: contexts.layouts.clone(),
            search_path: self.parts.search_path.clone(),
        };
        let (images, roots, network) =
            (self.parts.images.clone(), self.parts.roots.clone(), self.parts.network.clone());
        let worker = Worker::new(images, roots, Arc::new(network), Arc::new(session), self.parts.reporter.clone());
        Arc::new(worker.with_devices(request.devices.clone(), request.cdi_spec_dirs.clone()))
    }

    /// Waits until nothing runs any more, after a build was given up.
    pub async fn idle(&self) {
        self.solver.idle().await;
    }

    async fn input(&self, request: &BuildRequest) -> Result<Input, BuildError> {
        let track = Track::start(&self.parts.reporter, "[internal] load build definition from Dockerfile");
        let scratch = self.parts.images.store().temp_dir().map_err(BuildError::engine)?.to_owned();
        let (request, stdin) = (request.clone(), self.parts.stdin);
        let read = tokio::task::spawn_blocking(move || input::read(&request, &mut *stdin(), &scratch)).await;
        let input = track.end(read.map_err(BuildError::engine)?)?;
        Ok(input)
    }

    pub(crate) async fn lower(
        &self,
        dockerfile: &Dockerfile,
        input: &Input,
        request: &Request,
        host: &dyn Bridge,
        color: bool,
    ) -> Result<Lowering, BuildError> {
        let lowered = lower(dockerfile, &input.text, request, host).await;
        let lowered = lowered.map_err(|error| self.refused(&error, input, color))?;
        let graph = Graph::load(&lowered.definition).map_err(BuildError::engine)?;
        Ok(Lowering { lowered, graph })
    }

    /// Tells the warnings that come before errors, and returns the errors (L005).
    fn refused(&self, error: &LowerError, input: &Input, color: bool) -> BuildError {
        for warning in error.diagnostics.iter().filter(|diagnostic| !diagnostic.is_error()) {
            self.warn(warning, input);
        }
        BuildError::dockerfile(&error.diagnostics, &input.filename, &input.text, color)
    }

    fn warn(&self, warning: &Diagnostic, input: &Input) {
        let vertex = Digest::of(b"[internal] load build definition from Dockerfile");
        let source =
            Source { filename: input.filename.clone(), text: input.text.clone(), lines: line_pair(warning.lines) };
        self.parts.reporter.report(Event::Warning(Warning {
            vertex,
            short: warning.to_string(),
            detail: warning.rule.iter().map(|rule| rule.description.to_owned()).collect(),
            url: warning.url().unwrap_or_default().to_owned(),
            source: Some(source),
        }));
    }

    /// Solves one platform's graph; returns the layers of its result, and what a cache of it is made of.
    async fn solve(
        &self,
        lowering: &Lowering,
        worker: &Arc<Worker>,
        input: &Input,
        caches: &Caches,
    ) -> Result<(Vec<LayerId>, Solution), BuildError> {
        let graph = &lowering.graph;
        let (mut explanations, mut edge) = (Vec::new(), None);
        let layers = match graph.root() {
            None => Vec::new(),
            Some(root) => {
                let solver_graph = resolve(graph, worker).map_err(unresolved)?;
                let job = caches.job(&self.solver);
                let target = Edge { vertex: root.vertex, output: root.output };
                let solved = job.solve(&solver_graph, &[target]).await;
                let failed = |error| BuildError::solve(&error, graph, &input.filename, &input.text);
                let value = solved.map_err(failed)?.into_iter().next().expect("one target has one value").value;
                (explanations, edge) = (job.explanations(), Some(target));
                let worker = worker.clone();
                let layers = tokio::task::spawn_blocking(move || worker.layers(&value)).await;
                layers.map_err(BuildError::engine)?.map_err(BuildError::engine)?
            }
        };
        let solution = Solution { explanations, targets: vec![Target { edge, layers: layers.clone() }] };
        Ok((layers, solution))
    }
}

/// Devices that are missing or not granted are the asker's matter, all else is ours.
pub(crate) fn unresolved(error: OpsError) -> BuildError {
    match error {
        OpsError::Device(error) => BuildError::input(error),
        other => BuildError::engine(other),
    }
}

/// Returns the build arguments, those of the caller's environment among them.
fn build_args(request: &BuildRequest) -> BTreeMap<String, String> {
    let epoch = request.source_date_epoch.clone().map(|epoch| ("SOURCE_DATE_EPOCH".to_owned(), epoch));
    epoch.into_iter().chain(request.build_args.clone()).collect()
}

/// Returns the platforms to build for; none stands for this machine's.
pub(crate) fn platforms(request: &BuildRequest) -> Vec<Option<Platform>> {
    match request.platforms.as_slice() {
        [] => vec![None],
        several => {
            let distinct = several.iter().enumerate().filter(|(at, platform)| !several[..*at].contains(platform));
            distinct.map(|(_, platform)| Some(platform.clone())).collect()
        }
    }
}

/// Translates a request for one platform into the frontend's words.
pub(crate) fn frontend_request(
    request: &BuildRequest,
    input: &Input,
    contexts: &BTreeMap<String, String>,
    platform: Option<Platform>,
    multi_platform: bool,
) -> Result<Request, BuildError> {
    let allow = request.allow.iter().filter_map(|name| match name.as_str() {
        "network.host" => Some(Entitlement::NetworkHost),
        "security.insecure" => Some(Entitlement::SecurityInsecure),
        _ => None,
    });
    Ok(Request {
        target: request.target.clone(),
        platform,
        multi_platform,
        build_args: build_args(request),
        labels: request.labels.clone(),
        no_cache: match &request.no_cache {
            NoCache::Off => rbuild_lower::NoCache::Off,
            NoCache::All => rbuild_lower::NoCache::All,
            NoCache::Stages(stages) => rbuild_lower::NoCache::Stages(stages.clone()),
        },
        resolve_mode: if request.pull { ResolveMode::Pull } else { ResolveMode::Default },
        network: match request.network {
            NetworkMode::Default => pb::NetMode::Unset,
            NetworkMode::Host => pb::NetMode::Host,
            NetworkMode::None => pb::NetMode::None,
        },
        add_hosts: request.add_hosts.iter().map(host_address).collect::<Result<_, _>>()?,
        ulimits: request
            .ulimits
            .iter()
            .map(|limit| pb::Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
            .collect(),
        shm_size: request.shm_size.unwrap_or(0),
        cgroup_parent: request.cgroup_parent.clone(),
        resources: resources(request),
        allow: allow.collect::<BTreeSet<_>>(),
        context: input.context.clone(),
        context_time: input.time,
        contexts: contexts.clone(),
        filename: input.filename.clone(),
        ..Request::default()
    })
}

fn host_address((name, address): &(String, String)) -> Result<(String, HostAddress), BuildError> {
    let known = match address.as_str() {
        "host-gateway" => Some(HostAddress::Gateway),
        ip => ip.parse().ok().map(HostAddress::Ip),
    };
    let known = known.ok_or_else(|| {
        BuildError::Input(format!("--add-host {name}:{address}: it is neither an IP address nor host-gateway"))
    })?;
    Ok((name.clone(), known))
}

fn resources(request: &BuildRequest) -> Option<pb::LinuxResources> {
    let wanted = &request.resources;
    if *wanted == crate::Resources::default() {
        return None;
    }
    const PERIOD: u64 = 100_000;
    Some(pb::LinuxResources {
        memory: wanted.memory.map_or(0, |memory| memory as i64),
        memory_swap: wanted.memory_swap.unwrap_or(0),
        cpu_shares: wanted.cpu_shares.unwrap_or(0),
        cpu_period: wanted.cpus.map(|_| PERIOD).or(wanted.cpu_period).unwrap_or(0),
        cpu_quota: wanted.cpus.map(|cpus| (cpus * PERIOD as f64) as i64).or(wanted.cpu_quota).unwrap_or(0),
        cpuset_cpus: wanted.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: wanted.cpuset_mems.clone().unwrap_or_default(),
    })
}
