//! `rbuild tag`.

use rbuild_oci::Reference;

use crate::ui::Failure;
use crate::world::World;

/// Give an image another name
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image: a name or an id
    source: String,
    /// The new name
    target: String,
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let images = world.store().images();
    let image = images.resolve(&args.source).map_err(Failure::user)?;
    let target: Reference =
        args.target.parse().map_err(|error| Failure::User(format!("invalid name `{}`: {error}", args.target)))?;
    if target.digest.is_some() {
        return Err(Failure::User(format!("refusing to create a tag with a digest reference: `{}`", args.target)));
    }
    images.tag(&image.id, &target).map_err(Failure::user)
}
