//! What is said after the last step: warnings, and why the build failed.

use std::fmt::Write;

use rbuild_events::{Source, Warning};

use crate::display::Failure;
use crate::model::{Model, Step};
use crate::text::{between, clean, last_return, stamp};

/// Returns what a person reads last of a build that failed.
pub(crate) fn report(model: &Model, failure: &Failure) -> String {
    let mut text = String::new();
    if let Some((step, _)) = model.failed() {
        text.push_str(&log(step));
    }
    if let Some(source) = &failure.source {
        text.push_str(&excerpt(source));
    }
    if !failure.message.is_empty() {
        let lines: Vec<_> = failure.message.lines().map(|line| clean(line.as_bytes())).collect();
        put(&mut text, format_args!("ERROR: {}\n", lines.join("\n")));
    }
    text
}

/// Returns the warnings as a list.
pub(crate) fn warnings(warnings: &[Warning]) -> String {
    let mut text = String::new();
    match warnings.len() {
        0 => return text,
        1 => text.push_str("\n 1 warning found:\n"),
        count => put(&mut text, format_args!("\n {count} warnings found:\n")),
    }
    for warning in warnings {
        let place = warning.source.as_ref().map(|source| format!(" (line {})", source.lines.0)).unwrap_or_default();
        put(&mut text, format_args!(" - {}{place}\n", clean(warning.short.as_bytes())));
    }
    text
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

fn excerpt(source: &Source) -> String {
    let (first, last) = (source.lines.0.max(1), source.lines.1.max(source.lines.0));
    let mut text = format!("{}:{first}\n--------------------\n", clean(source.filename.as_bytes()));
    // One line alone needs more around it to be recognised than several do.
    let around = if first == last { 2 } else { 1 };
    let shown = first.saturating_sub(around)..=last.saturating_add(around);
    for (at, line) in source.text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        if shown.contains(&at) {
            let mark = if (first..=last).contains(&at) { ">>>" } else { "   " };
            put(&mut text, format_args!(" {at:3} | {mark} {}\n", clean(line.as_bytes())));
        }
    }
    text.push_str("--------------------\n");
    text
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes everything");
}
