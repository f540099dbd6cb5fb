//! `rbuild rmi`.

use rbuild_oci::Reference;
use rbuild_store::Image;

use crate::ui::{self, Failure};
use crate::world::{World, chain};

/// Remove images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
    /// Also if an image has several names; a missing image is no error
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let mut failed = false;
    for name in &args.images {
        if let Err(error) = remove(name, args.force, world) {
            match error {
                Failure::User(message) => ui::say_error(&message),
                other => return Err(other),
            }
            failed = true;
        }
    }
    let reclaimed = world.store().collect().map_err(|error| Failure::User(chain(&error)))?;
    let _ = reclaimed;
    if failed { Err(Failure::Code(1)) } else { Ok(()) }
}

fn remove(text: &str, force: bool, world: &World) -> Result<(), Failure> {
    let images = world.store().images();
    let image = match images.resolve(text) {
        Ok(image) => image,
        Err(rbuild_store::Error::NoImage(_)) if force => return Ok(()),
        Err(error) => return Err(Failure::user(error)),
    };
    if let Some(name) = named(&image, text) {
        images.untag(&name).map_err(Failure::user)?;
        ui::out(&format!("Untagged: {}\n", name.familiar()))?;
        if image.names.len() > 1 {
            return Ok(());
        }
    } else if image.names.len() > 1 && !force {
        let message = format!(
            "unable to delete {} (must be forced) - image is referenced in multiple repositories",
            image.id.0.short()
        );
        return Err(Failure::User(message));
    } else {
        for name in &image.names {
            images.untag(name).map_err(Failure::user)?;
            ui::out(&format!("Untagged: {}\n", name.familiar()))?;
        }
    }
    images.remove(&image.id).map_err(Failure::user)?;
    ui::out(&format!("Deleted: {}\n", image.id.0))
}

/// Returns the name that `text` means, if it is a name of the image and not its id.
fn named(image: &Image, text: &str) -> Option<Reference> {
    let wanted = Reference::parse(text).ok()?;
    image.names.iter().find(|name| **name == wanted).cloned()
}
