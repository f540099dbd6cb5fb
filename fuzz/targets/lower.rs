//! Any text that reads as a Dockerfile, lowered with a host that has every image.
//!
//! Lines before a line `---` set the request: `target NAME`, `platform P`, `arg A=B`, `context A=B`, or a flag.
#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use libfuzzer_sys::fuzz_target;
use rbuild_dockerfile::{first_error, interpret, parse};
use rbuild_graph::{Graph, pb};
use rbuild_lower::{
    Bridge, BridgeError, Entitlement, LowerError, Lowered, MainContext, NoCache, Request, ResolveMode, ResolvedImage,
    ResolvedLayout, lower,
};
use rbuild_oci::{Digest, ImageConfig, Platform, Reference};

const CONFIG: &str = r#"{"architecture":"ARCH","os":"linux","created":"2026-01-02T03:04:05Z",
    "config":{"User":"app","Env":["A=base","PATH=/usr/bin"],"WorkingDir":"/srv","Entrypoint":["/e"],"Cmd":["c"],
    "Shell":["/bin/ash","-c"],"Volumes":{"/data":{}},"OnBuild":TRIGGERS},
    "rootfs":{"type":"layers","diff_ids":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]},
    "history":[{"created_by":"x"}]}"#;

struct Host;

impl Host {
    fn image(name: &str, platform: &Platform) -> Result<(String, ImageConfig), BridgeError> {
        let triggers = if name.contains("trigger") { r#"["ENV T=1","COPY --from=b / /b","RUN $X"]"# } else { "null" };
        let config = CONFIG.replace("ARCH", &platform.architecture).replace("TRIGGERS", triggers);
        let image = serde_json::from_str(&config).map_err(|error| BridgeError::message(error.to_string()))?;
        Ok((config, image))
    }
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
        let name = reference.to_string();
        if name.contains("missing") {
            return Err(BridgeError::NotFound(name));
        }
        let (config, image) = Self::image(&name, platform)?;
        let reference = reference.with_digest(Digest::of(name.as_bytes()));
        Ok(ResolvedImage { reference, config: config.into_bytes(), image })
    }

    async fn resolve_layout(
        &self,
        layout: &str,
        _: Digest,
        platform: &Platform,
        _: &str,
    ) -> Result<ResolvedLayout, BridgeError> {
        let (config, image) = Self::image(layout, platform)?;
        Ok(ResolvedLayout { config: config.into_bytes(), image })
    }

    async fn ignore_patterns(&self, _: &str, _: &str) -> Result<Vec<String>, BridgeError> {
        Ok(vec!["*.o".to_owned()])
    }

    fn is_ignored(&self, path: &str) -> bool {
        path.ends_with(".o")
    }

    async fn source_time(&self, _: &pb::SourceOp, _: &str) -> Result<Option<i64>, BridgeError> {
        Ok(Some(1_000))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (options, source) = text.split_once("---\n").unwrap_or(("", text));
    let request = request(options);
    let (ast, mut diagnostics) = parse(source);
    let (dockerfile, more) = interpret(&ast);
    diagnostics.extend(more);
    if first_error(&diagnostics).is_some() {
        return;
    }
    let run = || now(lower(&dockerfile, source, &request, &Host));
    let result = run();
    assert_eq!(result, run(), "the same file is lowered alike");
    let diagnostics = match &result {
        Ok(lowered) => {
            Graph::load(&lowered.definition).expect("what is lowered is valid");
            &lowered.warnings
        }
        Err(error) => {
            assert!(error.diagnostics.iter().any(|diagnostic| diagnostic.is_error()));
            &error.diagnostics
        }
    };
    for diagnostic in diagnostics {
        assert!(source.get(diagnostic.span.start..diagnostic.span.end).is_some(), "{diagnostic:?}");
    }
});

/// The host never waits.
fn now(future: impl Future<Output = Result<Lowered, LowerError>>) -> Result<Lowered, LowerError> {
    match pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the host never waits"),
    }
}

fn request(options: &str) -> Request {
    let mut request = Request { build_platform: Platform::new("linux", "amd64", None), ..Request::default() };
    for line in options.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let (name, text) = value.split_once('=').unwrap_or((value, ""));
        match key {
            "target" => request.target = Some(value.to_owned()),
            "platform" => request.platform = Platform::parse(value).ok(),
            "multi" => request.multi_platform = true,
            "arg" => drop(request.build_args.insert(name.to_owned(), text.to_owned())),
            "label" => drop(request.labels.insert(name.to_owned(), text.to_owned())),
            "no-cache" => request.no_cache = NoCache::All,
            "allow" => request.allow.extend([Entitlement::NetworkHost, Entitlement::SecurityInsecure]),
            "context" => drop(request.contexts.insert(name.to_owned(), text.to_owned())),
            "context-git" => request.context = MainContext::Git(value.to_owned()),
            "context-archive" => {
                request.context = MainContext::Archive(value.to_owned());
                request.context_directory = Some("sub".to_owned());
            }
            "context-file" => request.context = MainContext::File(value.to_owned()),
            "context-none" => request.context = MainContext::Empty,
            "all-stages" => request.all_stages = true,
            _ => {}
        }
    }
    request
}
