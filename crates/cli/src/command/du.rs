//! `rbuild du`: what takes how much of the disk.

use std::time::SystemTime;

use rbuild_store::Record;

use crate::ui::{self, Failure};
use crate::world::{World, chain};

/// Show disk usage
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all that is known of each record
    #[arg(short, long)]
    verbose: bool,
    /// Form of the output
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let usage = world.store().usage().map_err(|error| Failure::User(chain(&error)))?;
    if args.format == "json" {
        let lines: String = usage.records.iter().map(|record| format!("{}\n", json(record))).collect();
        return ui::out(&lines);
    }
    if args.verbose {
        let text: String = usage.records.iter().map(verbose).collect();
        ui::out(&text)?;
    } else {
        let row = |record: &Record| {
            let flag = |is: bool| if is { "true" } else { "false" }.to_owned();
            vec![record.id.clone(), flag(!record.in_use && !record.shared), ui::human_size(record.size), used(record)]
        };
        let rows: Vec<_> = usage.records.iter().map(row).collect();
        ui::table(&["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"], &rows)?;
    }
    ui::out(&format!(
        "Store:\t\t{}\nReclaimable:\t{}\nTotal:\t\t{}\n",
        ui::human_size(usage.overhead),
        ui::human_size(usage.reclaimable),
        ui::human_size(usage.total)
    ))
}

fn used(record: &Record) -> String {
    ui::human_ago(SystemTime::now().duration_since(record.used).unwrap_or_default().as_secs())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn json(record: &Record) -> serde_json::Value {
    serde_json::json!({
        "ID": record.id, "Type": record.kind.as_str(), "Size": record.size, "Shared": record.shared,
        "InUse": record.in_use, "CreatedAt": seconds(record.created), "LastUsedAt": seconds(record.used),
        "UsageCount": record.uses, "Description": record.description,
    })
}

fn verbose(record: &Record) -> String {
    format!(
        "ID:\t\t{}\nType:\t\t{}\nSize:\t\t{}\nShared:\t\t{}\nIn use:\t\t{}\nUsage count:\t{}\nLast used:\t{}\nDescription:\t{}\n\n",
        record.id,
        record.kind.as_str(),
        ui::human_size(record.size),
        record.shared,
        record.in_use,
        record.uses,
        used(record),
        ui::escaped(&record.description)
    )
}
