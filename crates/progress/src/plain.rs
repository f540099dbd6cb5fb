//! BuildKit's plain progress: one line after the other, each with the number of its step.
//!
//! Steps run at once, but lines of one step stay together as long as they can: output of the
//! others waits until the step on show ends, or until they have waited for long.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use rbuild_events::{Event, Outcome, Status};

use crate::log::Lines;
use crate::model::{Model, Step};
use crate::text::{between, bytes, clean, seconds, stamp};

/// Time that output of another step may wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A transfer is told again after this time, or this part of the whole in percent.
const TELL_AFTER: (Duration, u64) = (Duration::from_secs(5), 5);

/// What is yet to be written, and which step is on show.
#[derive(Debug)]
pub(crate) struct Plain {
    /// Whether control bytes in logs are escaped, because a terminal would obey them.
    escape: bool,
    on_show: Option<usize>,
    /// The step on show if it rests: it gives way to any other.
    resting: Option<usize>,
    first: bool,
    waiting: HashMap<usize, Waiting>,
    told: HashMap<(usize, String), (SystemTime, u64)>,
    /// Lines under way, and when their last piece came.
    lines: HashMap<usize, (Lines, SystemTime)>,
}

/// Output of one step that is yet to be written.
#[derive(Debug)]
struct Waiting {
    since: SystemTime,
    text: Vec<u8>,
    ended: bool,
}

impl Plain {
    pub(crate) fn new(escape: bool) -> Self {
        Self {
            escape,
            on_show: None,
            resting: None,
            first: true,
            waiting: HashMap::new(),
            told: HashMap::new(),
            lines: HashMap::new(),
        }
    }

    /// Takes an event that was folded into step `at` of the model.
    pub(crate) fn take(&mut self, event: &Event, at: usize, model: &Model, now: SystemTime) {
        let step = &model.steps[at];
        match event {
            Event::Started { .. } => {
                self.resting = self.resting.filter(|resting| *resting != at);
                self.wait(at, now, b"");
            }
            Event::Status(status) => {
                if let Some(text) = self.status(at, status, now) {
                    self.wait(at, now, text.as_bytes());
                }
            }
            Event::Log { data, at: moment, .. } => self.log(at, step, data, *moment, now),
            Event::Paused { .. } => self.pause(at),
            Event::Completed { .. } => self.complete(at, step, now),
            Event::Vertex(_) | Event::Warning(_) => {}
        }
    }

    /// Returns what is to be written now; at the end of all, everything.
    pub(crate) fn flush(&mut self, model: &Model, now: SystemTime, end: bool) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(at) = self.on_show {
            self.show(at, model, &mut out);
        }
        for at in self.ready(|waiting| waiting.ended || end) {
            self.show(at, model, &mut out);
        }
        let late = |waiting: &Waiting| between(waiting.since, now) >= LONGEST_WAIT;
        let next = match self.on_show.filter(|at| self.resting != Some(*at)) {
            None => self.ready(|_| true).first().copied(),
            Some(_) => self.ready(late).first().copied(),
        };
        if let Some(at) = next {
            self.show(at, model, &mut out);
        }
        out
    }

    /// Returns the steps with such output, the longest waiting first.
    fn ready(&self, wanted: impl Fn(&Waiting) -> bool) -> Vec<usize> {
        let mut found: Vec<_> = self.waiting.iter().filter(|(_, waiting)| wanted(waiting)).collect();
        found.sort_by_key(|(at, waiting)| (waiting.since, **at));
        found.into_iter().map(|(at, _)| *at).collect()
    }

    fn wait(&mut self, at: usize, now: SystemTime, text: &[u8]) {
        let fresh = || Waiting { since: now, text: Vec::new(), ended: false };
        self.waiting.entry(at).or_insert_with(fresh).text.extend_from_slice(text);
    }

    fn show(&mut self, at: usize, model: &Model, out: &mut Vec<u8>) {
        let Some(waiting) = self.waiting.remove(&at) else { return };
        if self.on_show != Some(at) {
            if let Some(other) = self.on_show {
                out.extend_from_slice(format!("#{} ...\n", other + 1).as_bytes());
            }
            if !self.first {
                out.push(b'\n');
            }
            self.first = false;
            let name = clean(model.steps[at].name.as_bytes());
            out.extend_from_slice(format!("#{} {name}\n", at + 1).as_bytes());
        }
        out.extend_from_slice(&waiting.text);
        self.on_show = Some(at).filter(|_| !waiting.ended);
    }

    fn log(&mut self, at: usize, step: &Step, data: &[u8], moment: SystemTime, now: SystemTime) {
        let prefix = prefix(at, step, moment);
        let escape = self.escape;
        let mut text = Vec::new();
        let (lines, last) = self.lines.entry(at).or_insert_with(|| (Lines::default(), moment));
        *last = moment;
        lines.push(data, |line| put_line(&mut text, &prefix, line, escape));
        if !text.is_empty() {
            self.wait(at, now, &text);
        }
    }

    /// A step that rests is not told of if it had nothing to say.
    fn pause(&mut self, at: usize) {
        if self.waiting.get(&at).is_some_and(|waiting| waiting.text.is_empty()) {
            self.waiting.remove(&at);
        }
        self.resting = self.on_show.filter(|shown| *shown == at).or(self.resting);
    }

    fn complete(&mut self, at: usize, step: &Step, now: SystemTime) {
        let mut text = Vec::new();
        if let Some((mut lines, last)) = self.lines.remove(&at) {
            let prefix = prefix(at, step, last);
            lines.end(|line| put_line(&mut text, &prefix, line, self.escape));
        }
        let word = match &step.outcome {
            Some(Outcome::Cached) => "CACHED".to_owned(),
            Some(Outcome::Canceled) => "CANCELED".to_owned(),
            Some(Outcome::Failed(message)) => format!("ERROR: {}", clean(message.as_bytes())),
            Some(Outcome::Done) | None => format!("DONE {}", seconds(step.elapsed(now))),
        };
        text.extend_from_slice(format!("#{} {word}\n", at + 1).as_bytes());
        self.wait(at, now, &text);
        self.told.retain(|(step, _), _| *step != at);
        if let Some(waiting) = self.waiting.get_mut(&at) {
            waiting.ended = true;
        }
    }

    /// Returns the line of a status, unless it was told a moment ago.
    fn status(&mut self, at: usize, status: &Status, now: SystemTime) -> Option<String> {
        let key = (at, status.id.clone());
        if let Some((when, current)) = self.told.get(&key).filter(|_| status.completed.is_none()) {
            let moved = status.current.saturating_sub(*current).saturating_mul(100);
            let little = status.total == 0 || moved < status.total.saturating_mul(TELL_AFTER.1);
            if little && between(*when, now) < TELL_AFTER.0 {
                return None;
            }
        }
        self.told.insert(key, (now, status.current));
        let mut text = format!("#{} {}", at + 1, clean(status.id.as_bytes()));
        let mut put = |part: String| text.write_str(&part).expect("a String takes everything");
        match (status.current, status.total) {
            (0, 0) => {}
            (current, 0) => put(format!(" {}", bytes(current))),
            (current, total) => put(format!(" {} / {}", bytes(current), bytes(total))),
        }
        let elapsed = between(status.started, status.completed.unwrap_or(now));
        if elapsed > Duration::from_millis(10) {
            put(format!(" {}", seconds(elapsed)));
        }
        put(if status.completed.is_some() { " done\n" } else { "\n" }.to_owned());
        Some(text)
    }
}

fn prefix(at: usize, step: &Step, moment: SystemTime) -> String {
    let since = step.started.map(|started| between(started, moment)).unwrap_or_default();
    format!("#{} {} ", at + 1, stamp(since))
}

fn put_line(text: &mut Vec<u8>, prefix: &str, line: &[u8], escape: bool) {
    text.extend_from_slice(prefix.as_bytes());
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if escape {
        text.extend_from_slice(clean(line).as_bytes())
    } else {
        text.extend_from_slice(line)
    }
    text.push(b'\n');
}
