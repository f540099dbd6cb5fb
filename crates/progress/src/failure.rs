//! What is said after the last step: warnings, and why the build failed.

use std::fmt::Write;

use rbuild_events::{Source, Warning};

use crate::display::{Failure, Warnings};
use crate::model::{Model, Step};
use crate::text::{between, clean, last_return, stamp};

/// Returns what a person reads last of a build that failed.
pub(crate) fn report(model: &Model, failure: &Failure, color: bool) -> String {
    let mut text = String::new();
    if let Some((step, _)) = model.failed() {
        text.push_str(&log(step));
    }
    if let Some(source) = &failure.source {
        text.push_str(&excerpt(source, painted(">>>", RED, color)));
    }
    if !failure.message.is_empty() {
        let lines: Vec<_> = failure.message.lines().map(|line| clean(line.as_bytes())).collect();
        put(&mut text, format_args!("ERROR: {}\n", lines.join("\n")));
    }
    text
}

/// Returns the warnings as a list, or each with what is known of it.
pub(crate) fn warnings(warnings: &[Warning], show: Warnings, color: bool) -> String {
    let count = match warnings.len() {
        0 => return String::new(),
        1 => "1 warning found".to_owned(),
        count => format!("{count} warnings found"),
    };
    let more = if show == Warnings::Listed { " (use --debug to expand)" } else { "" };
    let mut text = format!("\n {}\n", painted(&format!("{count}{more}:"), YELLOW, color));
    for warning in warnings {
        put(&mut text, format_args!(" - {}\n", clean(warning.short.as_bytes())));
        if show == Warnings::Expanded {
            text.push_str(&details(warning, color));
        }
    }
    text
}

fn details(warning: &Warning, color: bool) -> String {
    let mut text = String::new();
    for line in &warning.detail {
        put(&mut text, format_args!("{}\n", clean(line.as_bytes())));
    }
    if !warning.url.is_empty() {
        put(&mut text, format_args!("More info: {}\n", clean(warning.url.as_bytes())));
    }
    if let Some(source) = &warning.source {
        text.push_str(&excerpt(source, painted(">>>", YELLOW, color)));
    }
    text + "\n"
}

const RED: &str = "1;31";
const YELLOW: &str = "1;33";

/// Colour stresses what the text says without it.
fn painted(text: &str, style: &str, color: bool) -> String {
    if color { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
}

fn log(step: &Step) -> String {
    let mut text = format!("------\n > {}:\n", clean(step.name.as_bytes()));
    for (at, line) in step.tail.stamped() {
        let since = step.started.map(|started| between(started, at)).unwrap_or_default();
        put(&mut text, format_args!("{} {}\n", stamp(since), clean(last_return(line))));
    }
    text.push_str("------\n");
    text
}

fn excerpt(source: &Source, marked: String) -> String {
    let (first, last) = (source.lines.0.max(1), source.lines.1.max(source.lines.0));
    let mut text = format!("{}:{first}\n--------------------\n", clean(source.filename.as_bytes()));
    // One line alone needs more around it to be recognised than several do.
    let around = if first == last { 2 } else { 1 };
    let shown = first.saturating_sub(around)..=last.saturating_add(around);
    for (at, line) in source.text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        if shown.contains(&at) {
            let mark = if (first..=last).contains(&at) { &marked } else { "   " };
            put(&mut text, format_args!(" {at:3} | {mark} {}\n", clean(line.as_bytes())));
        }
    }
    text.push_str("--------------------\n");
    text
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes everything");
}
