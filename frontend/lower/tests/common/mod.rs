//! A host with a table of images, and how a case is read and lowered.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use rbuild_dockerfile::{Dockerfile, interpret, parse};
use rbuild_graph::{Graph, pb};
use rbuild_lower::{
    Bridge, BridgeError, Entitlement, HostAddress, LowerError, Lowered, MainContext, NoCache, Request, ResolveMode,
    ResolvedImage, ResolvedLayout, lower,
};
use rbuild_oci::{Digest, ImageConfig, Platform, Reference};

/// Configurations of the images there are; `ARCH` stands for the platform asked for.
const IMAGES: [(&str, &str); 8] = [
    (
        "docker.io/library/alpine:latest",
        r#"{"architecture":"ARCH","os":"linux","created":"2026-01-02T03:04:05Z","author":"Alpine","config":{"Env":["PATH=/bin"],"WorkingDir":"/","Cmd":["/bin/sh"],"Labels":{"from":"alpine"}},
           "rootfs":{"type":"layers","diff_ids":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]},
           "history":[{"created":"2026-01-02T03:04:05Z","created_by":"ADD rootfs / "},{"created":"2026-01-02T03:04:05Z","created_by":"CMD","empty_layer":true}]}"#,
    ),
    (
        "docker.io/library/busybox:1",
        r#"{"architecture":"ARCH","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"]},"history":[{"created_by":"x"}]}"#,
    ),
    (
        "docker.io/library/app:latest",
        r#"{"architecture":"ARCH","os":"linux","config":{"User":"app","Env":["A=base","PATH=/usr/bin"],"WorkingDir":"/srv/app","Entrypoint":["/entry"],"Cmd":["arg"],"Shell":["/bin/ash","-c"],"Volumes":{"/data":{}}},
           "rootfs":{"type":"layers","diff_ids":["sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"]},"history":[{"created_by":"x"}]}"#,
    ),
    (
        "docker.io/library/triggers:latest",
        r#"{"architecture":"ARCH","os":"linux","config":{"OnBuild":["ENV FROM_TRIGGER=1","COPY --from=busybox:1 /bin/busybox /b","RUN echo $X"]},
           "rootfs":{"type":"layers","diff_ids":["sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"]},"history":[{"created_by":"x"}]}"#,
    ),
    (
        "docker.io/library/empty:latest",
        r#"{"architecture":"ARCH","os":"linux","config":{"Env":["E=1"]},"rootfs":{"type":"layers","diff_ids":[]}}"#,
    ),
    (
        "docker.io/library/onlyarm:latest",
        r#"{"architecture":"arm64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"]},"history":[{"created_by":"x"}]}"#,
    ),
    (
        "docker.io/library/badtrigger:latest",
        r#"{"architecture":"ARCH","os":"linux","config":{"OnBuild":["FROM x"]},"rootfs":{"type":"layers","diff_ids":["sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"]},"history":[{"created_by":"x"}]}"#,
    ),
    (
        "localhost:5000/team/tool:v1",
        r#"{"architecture":"ARCH","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:1111111111111111111111111111111111111111111111111111111111111111"]},"history":[{"created_by":"x"}]}"#,
    ),
];

/// Answers from the table.
pub(crate) struct Host {
    ignored: Vec<String>,
}

#[async_trait]
impl Bridge for Host {
    async fn resolve_image(
        &self,
        reference: &Reference,
        platform: &Platform,
        _: ResolveMode,
        _: &str,
    ) -> Result<ResolvedImage, BridgeError> {
        let name = Reference { digest: None, ..reference.clone() }.to_string();
        let found = IMAGES.iter().find(|(known, _)| *known == name);
        let (_, config) = found.ok_or_else(|| BridgeError::NotFound(reference.to_string()))?;
        let config = config.replace("ARCH", &platform.architecture);
        let image: ImageConfig =
            serde_json::from_str(&config).map_err(|error| BridgeError::message(error.to_string()))?;
        let reference = reference.with_digest(Digest::of(name.as_bytes()));
        Ok(ResolvedImage { reference, config: config.into_bytes(), image })
    }

    async fn resolve_layout(
        &self,
        _: &str,
        _: Digest,
        platform: &Platform,
        shown: &str,
    ) -> Result<ResolvedLayout, BridgeError> {
        let reference = Reference::parse("alpine").expect("a reference");
        let found = self.resolve_image(&reference, platform, ResolveMode::Default, shown).await?;
        Ok(ResolvedLayout { config: found.config, image: found.image })
    }

    async fn ignore_patterns(&self, context: &str, _: &str) -> Result<Vec<String>, BridgeError> {
        Ok(if context == "ignoring" { vec!["*.o".to_owned()] } else { Vec::new() })
    }

    fn is_ignored(&self, path: &str) -> bool {
        self.ignored.iter().any(|pattern| pattern == path || pattern == "*")
    }

    async fn source_time(&self, source: &pb::SourceOp, _: &str) -> Result<Option<i64>, BridgeError> {
        Ok(source.identifier.contains("example.com").then_some(1_000))
    }
}

/// Reads a Dockerfile that must be without errors.
pub(crate) fn read(text: &str) -> Dockerfile {
    let (ast, mut diagnostics) = parse(text);
    let (dockerfile, more) = interpret(&ast);
    diagnostics.extend(more);
    assert!(diagnostics.iter().all(|diagnostic| !diagnostic.is_error()), "{diagnostics:?}");
    dockerfile
}

/// Lowers a Dockerfile; the table's host never waits.
pub(crate) fn build(text: &str, request: &Request) -> Result<Lowered, LowerError> {
    let exclude = match &request.context {
        MainContext::Local { exclude, .. } => exclude.clone(),
        _ => Vec::new(),
    };
    let host = Host { ignored: exclude };
    let dockerfile = read(text);
    let mut future = pin!(lower(&dockerfile, text, request, &host));
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the table's host never waits"),
    }
}

/// A request on a fixed platform.
pub(crate) fn request() -> Request {
    Request { build_platform: Platform::new("linux", "amd64", None), scan: true, ..Request::default() }
}

/// Reads a request, one option a line.
pub(crate) fn parse_request(text: &str) -> Request {
    let mut request = request();
    let mut exclude = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let pair =
            || value.split_once('=').map_or((value.to_owned(), String::new()), |(k, v)| (k.to_owned(), v.to_owned()));
        let number = || value.parse::<i64>().expect("a number");
        let limits = |request: &mut Request| request.resources.get_or_insert_default().clone();
        match key {
            "target" => request.target = Some(value.to_owned()),
            "platform" => request.platform = Some(Platform::parse(value).expect("a platform")),
            "multi" => request.multi_platform = true,
            "arg" => drop(request.build_args.insert(pair().0, pair().1)),
            "label" => drop(request.labels.insert(pair().0, pair().1)),
            "no-cache" if value.is_empty() => request.no_cache = NoCache::All,
            "no-cache" => request.no_cache = NoCache::Stages(value.split(',').map(str::to_owned).collect()),
            "pull" => request.resolve_mode = ResolveMode::Pull,
            "network" => request.network = if value == "host" { pb::NetMode::Host } else { pb::NetMode::None },
            "host" => {
                let (name, address) = pair();
                let address = address.parse().map_or(HostAddress::Gateway, HostAddress::Ip);
                request.add_hosts.push((name, address));
            }
            "ulimit" => request.ulimits.push(pb::Ulimit { name: value.to_owned(), soft: 1, hard: 2 }),
            "shm" => request.shm_size = u64::try_from(number()).expect("positive"),
            "cgroup" => request.cgroup_parent = Some(value.to_owned()),
            "hostname" => request.hostname = Some(value.to_owned()),
            "memory" => request.resources = Some(pb::LinuxResources { memory: number(), ..limits(&mut request) }),
            "device" => request.devices.push(pb::CdiDevice { name: value.to_owned(), optional: false }),
            "allow" if value == "network.host" => drop(request.allow.insert(Entitlement::NetworkHost)),
            "allow" => drop(request.allow.insert(Entitlement::SecurityInsecure)),
            "ignore" => exclude.push(value.to_owned()),
            "context" => drop(request.contexts.insert(pair().0, pair().1)),
            "context-git" => request.context = MainContext::Git(value.to_owned()),
            "context-archive" => {
                request.context = MainContext::Archive(value.to_owned());
                request.context_directory = Some("sub".to_owned());
            }
            "context-file" => request.context = MainContext::File(value.to_owned()),
            "context-none" => request.context = MainContext::Empty,
            "session" => request.session = Some(value.to_owned()),
            "all-stages" => request.all_stages = true,
            other => panic!("unknown option {other}"),
        }
    }
    if let MainContext::Local { exclude: place, .. } = &mut request.context {
        *place = exclude;
    }
    request
}

/// Loads the graph of a result, which must be valid.
pub(crate) fn graph(lowered: &Lowered) -> Graph {
    Graph::load(&lowered.definition).expect("what is lowered is valid")
}

/// Writes what a build became.
pub(crate) fn show(result: &Result<Lowered, LowerError>) -> String {
    let mut out = String::new();
    let diagnostics = match result {
        Ok(lowered) => {
            out.push_str(&graph(lowered).to_text());
            out.push_str(&format!("platform {}\n", lowered.platform));
            lowered.epoch.iter().for_each(|epoch| out.push_str(&format!("epoch {epoch}\n")));
            for (name, value) in lowered.outline.args.iter().map(|arg| (&arg.name, &arg.value)) {
                out.push_str(&format!("arg {name}={value}\n"));
            }
            for (kind, mounts) in [("secret", &lowered.outline.secrets), ("ssh", &lowered.outline.ssh)] {
                mounts
                    .iter()
                    .for_each(|mount| out.push_str(&format!("{kind} {} required={}\n", mount.name, mount.required)));
            }
            let extras = lowered.scan.iter().flat_map(|scan| &scan.extras);
            extras.for_each(|(name, _)| out.push_str(&format!("scan {name}\n")));
            &lowered.warnings
        }
        Err(error) => &error.diagnostics,
    };
    for diagnostic in diagnostics {
        let kind = if diagnostic.is_error() { "error" } else { "warning" };
        out.push_str(&format!("{kind} line {}: {}\n", diagnostic.lines, diagnostic.text()));
    }
    out
}

/// Returns the names of the vertices, inputs first.
pub(crate) fn names(lowered: &Lowered) -> Vec<String> {
    graph(lowered).vertices().iter().map(|vertex| vertex.name.clone()).collect()
}

/// Returns the new lines of the history, those without a layer in parentheses.
pub(crate) fn history(lowered: &Lowered) -> Vec<String> {
    let first = lowered.base.as_ref().map_or(0, |base| base.config.history.len());
    let entries = lowered.config.history.iter().skip(first);
    entries
        .map(|entry| if entry.empty_layer { format!("({})", entry.created_by) } else { entry.created_by.clone() })
        .collect()
}

/// Returns a map of texts.
#[allow(dead_code, reason = "not all tests give arguments")]
pub(crate) fn args(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Returns a host with ignored files.
pub(crate) fn host_ignoring(ignored: Vec<String>) -> Host {
    Host { ignored }
}

/// Returns a host without ignored files.
pub(crate) fn host() -> Host {
    Host { ignored: Vec::new() }
}
