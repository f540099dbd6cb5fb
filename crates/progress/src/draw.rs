//! What a terminal shows of a model at a moment: a pure function from one to lines.
//!
//! ```text
//! [+] Building 12.3s (5/9)
//!  => CACHED [build 1/4] FROM docker.io/library/debian               0.0s
//!  => [build 2/4] RUN make                                           4.5s
//!  => => # cc -o main.o main.c
//!  => [stage-1 1/2] FROM docker.io/library/busybox                   1.2s
//!  => => sha256:7cf3e1a9c2d4 [=======>            ] 1.20MB / 3.00MB  1.00MB/s
//! ```
//!
//! Where the screen is too small, old finished steps go first, then log lines, then transfers, then
//! the longest-running steps.

use std::time::SystemTime;

use rbuild_events::Outcome;

use crate::model::{Model, Part, Step};
use crate::text::{bytes, clean, fit, last_return, seconds, width};

/// Columns of a transfer's bar.
const BAR: usize = 20;

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// How a line is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As the terminal does by itself.
    Plain,
    /// The heading.
    Heading,
    /// Something that ended well.
    Done,
    /// Something that was given up.
    Canceled,
    /// Something that failed.
    Failed,
    /// Less important than the rest.
    Faint,
}

/// One line of the screen; holds nothing that a terminal would obey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its text, which fits the width.
    pub text: String,
    /// How it is painted.
    pub paint: Paint,
}

/// Returns the lines that a live screen shows, at most one less than it has rows.
pub fn draw(model: &Model, now: SystemTime, size: Size, log_lines: usize) -> Vec<Line> {
    let room = size.height.saturating_sub(1).max(1);
    let mut lines = vec![heading(model, now, size.width, "")];
    let (running, ended): (Vec<&Step>, Vec<&Step>) =
        model.begun.iter().map(|at| &model.steps[*at]).partition(|step| step.is_running());
    let budget = room - 1;
    let full = Detail { logs: log_lines, parts: usize::MAX };
    let detail = shrink(&running, budget, full);
    let live: usize = running.iter().map(|step| detail.height(step)).sum();
    let shown_ended = budget.saturating_sub(live).min(ended_height(&ended));
    let mut done: Vec<Line> = ended.iter().flat_map(|step| step_lines(step, now, size.width, detail)).collect();
    lines.extend(done.split_off(done.len() - shown_ended.min(done.len())));
    let mut active: Vec<Line> = running.iter().flat_map(|step| step_lines(step, now, size.width, detail)).collect();
    if active.len() > budget {
        let hidden = active.len() + 1 - budget.max(1);
        active.drain(..hidden);
        if budget > 0 {
            active.insert(0, line(&format!(" => … and {hidden} more"), size.width, Paint::Faint));
        }
        active.truncate(budget);
    }
    lines.extend(active);
    lines
}

/// Returns the lines that stay on the screen when the build has ended.
pub fn draw_last(model: &Model, now: SystemTime, width: usize) -> Vec<Line> {
    let (done, all) = model.count();
    let word = match (model.failed(), done == all) {
        (Some(_), _) => " ERROR",
        (None, true) => " FINISHED",
        (None, false) => "",
    };
    let detail = Detail { logs: 0, parts: usize::MAX };
    let steps = model.begun.iter().map(|at| &model.steps[*at]);
    let lines = steps.flat_map(|step| step_lines(step, now, width, detail));
    std::iter::once(heading(model, now, width, word)).chain(lines).collect()
}

/// How much is shown of each running step.
#[derive(Debug, Clone, Copy)]
struct Detail {
    logs: usize,
    parts: usize,
}

impl Detail {
    fn height(self, step: &Step) -> usize {
        1 + shown_parts(step, self.parts).count() + shown_logs(step, self.logs).count()
    }
}

fn ended_height(steps: &[&Step]) -> usize {
    steps.iter().map(|step| 1 + shown_parts(step, usize::MAX).count()).sum()
}

/// Returns the most detail with which the running steps fit.
fn shrink(running: &[&Step], budget: usize, full: Detail) -> Detail {
    let fits = |detail: Detail| running.iter().map(|step| detail.height(step)).sum::<usize>() <= budget;
    let most_parts = running.iter().map(|step| step.parts.len()).max().unwrap_or(0);
    let fewer_logs = (0..=full.logs).rev().map(|logs| Detail { logs, ..full });
    let fewer_parts = (0..=most_parts).rev().map(|parts| Detail { logs: 0, parts });
    fewer_logs.chain(fewer_parts).find(|detail| fits(*detail)).unwrap_or(Detail { logs: 0, parts: 0 })
}

/// Returns the parts of a step that are worth a line: all notes, and the transfers under way.
fn shown_parts(step: &Step, most: usize) -> impl Iterator<Item = &Part> {
    let running = step.is_running();
    let worth = move |part: &&Part| !part.is_transfer() || running && part.status.completed.is_none();
    step.parts.iter().filter(worth).take(most)
}

fn shown_logs(step: &Step, most: usize) -> impl Iterator<Item = &[u8]> {
    step.tail.last(if step.is_running() { most } else { 0 })
}

fn step_lines(step: &Step, now: SystemTime, width: usize, detail: Detail) -> Vec<Line> {
    let mut lines = vec![title(step, now, width)];
    lines.extend(shown_parts(step, detail.parts).map(|part| part_line(part, now, width)));
    lines.extend(shown_logs(step, detail.logs).map(|log| {
        let text = format!(" => => # {}", clean(last_return(log)));
        line(&text, width, Paint::Faint)
    }));
    lines
}

fn heading(model: &Model, now: SystemTime, width: usize, word: &str) -> Line {
    let elapsed = model.started.map(|started| crate::text::between(started, now)).unwrap_or_default();
    let (done, all) = model.count();
    line(&format!("[+] {} {} ({done}/{all}){word}", model.phase, seconds(elapsed)), width, Paint::Heading)
}

fn title(step: &Step, now: SystemTime, width: usize) -> Line {
    let (mark, paint) = match &step.outcome {
        None => ("", Paint::Plain),
        Some(Outcome::Done) => ("", Paint::Done),
        Some(Outcome::Cached) => ("CACHED ", Paint::Done),
        Some(Outcome::Canceled) => ("CANCELED ", Paint::Canceled),
        Some(Outcome::Failed(_)) => ("ERROR ", Paint::Failed),
    };
    let name = format!(" => {mark}{}", clean(step.name.as_bytes()));
    aligned(&name, &seconds(step.elapsed(now)), width, paint)
}

fn part_line(part: &Part, now: SystemTime, width: usize) -> Line {
    let status = &part.status;
    let name = format!(" => => {}", short(&clean(status.id.as_bytes())));
    let elapsed = crate::text::between(status.started, status.completed.unwrap_or(now));
    if !part.is_transfer() {
        let count = if status.current > 0 { format!(" {}", bytes(status.current)) } else { String::new() };
        let paint = if status.completed.is_some() { Paint::Done } else { Paint::Plain };
        return aligned(&format!("{name}{count}"), &seconds(elapsed), width, paint);
    }
    let amount = format!("{} / {}", bytes(status.current), bytes(status.total));
    let rate = format!("{}/s", bytes(part.rate(now)));
    let full = format!("{name} {} {amount}", bar(status.current, status.total));
    // Where there is no room for all, the bar goes first, then the rate.
    let texts = [format!("{full}  {rate}"), format!("{name} {amount}  {rate}"), format!("{name} {amount}")];
    let fitting = texts.iter().find(|text| crate::text::width(text) < width);
    line(fitting.unwrap_or(&texts[2]), width, Paint::Plain)
}

/// Returns a digest in the length that people compare.
fn short(id: &str) -> String {
    match id.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.is_ascii() => format!("sha256:{}", &hex[..12]),
        _ => id.to_owned(),
    }
}

fn bar(current: u64, total: u64) -> String {
    let share = u128::from(current.min(total)) * BAR as u128 / u128::from(total.max(1));
    let filled = usize::try_from(share).unwrap_or(BAR);
    let head = if filled < BAR { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(filled), " ".repeat((BAR - filled).saturating_sub(1)))
}

/// Returns a line with a text on the left and a time at the right edge.
fn aligned(left: &str, right: &str, columns: usize, paint: Paint) -> Line {
    let room = columns.saturating_sub(1);
    if room < right.len() + 12 {
        return line(left, columns, paint);
    }
    let left = fit(left, room - right.len() - 1);
    let gap = room - width(&left) - right.len();
    Line { text: format!("{left}{}{right}", " ".repeat(gap)), paint }
}

fn line(text: &str, columns: usize, paint: Paint) -> Line {
    Line { text: fit(text, columns.saturating_sub(1)), paint }
}
