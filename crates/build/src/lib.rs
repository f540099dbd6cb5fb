//! The staircase: joins frontend, solver, executor, cache and exporters into one [`Builder`].

pub mod request;

pub use request::{
    BuildRequest, ContextSource, DockerfileSource, NetworkMode, NoCache, OutputSpec, Resources, SecretSource, SshSource, Ulimit,
};
