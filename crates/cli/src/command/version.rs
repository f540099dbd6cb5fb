//! `rbuild version`.

use crate::ui::{self, Failure};

/// Show the version
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Form of the output
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let platform = rbuild_oci::Platform::host();
    let version = env!("CARGO_PKG_VERSION");
    if args.format == "json" {
        let value = serde_json::json!({ "Version": version, "Os": platform.os, "Arch": platform.architecture });
        return ui::out(&format!("{value}\n"));
    }
    ui::out(&format!("rbuild {version} ({platform})\n"))
}
