//! `rbuild prune`: give up what is not needed.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use rbuild_store::{Filter, ImagePrune, PruneOptions};

use crate::ui::{self, Failure};
use crate::value;
use crate::world::{World, chain};

/// Remove build cache and unused images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove all images that nothing uses, and all of the cache
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only what was not used for so long (`24h`)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    until: Option<Duration>,
    /// Keep so much of the cache
    #[arg(long, value_name = "BYTES", value_parser = value::size)]
    keep_storage: Option<u64>,
    /// Only what fulfils a condition (`type=cache`, `until=24h`, …)
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<String>,
    /// Show each removed record
    #[arg(short, long)]
    verbose: bool,
}

pub(crate) fn run(args: &Args, world: &World) -> Result<(), Failure> {
    let mut options = PruneOptions {
        all: args.all,
        images: if args.all { ImagePrune::Unused } else { ImagePrune::Dangling },
        until: args.until,
        keep_storage: args.keep_storage,
        filters: Vec::new(),
    };
    for condition in &args.filter {
        match condition.strip_prefix("until=") {
            Some(text) => options.until = Some(duration(text).map_err(Failure::Usage)?),
            None => options.filters.push(Filter::parse(condition).map_err(|error| Failure::Usage(error.to_string()))?),
        }
    }
    if !args.force && !confirmed(args.all)? {
        return Ok(());
    }
    let reclaimed = world.store().prune(&options).map_err(|error| Failure::User(chain(&error)))?;
    if args.verbose {
        let rows: Vec<_> =
            reclaimed.records.iter().map(|record| vec![record.id.clone(), ui::human_size(record.size)]).collect();
        ui::table(&["ID", "SIZE"], &rows)?;
    }
    ui::out(&format!("Total:\t{}\n", ui::human_size(reclaimed.bytes)))?;
    rbuild_build::sweep_cache(world.store()).map_err(Failure::user)?;
    // Whoever prunes expects to wait for the disk.
    world.store().maintain().map_err(|error| Failure::User(chain(&error)))
}

fn confirmed(all: bool) -> Result<bool, Failure> {
    let what =
        if all { "all images that nothing uses and all build cache" } else { "all dangling images and build cache" };
    if !std::io::stdin().is_terminal() {
        return Err(Failure::User(format!("this removes {what}: say --force where nobody can be asked")));
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::user)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Parses Go's durations: `1h30m`, `45s`, `24h`, and days.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration `{text}`: expected such as 24h or 1h30m");
    let (mut total, mut rest) = (0.0, text);
    if text.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        total += number
            * match &rest[digits..unit_end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return Err(invalid()),
            };
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(total).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("24h", 86400), ("1h30m", 5400), ("45s", 45), ("2d", 172_800)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "1", "1x", "-1h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
