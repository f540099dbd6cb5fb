//! `rbuild images`.

use std::time::SystemTime;

use rbuild_oci::Reference;
use rbuild_store::Image;

use crate::ui::{self, Failure};
use crate::world::World;

/// List images
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls")]
pub(crate) struct Args {
    /// Only images of this name
    reference: Option<String>,
    /// Show all images, also those that only builds use (there are none)
    #[arg(short, long)]
    all: bool,
    /// Show only ids
    #[arg(short, long)]
    quiet: bool,
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Only images that fulfil a condition (`dangling=true`, `reference=NAME`)
    #[arg(short, long, value_name = "CONDITION")]
    filter: Vec<String>,
    /// Form of the output
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,
}

/// One line of the list.
struct Row {
    repository: String,
    tag: String,
    digest: String,
    id: String,
    created: SystemTime,
    size: u64,
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let (mut dangling, mut names) = (None, Vec::new());
    for condition in &args.filter {
        match condition.split_once('=') {
            Some(("dangling", "true" | "1")) => dangling = Some(true),
            Some(("dangling", "false" | "0")) => dangling = Some(false),
            Some(("reference", name)) => names.push(name.to_owned()),
            _ => {
                return Err(Failure::Usage(format!(
                    "invalid filter `{condition}`: dangling=true|false or reference=NAME"
                )));
            }
        }
    }
    names.extend(args.reference.clone());
    let mut rows = Vec::new();
    for image in world.store().images().list().map_err(Failure::user)? {
        rows.extend(rows_of(world, &image, args)?.into_iter().filter(|row| {
            dangling.is_none_or(|dangling| dangling == (row.tag == "<none>"))
                && (names.is_empty() || names.iter().any(|name| is_called(row, name)))
        }));
    }
    show(args, &rows)
}

fn is_called(row: &Row, name: &str) -> bool {
    let Ok(wanted) = Reference::parse_untagged(name) else { return false };
    wanted.familiar_name() == row.repository && wanted.tag.is_none_or(|tag| tag == row.tag)
}

fn rows_of(world: &World, image: &Image, args: &Args) -> Result<Vec<Row>, Failure> {
    let size = size_of(world, image)?;
    let id = if args.no_trunc { image.id.0.to_string() } else { image.id.0.short() };
    let row = |repository: String, tag: String| {
        let digest = image.digests.iter().find(|known| known.familiar_name() == repository);
        let digest = digest.and_then(|known| known.digest).map_or("<none>".to_owned(), |digest| digest.to_string());
        Row { repository, tag, digest, id: id.clone(), created: image.created, size }
    };
    if image.names.is_empty() {
        let repository = image.digests.first().map_or("<none>".to_owned(), Reference::familiar_name);
        return Ok(vec![row(repository, "<none>".to_owned())]);
    }
    let named = image
        .names
        .iter()
        .map(|name| row(name.familiar_name(), name.tag.clone().unwrap_or_else(|| "<none>".to_owned())));
    Ok(named.collect())
}

/// Returns the bytes of an image's layers, uncompressed where they are known so.
pub(crate) fn size_of(world: &World, image: &Image) -> Result<u64, Failure> {
    let mut size = 0;
    for id in &image.layers {
        let layer = world.store().layers().get(*id).map_err(Failure::user)?;
        // The tar first: it stays the same when the layer is unpacked, compressed or pushed later.
        let tar = layer.blobs.iter().find(|blob| layer.diff_id.is_some_and(|diff| diff.0 == blob.descriptor.digest));
        size += match (tar, &layer.tree, layer.blobs.first(), layer.remotes.first()) {
            (Some(tar), ..) => tar.descriptor.size,
            (None, Some(tree), ..) => tree.size,
            (None, None, Some(blob), _) => blob.descriptor.size,
            (None, None, None, Some(remote)) => remote.descriptor.size,
            (None, None, None, None) => 0,
        };
    }
    Ok(size)
}

fn show(args: &Args, rows: &[Row]) -> Result<(), Failure> {
    if args.quiet {
        let mut ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
        ids.dedup();
        return ui::out(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
    }
    let ago = |row: &Row| ui::human_ago(SystemTime::now().duration_since(row.created).unwrap_or_default().as_secs());
    if args.format == "json" {
        let line = |row: &Row| {
            let created = row.created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            serde_json::json!({
                "Repository": row.repository, "Tag": row.tag, "Digest": row.digest, "ID": row.id,
                "CreatedAt": created, "CreatedSince": ago(row), "Size": ui::human_size(row.size), "Bytes": row.size,
            })
        };
        return ui::out(&rows.iter().map(|row| format!("{}\n", line(row))).collect::<String>());
    }
    let mut header = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    let cells = rows
        .iter()
        .map(|row| vec![row.repository.clone(), row.tag.clone(), row.id.clone(), ago(row), ui::human_size(row.size)]);
    let mut cells: Vec<_> = cells.collect();
    if args.digests {
        header.insert(2, "DIGEST");
        cells.iter_mut().zip(rows).for_each(|(cells, row)| cells.insert(2, row.digest.clone()));
    }
    ui::table(&header, &cells)
}
