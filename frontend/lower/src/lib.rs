//! Typed instructions to build graph and image configuration.
//!
//! ```text
//! Dockerfile ─globals▶ arguments ─stages▶ Plan ─bases (asks the Bridge)▶ images ─dispatch▶ ops + config ─finish▶ Lowered
//! ```
//!
//! Each arrow is a pass, value in and value out. The only questions to the world go through the
//! [`Bridge`]. The ops are those that BuildKit's own frontend makes of the same file, so that both can
//! share caches and tools; [`Lowered::definition`] is a graph in BuildKit's protocol.
//!
//! This crate does not read files, does not know what a solver is, and does not print.

mod bases;
mod bridge;
mod context;
mod dispatch;
mod epoch;
mod error;
mod finish;
mod frontend;
pub mod git;
mod globals;
mod lowered;
mod named;
mod names;
mod needs;
mod path;
mod read;
mod request;
mod source_op;
mod stages;
mod state;
mod subrequest;
mod substitute;
mod syntax;
mod text;
mod variables;

pub use bridge::{Bridge, BridgeError, ResolveMode, ResolvedImage, ResolvedLayout};
pub use context::remote_context;
pub use epoch::EPOCHS;
pub use error::LowerError;
pub use lowered::{BaseImage, Lowered, Outline, OutlineArg, OutlineMount, Overview, Scan, StageResult, UsedImage};
pub use read::read;
pub use request::{Entitlement, HostAddress, Input, MainContext, NoCache, Request};
pub use subrequest::{Answer, Findings, Subrequest, answer};
pub use syntax::is_built_in;
pub use text::platform_with_version;

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::{CheckOptions, Diagnostic, Dockerfile, Lexer, Lines, Linter, Place, Span};
use rbuild_graph::Builder;
use rbuild_oci::{Platform, Reference};

use crate::error::{Fallible, fail};
use crate::frontend::Frontend;
use crate::globals::Globals;

/// Makes a build graph and an image configuration of `dockerfile`, which was read without an error
/// from `source`.
///
/// # Errors
/// Returns what is wrong with the Dockerfile, the request or the images it asks for, with the place,
/// and the warnings found before.
pub async fn lower(
    dockerfile: &Dockerfile,
    source: &str,
    request: &Request,
    bridge: &dyn Bridge,
) -> Result<Lowered, LowerError> {
    let options = check_options(dockerfile, request).map_err(|error| LowerError { diagnostics: vec![*error] })?;
    let mut linter = Linter::new(options);
    let (ast, _) = rbuild_dockerfile::parse(source);
    linter.file(&ast, dockerfile);
    let mut front = match prepare(dockerfile, request, bridge, &mut linter).await {
        Ok(front) => Frontend { linter, ..front },
        Err(error) => return Err(with_warnings(linter, *error)),
    };
    match front.run().await {
        Err(error) => Err(with_warnings(front.linter, *error)),
        Ok(()) => match front.lint_failure() {
            Some(error) => Err(with_warnings(front.linter, error)),
            None => Ok(front.finish(source)),
        },
    }
}

impl Frontend<'_> {
    async fn run(&mut self) -> Fallible<()> {
        let reachable = self.resolve().await?;
        self.walk(&reachable)
    }
}

fn with_warnings(linter: Linter, error: Diagnostic) -> LowerError {
    let mut diagnostics = linter.into_diagnostics();
    diagnostics.push(error);
    LowerError { diagnostics }
}

/// The passes up to the plan.
async fn prepare<'a>(
    dockerfile: &'a Dockerfile,
    request: &'a Request,
    bridge: &'a dyn Bridge,
    linter: &mut Linter,
) -> Fallible<Frontend<'a>> {
    let place = top(dockerfile);
    if dockerfile.stages.is_empty() {
        return Err(fail(place, "dockerfile contains no stages to build"));
    }
    if request.build_args.get("BUILDKIT_DISABLE_FILEOP").and_then(|value| rbuild_dockerfile::literal::boolean(value))
        == Some(true)
    {
        return Err(fail(place, "support for \"BUILDKIT_DISABLE_FILEOP\" build-arg was removed in BuildKit 0.11"));
    }
    let build = request.build_platform.clone().normalise();
    let target = request.platform.clone().map_or_else(|| build.clone(), Platform::normalise);
    let mut globals = read_globals(dockerfile, request, &build, &target, linter)?;
    let epoch = epoch::resolve(dockerfile, request, &globals, bridge).await?;
    if globals.epoch().is_some() {
        globals.set_epoch(epoch);
    }
    let plan = stages::plan(dockerfile, request, &globals, linter)?;
    let mut builder = Builder::new();
    let context = context::open(request, &globals, &mut builder).map_err(|reason| fail(place, reason))?;
    Ok(Frontend {
        dockerfile,
        request,
        bridge,
        lexer: Lexer::new(dockerfile.escape),
        linter: Linter::default(),
        builder,
        globals,
        epoch,
        target_platform: target,
        plan,
        states: Vec::new(),
        walked: Vec::new(),
        context,
        context_paths: BTreeSet::new(),
        paths: Vec::new(),
        locals: Vec::new(),
        inputs: BTreeMap::new(),
        used: Vec::new(),
        budget: frontend::MAX_SIZE,
    })
}

fn read_globals(
    dockerfile: &Dockerfile,
    request: &Request,
    build: &Platform,
    target: &Platform,
    linter: &mut Linter,
) -> Fallible<Globals> {
    let last = dockerfile.stages.last().and_then(|stage| stage.name.as_deref());
    let name = request.target.as_deref().filter(|name| !name.is_empty()).or(last);
    let predefined = globals::predefined(build, target, name, &request.build_args);
    check_defaults(dockerfile, &predefined, linter);
    globals::read(dockerfile, predefined, &request.build_args)
}

/// Warns of bases that are no names if the build gives no arguments.
fn check_defaults(dockerfile: &Dockerfile, predefined: &variables::Variables, linter: &mut Linter) {
    let Ok(defaults) = globals::read(dockerfile, predefined.clone(), &BTreeMap::new()) else {
        return;
    };
    let lexer = Lexer::new(dockerfile.escape);
    for stage in &dockerfile.stages {
        match lexer.word(&stage.base.text, &defaults.variables) {
            Err(_) => return,
            Ok(base) if Reference::parse(&base.value).is_err() => linter.invalid_default_arg_in_from(stage),
            Ok(_) => {}
        }
    }
}

fn check_options(dockerfile: &Dockerfile, request: &Request) -> Fallible<CheckOptions> {
    let given = request.build_args.get("BUILDKIT_DOCKERFILE_CHECK");
    match (&request.check, given) {
        (Some(check), _) => Ok(check.clone()),
        (None, Some(text)) => CheckOptions::parse(text).map_err(|error| {
            let reason = format!("failed to parse BUILDKIT_DOCKERFILE_CHECK: {error}");
            Box::new(fail(top(dockerfile), reason).with_suggestion(error.suggestion()))
        }),
        (None, None) => Ok(dockerfile.check.clone()),
    }
}

/// Returns the place of the first instruction, for errors that are of no place.
fn top(dockerfile: &Dockerfile) -> Place {
    let meta = dockerfile.meta_args.first().map(|meta| meta.place());
    let stage = dockerfile.stages.first().map(|stage| stage.place());
    meta.or(stage).unwrap_or(Place { span: Span::default(), lines: Lines::single(1) })
}
