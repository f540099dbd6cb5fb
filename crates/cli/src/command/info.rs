//! `rbuild info`: what this host offers and what is used of it.

use rbuild_sandbox::cgroup::Cgroups;
use rbuild_snapshot::Strategy;
use rbuild_sys::host::Privilege;

use crate::ui::{self, Failure};
use crate::world::World;

/// Show what this host offers and how it is used
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Form of the output
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let privilege = match world.host.privilege {
        Privilege::Root => "root",
        Privilege::UserNs { .. } => "user namespace with a range of ids",
        Privilege::SingleId(_) => "user namespace with a single id",
        Privilege::Ordinary => "ordinary user",
    };
    let snapshots = match world.roots().strategy {
        Strategy::Overlay { userxattr: false } => "overlay",
        Strategy::Overlay { userxattr: true } => "overlay in the user namespace",
        Strategy::FuseOverlay { .. } => "fuse-overlayfs",
        Strategy::Copy => "copy",
    };
    let images = world.store().images().list().map_err(Failure::user)?.len();
    let cgroups = Cgroups::detect(world.host.privilege.is_root()).map(|cgroups| cgroups.describe());
    let cgroups = cgroups.unwrap_or_else(|error| format!("none: {error}"));
    let mut rows = vec![
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Root", world.store().root().display().to_string()),
        ("Images", images.to_string()),
        ("Privilege", privilege.to_owned()),
        ("Rootless", world.rootless.to_string()),
        ("Snapshots", snapshots.to_owned()),
        ("Cgroups", cgroups),
        ("Kernel", world.host.kernel.release.clone()),
        ("Platform", rbuild_oci::Platform::host().to_string()),
    ];
    let tools = &world.host.tools;
    let found = [
        ("pasta", &tools.pasta),
        ("slirp4netns", &tools.slirp4netns),
        ("newuidmap", &tools.newuidmap),
        ("fuse-overlayfs", &tools.fuse_overlayfs),
    ];
    let names: Vec<_> = found.iter().filter(|(_, path)| path.is_some()).map(|(name, _)| *name).collect();
    rows.push(("Tools", names.join(" ")));
    if args.format == "json" {
        let map: serde_json::Map<String, serde_json::Value> =
            rows.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return ui::out(&format!("{}\n", serde_json::Value::Object(map)));
    }
    let text: String = rows.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    ui::out(&text)
}
