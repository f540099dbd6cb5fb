//! `rbuild history`.

use std::time::SystemTime;

use rbuild_oci::ImageConfig;

use crate::ui::{self, Failure};
use crate::world::World;

/// Show the history of an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image: a name or an id
    image: String,
    /// Show whole lines
    #[arg(long)]
    no_trunc: bool,
    /// Show only ids
    #[arg(short, long)]
    quiet: bool,
    /// Show sizes and times for people
    #[arg(short = 'H', long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    human: bool,
}

/// The widest command that is shown whole.
const WIDTH: usize = 45;

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let image = world.store().images().resolve(&args.image).map_err(Failure::user)?;
    let config: ImageConfig = world.store().blobs().read_json(&image.id.0).map_err(Failure::user)?;
    let id = if args.no_trunc { image.id.0.to_string() } else { image.id.0.short() };
    if args.quiet {
        return ui::out(&format!("{id}\n"));
    }
    let mut layers = image.layers.iter();
    let mut rows = Vec::new();
    for entry in &config.history {
        let size = match entry.empty_layer {
            true => 0,
            false => layers.next().map(|layer| layer_size(world, *layer)).transpose()?.unwrap_or(0),
        };
        let created = entry.created.clone().unwrap_or_default();
        let created = if args.human { age(&created) } else { created };
        let size = if args.human { ui::human_size(size) } else { size.to_string() };
        let by = if args.no_trunc { entry.created_by.clone() } else { shortened(&entry.created_by) };
        rows.push(vec!["<missing>".to_owned(), created, by, size, entry.comment.clone()]);
    }
    if let Some(last) = rows.last_mut() {
        last[0] = id;
    }
    rows.reverse();
    ui::table(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows)
}

fn layer_size(world: &World, layer: rbuild_store::LayerId) -> Result<u64, Failure> {
    let layer = world.store().layers().get(layer).map_err(Failure::user)?;
    let blob = layer.blobs.first().map(|blob| blob.descriptor.size);
    Ok(layer.tree.map(|tree| tree.size).or(blob).unwrap_or(0))
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= WIDTH { text.to_owned() } else { text.chars().take(WIDTH - 1).chain(['…']).collect() }
}

fn age(created: &str) -> String {
    let parsed = time::OffsetDateTime::parse(created, &time::format_description::well_known::Rfc3339);
    match parsed {
        Ok(at) => ui::human_ago(SystemTime::now().duration_since(SystemTime::from(at)).unwrap_or_default().as_secs()),
        Err(_) => "N/A".to_owned(),
    }
}
