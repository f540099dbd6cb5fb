//! `rbuild save`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use rbuild_export::{ArchiveKind, Commit, export_archive};
use rbuild_oci::Reference;
use rbuild_sys::result::{create_result, remove_result};

use crate::command::push::{assembled, options};
use crate::ui::Failure;
use crate::world::{World, chain, stdout};

/// Save images to an archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Form of the archive
    #[arg(long, value_name = "FORMAT", default_value = "docker-archive", value_parser = ["docker-archive", "oci-archive"])]
    format: String,
    /// How layers are compressed that have to be made
    #[arg(long, value_name = "FORMAT", default_value = "uncompressed", value_parser = ["gzip", "zstd", "uncompressed"])]
    compression: String,
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::User("cowardly refusing to save to a terminal: use -o, or redirect".to_owned()));
    }
    let mut exported = Vec::new();
    for text in &args.images {
        let image = world.store().images().resolve(text).map_err(Failure::user)?;
        let wanted = Reference::parse(text).ok();
        let names = image.names.iter().filter(|name| wanted.as_ref() == Some(*name)).cloned().collect();
        let assembled = assembled(world, &image, options(&args.compression))?;
        let commit = Commit::of(world.images(), vec![assembled], true);
        exported.push((commit.map_err(|error| Failure::User(chain(&error)))?, names));
    }
    let kind = if args.format == "oci-archive" { ArchiveKind::Oci } else { ArchiveKind::Docker };
    let out: Box<dyn Write + Send> = match &args.output {
        None => stdout(),
        Some(path) => Box::new(
            create_result(path).map_err(|error| Failure::User(format!("creating `{}`: {error}", path.display())))?,
        ),
    };
    let out = std::io::BufWriter::with_capacity(256 << 10, out);
    let written = export_archive(world.images(), kind, &exported, out).map_err(|error| Failure::User(chain(&error)));
    let written =
        written.and_then(|mut out| out.flush().map_err(|error| Failure::User(format!("writing the archive: {error}"))));
    if let (Err(_), Some(path)) = (&written, &args.output) {
        remove_result(path);
    }
    written
}
