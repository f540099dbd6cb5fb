//! `rbuild load`.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rbuild_export::load_archive;
use rbuild_oci::Platform;

use crate::ui::{self, Failure};
use crate::world::{World, chain};

/// Load images from an archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read from a file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// Platform to load of an image with several
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let (file, path) = match &args.input {
        Some(path) => {
            let file =
                File::open(path).map_err(|error| Failure::User(format!("opening `{}`: {error}", path.display())))?;
            (file, path.as_path())
        }
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::User(
                "requested load from stdin, but stdin is a terminal: use -i, or redirect".to_owned(),
            ));
        }
        None => {
            let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(Failure::user)?;
            (File::from(stdin), Path::new("standard input"))
        }
    };
    let platform = match &args.platform {
        Some(text) => text.parse().map_err(|error| Failure::Usage(format!("--platform: {error}")))?,
        None => Platform::host(),
    };
    let scratch = world.store().temp_dir().map_err(|error| Failure::User(chain(&error)))?;
    let loaded =
        load_archive(world.images(), file, path, scratch, &platform).map_err(|error| Failure::User(chain(&error)))?;
    if args.quiet {
        return Ok(());
    }
    for image in loaded {
        if image.names.is_empty() {
            ui::out(&format!("Loaded image ID: {}\n", image.id.0))?;
        }
        for name in &image.names {
            ui::out(&format!("Loaded image: {}\n", name.familiar()))?;
        }
    }
    Ok(())
}
