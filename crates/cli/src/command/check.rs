//! `rbuild check`: what the lint rules have to say about a Dockerfile.

use rbuild_build::BuildRequest;

use crate::command::build;
use crate::command::call::{self, Call, Format};
use crate::exchange;
use crate::ui::{self, Failure};
use crate::value;
use crate::world::{World, variable_or_empty};

/// Check a Dockerfile without building it
///
/// The exit code is 1 if there are warnings or the Dockerfile cannot be built. Rules are explained at the addresses
/// shown; `# check=skip=RULE` in the Dockerfile turns one off.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Build context: a directory, a URL, or `-` for standard input
    #[arg(value_name = "PATH | URL | -", default_value = ".")]
    context: String,
    /// Name of the Dockerfile (default: PATH/Dockerfile), `-` for standard input
    #[arg(short, long, value_name = "PATH")]
    file: Option<String>,
    /// Check only what this stage needs, not all stages
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Set build-time variables; BUILDKIT_DOCKERFILE_CHECK replaces `# check=`
    #[arg(long = "build-arg", value_name = "KEY[=VALUE]", value_parser = value::key_maybe_value)]
    build_args: Vec<(String, Option<String>)>,
    /// Additional build contexts (`name=path`, `name=docker-image://…`)
    #[arg(long = "build-context", value_name = "NAME=PATH", value_parser = value::key_value)]
    build_contexts: Vec<(String, String)>,
    /// Set the target platform
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// How findings are written
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Tells what is wrong with a Dockerfile.
pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let mut request = args.request().map_err(Failure::User)?;
    build::add_proxies(&mut request.build_args, world);
    call::run(Call::check(args.format), &request, "auto", world)
}

impl Args {
    fn request(&self) -> Result<BuildRequest, String> {
        let platform = self.platform.as_ref().map(|text| text.parse().map_err(|error| format!("--platform: {error}")));
        Ok(BuildRequest {
            dockerfile: build::dockerfile(self.file.as_deref()),
            target: self.target.clone(),
            build_args: build::given(&self.build_args, &variable_or_empty),
            build_contexts: self.build_contexts.iter().cloned().collect(),
            platforms: platform.into_iter().collect::<Result<_, _>>()?,
            source_date_epoch: variable_or_empty("SOURCE_DATE_EPOCH"),
            color: exchange::colors(ui::stderr_is_terminal()),
            ..BuildRequest::new(build::context(&self.context)?)
        })
    }
}
