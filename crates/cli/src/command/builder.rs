//! How commands work with a builder: what it is made of, how it is interrupted, how it fails.

use std::sync::Arc;

use rbuild_build::{BuildError, Builder, Parts};
use rbuild_events::Reporter;

use crate::ui::{self, Failure};
use crate::world::{World, stdin, stdout, variable};

/// Returns what a builder is made of.
pub(crate) fn parts(world: &World, reporter: Arc<dyn Reporter>) -> Result<Parts, Failure> {
    Ok(Parts {
        images: world.images().clone(),
        roots: world.roots(),
        network: world.network()?,
        reporter,
        search_path: variable("PATH").map(Into::into),
        stdin,
        stdout,
    })
}

/// Works until done or told to stop; what runs is then ended before we end.
pub(crate) async fn interruptible<T>(
    builder: &Builder,
    work: impl Future<Output = Result<T, BuildError>>,
) -> Result<T, BuildError> {
    let stop = crate::signals::first();
    tokio::select! {
        done = work => done,
        code = stop => {
            tokio::spawn(crate::signals::insist());
            builder.idle().await;
            Err(BuildError::Interrupted(code))
        }
    }
}

/// Says what a build says of its failure, and gives the exit code.
pub(crate) fn told(error: BuildError) -> Failure {
    match error {
        BuildError::Dockerfile { rendered, first } => {
            ui::print_rendered(&rendered);
            Failure::User(format!("failed to solve: {first}"))
        }
        BuildError::Interrupted(code) => {
            ui::say_error("canceled");
            Failure::Code(code)
        }
        other => Failure::User(other.to_string()),
    }
}
