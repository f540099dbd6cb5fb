//! Everything known of a build, folded from events.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use rbuild_events::{Event, Outcome, Status, Warning};
use rbuild_oci::Digest;

use crate::log::Tail;
use crate::text::between;

/// Time over which a transfer's rate is measured.
const WINDOW: Duration = Duration::from_secs(1);
/// Most warnings kept.
const MOST_WARNINGS: usize = 1000;

/// Everything known of a build.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) phase: &'static str,
    pub(crate) steps: Vec<Step>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) started: Option<SystemTime>,
    by_digest: HashMap<Digest, usize>,
    /// Steps in the order in which they began.
    pub(crate) begun: Vec<usize>,
}

/// One vertex of the build.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) digest: Digest,
    pub(crate) name: String,
    pub(crate) inputs: Vec<Digest>,
    pub(crate) started: Option<SystemTime>,
    pub(crate) completed: Option<SystemTime>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) parts: Vec<Part>,
    pub(crate) tail: Tail,
}

/// One status of a step, and how fast it moves.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) status: Status,
    /// Two earlier readings: rates are measured from the older one.
    marks: [(SystemTime, u64); 2],
}

impl Model {
    /// Returns a model that knows nothing yet of a work called so (`Building`, `Pulling`).
    pub fn new(phase: &'static str) -> Self {
        Self {
            phase,
            steps: Vec::new(),
            warnings: Vec::new(),
            started: None,
            by_digest: HashMap::new(),
            begun: Vec::new(),
        }
    }

    /// Takes one event that came at `now`; returns which step it concerns, counted from 0.
    pub fn fold(&mut self, event: &Event, now: SystemTime) -> Option<usize> {
        self.started.get_or_insert(now);
        match event {
            Event::Vertex(vertex) => {
                let at = self.step(vertex.digest);
                self.steps[at].name.clone_from(&vertex.name);
                self.steps[at].inputs.clone_from(&vertex.inputs);
                Some(at)
            }
            Event::Started { vertex, at: moment } => {
                let at = self.step(*vertex);
                let step = &mut self.steps[at];
                if step.started.is_none() {
                    self.begun.push(at);
                }
                (step.started, step.completed, step.outcome) = (Some(*moment), None, None);
                Some(at)
            }
            Event::Paused { vertex, .. } => {
                let at = self.step(*vertex);
                if self.steps[at].completed.is_none() {
                    self.steps[at].started = None;
                    self.begun.retain(|begun| *begun != at);
                }
                Some(at)
            }
            Event::Completed { vertex, at: moment, outcome } => {
                let at = self.step(*vertex);
                let step = &mut self.steps[at];
                if step.started.is_none() {
                    step.started = Some(*moment);
                    self.begun.push(at);
                }
                (step.completed, step.outcome) = (Some(*moment), Some(outcome.clone()));
                Some(at)
            }
            Event::Status(status) => {
                let at = self.step(status.vertex);
                self.steps[at].part(status, now);
                Some(at)
            }
            Event::Log { vertex, data, at: moment, .. } => {
                let at = self.step(*vertex);
                self.steps[at].tail.push(data, *moment);
                Some(at)
            }
            Event::Warning(warning) => {
                if self.warnings.len() < MOST_WARNINGS && !self.warnings.contains(warning) {
                    self.warnings.push(warning.clone());
                }
                None
            }
        }
    }

    /// Returns how many steps have ended, and how many there are.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.steps.iter().filter(|step| step.completed.is_some()).count(), self.steps.len())
    }

    /// Returns the first step that failed.
    pub(crate) fn failed(&self) -> Option<(&Step, &str)> {
        self.begun.iter().find_map(|at| match &self.steps[*at].outcome {
            Some(Outcome::Failed(message)) => Some((&self.steps[*at], message.as_str())),
            _ => None,
        })
    }

    fn step(&mut self, digest: Digest) -> usize {
        *self.by_digest.entry(digest).or_insert_with(|| {
            self.steps.push(Step {
                digest,
                name: digest.short(),
                inputs: Vec::new(),
                started: None,
                completed: None,
                outcome: None,
                parts: Vec::new(),
                tail: Tail::default(),
            });
            self.steps.len() - 1
        })
    }
}

impl Step {
    pub(crate) fn is_running(&self) -> bool {
        self.started.is_some() && self.completed.is_none()
    }

    /// Returns how long it runs or ran.
    pub(crate) fn elapsed(&self, now: SystemTime) -> Duration {
        self.started.map_or(Duration::ZERO, |started| between(started, self.completed.unwrap_or(now)))
    }

    fn part(&mut self, status: &Status, now: SystemTime) {
        match self.parts.iter_mut().find(|part| part.status.id == status.id) {
            Some(part) => {
                if between(part.marks[1].0, now) >= WINDOW {
                    part.marks = [part.marks[1], (now, status.current)];
                }
                part.status = status.clone();
            }
            None => {
                let mark = (status.started, 0);
                self.parts.push(Part { status: status.clone(), marks: [mark, mark] });
            }
        }
    }
}

impl Part {
    /// Returns units a second, lately.
    pub(crate) fn rate(&self, now: SystemTime) -> u64 {
        let (since, before) = self.marks[0];
        let seconds = between(since, now).as_secs_f64();
        if seconds < 0.1 {
            return 0;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            reason = "a rate"
        )]
        let rate = (self.status.current.saturating_sub(before) as f64 / seconds) as u64;
        rate
    }

    /// Whether this is a transfer of so many bytes, rather than a note.
    pub(crate) fn is_transfer(&self) -> bool {
        self.status.total > 0
    }
}
