//! `rbuild push`.

use rbuild_events::{Event, Outcome, Vertex};
use rbuild_export::{AssembleOptions, Assembled, manifest_of};
use rbuild_images::{BlobRequest, PushImage, PushLayer};
use rbuild_oci::{Digest, Reference, media_type};
use rbuild_store::Image;
use rbuild_tree::compress::Compression;

use crate::exchange;
use crate::ui::{self, Failure};
use crate::world::{World, chain};

/// Push an image to a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image's name
    image: String,
    /// Print only the name
    #[arg(short, long)]
    quiet: bool,
    /// How layers are compressed that have to be made
    #[arg(long, value_name = "FORMAT", default_value = "gzip", value_parser = ["gzip", "zstd", "uncompressed"])]
    compression: String,
}

/// How new layers are compressed unless told otherwise.
pub(crate) fn options(compression: &str) -> AssembleOptions {
    let compression = match compression {
        "zstd" => Compression::Zstd(3),
        "uncompressed" => Compression::None,
        _ => Compression::Gzip(6),
    };
    AssembleOptions { compression, force_compression: false, oci_media_types: true, foreign_layers: false, threads: 2 }
}

/// Returns an image of the store with blobs and manifest: the manifest it came with, if it has one
/// whose blobs are still what it names.
pub(crate) fn assembled(world: &World, image: &Image, options: AssembleOptions) -> Result<Assembled, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::User(chain(error));
    let images = world.images();
    let mut layers = Vec::with_capacity(image.layers.len());
    for (position, id) in image.layers.iter().enumerate() {
        let request = BlobRequest { compression: options.compression, force: false, threads: options.threads };
        let blob = images.blob(*id, &image.layers[..position], request).map_err(|error| failed(&error))?;
        layers.push((*id, blob));
    }
    let config = images.store().blobs().read(&image.id.0, 8 << 20).map_err(|error| failed(&error))?;
    let blobs = images.store().blobs();
    if let Some(target) = image.target.as_ref().filter(|target| media_type::is_manifest(&target.media_type))
        && let Ok(bytes) = blobs.read(&target.digest, 8 << 20)
        && let Ok(manifest) = rbuild_oci::json::from_slice::<rbuild_oci::Manifest>(&bytes)
        && manifest.layers.iter().map(|layer| layer.digest).eq(layers.iter().map(|(_, blob)| blob.descriptor.digest))
    {
        let config = (manifest.config, config.into());
        let platform = image.platform.clone();
        return Ok(Assembled { platform, layers, config, manifest: (target.clone(), bytes.into()) });
    }
    let made = manifest_of(images, image.platform.clone(), layers, config.into(), options.oci_media_types);
    made.map_err(|error| failed(&error))
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let image = world.store().images().resolve(&args.image).map_err(Failure::user)?;
    let reference: Reference =
        args.image.parse().map_err(|error| Failure::User(format!("invalid name `{}`: {error}", args.image)))?;
    if !image.names.contains(&reference) {
        return Err(Failure::User(format!(
            "An image does not exist locally with the tag: {}",
            reference.familiar_name()
        )));
    }
    let mode = if args.quiet { rbuild_progress::Mode::Quiet } else { exchange::mode("auto") };
    let (reporter, display) = exchange::show(mode, "Pushing");
    let name = format!("pushing {}", reference.familiar());
    let vertex = Digest::of(name.as_bytes());
    let now = std::time::SystemTime::now;
    reporter.report(Event::Vertex(Vertex { digest: vertex, name, inputs: Vec::new() }));
    reporter.report(Event::Started { vertex, at: now() });
    let pushed = assembled(world, &image, options(&args.compression)).and_then(|assembled| {
        let layers = assembled.layers.iter().map(|(id, blob)| PushLayer { id: *id, blob: blob.clone() });
        let push = PushImage {
            layers: layers.collect(),
            blobs: Vec::new(),
            config: assembled.config.0.clone(),
            manifest: assembled.manifest.clone(),
        };
        let images = [push];
        let pushing = world.images().push(&reference, &images, None, &reporter, vertex);
        let digest = world.runtime().block_on(pushing).map_err(|error| Failure::User(chain(&error)))?;
        world.store().images().add_digest(&image.id, &reference, &digest).map_err(Failure::user)?;
        Ok((digest, assembled.manifest.0.size))
    });
    let outcome = match &pushed {
        Ok(_) => Outcome::Done,
        Err(Failure::User(message)) => Outcome::Failed(message.clone()),
        Err(_) => Outcome::Canceled,
    };
    reporter.report(Event::Completed { vertex, at: now(), outcome });
    exchange::finish(display, None);
    let (digest, size) = pushed?;
    if args.quiet {
        return ui::out(&format!("{reference}\n"));
    }
    let tag = reference.tag.as_deref().unwrap_or("latest");
    ui::out(&format!("{tag}: digest: {digest} size: {size}\n"))
}
