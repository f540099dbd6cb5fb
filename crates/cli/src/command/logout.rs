//! `rbuild logout`.

use rbuild_registry::{Client, Options};

use crate::command::login::registry;
use crate::ui::{self, Failure};
use crate::world::{World, chain};

/// Log out from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry (default: Docker Hub)
    server: Option<String>,
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let registry = registry(args.server.as_deref());
    let options = Options { credentials: world.docker_config(), ..world.registry_options().clone() };
    let client = Client::new(options).map_err(|error| Failure::User(chain(&error)))?;
    let logout = rbuild_registry::logout(&client, &registry);
    let known = world.runtime().block_on(logout).map_err(|error| Failure::User(chain(&error)))?;
    match known {
        true => ui::out(&format!("Removing login credentials for {registry}\n")),
        false => ui::out(&format!("Not logged in to {registry}\n")),
    }
}
