//! The staircase: joins frontend, solver, executor, cache and exporters into one [`Builder`].

mod bridge;
mod builder;
mod cache;
mod error;
mod explain;
mod input;
mod named;
mod output;
mod remote;
mod request;
mod session;
mod sweep;
mod syntax;

pub use builder::{BuildOutcome, Builder, Parts};
pub use error::BuildError;
pub use explain::{
    ExplainOptions, ExplainedInput, ExplainedKey, ExplainedOutput, ExplainedStep, ExplainedTarget, Explanation,
};
pub use rbuild_dockerfile::render::Color;
pub use rbuild_export::OutputSpec;
pub use rbuild_lower::{Answer, Findings, Subrequest};
pub use rbuild_ops::DeviceGrants;
pub use rbuild_remote::{CacheSpec, ExportSpec, ImportSpec};
pub use request::{
    BuildRequest, ContextSource, DockerfileSource, NetworkMode, NoCache, Resources, SecretSource, SshSource, Ulimit,
};
pub use sweep::sweep_cache;
