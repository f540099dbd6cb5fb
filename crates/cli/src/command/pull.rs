//! `rbuild pull`.

use rbuild_events::{Event, Outcome, Vertex};
use rbuild_oci::{Digest, Platform, Reference};

use crate::exchange;
use crate::ui::{self, Failure};
use crate::world::{World, chain};

/// Pull an image from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image's name
    image: String,
    /// Print only the name
    #[arg(short, long)]
    quiet: bool,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let reference: Reference =
        args.image.parse().map_err(|error| Failure::User(format!("invalid name `{}`: {error}", args.image)))?;
    let platform = match &args.platform {
        Some(text) => text.parse().map_err(|error| Failure::Usage(format!("--platform: {error}")))?,
        None => Platform::host(),
    };
    let mode = if args.quiet { rbuild_progress::Mode::Quiet } else { exchange::mode("auto") };
    let (reporter, display) = exchange::show(mode, "Pulling");
    let name = format!("pulling {}", reference.familiar());
    let vertex = Digest::of(name.as_bytes());
    let now = std::time::SystemTime::now;
    reporter.report(Event::Vertex(Vertex { digest: vertex, name, inputs: Vec::new() }));
    reporter.report(Event::Started { vertex, at: now() });
    let pulled = world.runtime().block_on(world.images().pull(&reference, &platform, &reporter, vertex));
    let outcome = match &pulled {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(chain(error)),
    };
    reporter.report(Event::Completed { vertex, at: now(), outcome });
    exchange::finish(display, None);
    for warning in world.images().client().map(|client| client.take_warnings()).unwrap_or_default() {
        ui::say(&format!("WARNING: {warning}"));
    }
    let pulled = pulled.map_err(|error| Failure::User(chain(&error)))?;
    if !args.quiet {
        let status = if pulled.up_to_date { "Image is up to date for" } else { "Downloaded newer image for" };
        ui::say(&format!("Digest: {}\nStatus: {status} {}", pulled.digest, reference.familiar()));
    }
    ui::out(&format!("{reference}\n"))
}
