//! Why a request fails, with what a client needs to show it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_dockerfile::{Diagnostic, Lines};
use rbuild_graph::pb;

use crate::host::HostError;

/// Why a request fails.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BuiltinError {
    /// An attribute or input cannot be used.
    #[error("{0}")]
    Request(String),
    /// The client insists on something the frontend does not know (`errdefs.FrontendCap`, unimplemented).
    #[error("unsupported frontend capability {0}")]
    Capability(String),
    /// The question is not known (`errdefs.Subrequest`).
    #[error("unsupported request {0}")]
    Subrequest(String),
    /// The host could not do something.
    #[error("{attempt}")]
    Host {
        /// What was attempted.
        attempt: String,
        /// Why it failed.
        #[source]
        source: HostError,
    },
    /// The Dockerfile cannot be built.
    #[error("{message}")]
    Dockerfile {
        /// The first error in one line.
        message: String,
        /// Where it is.
        place: Box<SourcePlace>,
        /// All that was found, warnings among it.
        diagnostics: Vec<Diagnostic>,
    },
    /// The Dockerfile is in a language that an image speaks.
    #[error("frontend {} is not the built-in one", .0.source)]
    NeedsGateway(Box<Forward>),
}

/// A request for the gateway (`gateway.v0`), to be made with the inputs of the original one.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// The image of the frontend.
    pub source: String,
    /// The attributes, `source` and `cmdline` among them.
    pub attributes: BTreeMap<String, String>,
    /// Who asked for it: what is said of a failure that tells no place of its own.
    pub asker: Asker,
}

/// Who asked for a frontend.
#[derive(Debug, Clone, PartialEq)]
pub enum Asker {
    /// An attribute: failures begin with this text.
    Attribute(String),
    /// A directive of the Dockerfile.
    Directive(Box<SourcePlace>),
}

/// Areas in the Dockerfile (`errdefs.Source`).
#[derive(Debug, Clone, PartialEq)]
pub struct SourcePlace {
    /// The file.
    pub info: Arc<pb::SourceInfo>,
    /// For each place that the error speaks of its areas.
    pub ranges: Vec<Vec<pb::Range>>,
}

impl BuiltinError {
    /// Returns the error of something that was asked of the host.
    pub(crate) fn host(attempt: impl Into<String>) -> impl FnOnce(HostError) -> Self {
        let attempt = attempt.into();
        move |source| Self::Host { attempt, source }
    }

    /// Returns the error and its causes in one line, the most general first.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// Returns an error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = if text.is_empty() { cause_text } else { format!("{text}: {cause_text}") };
        }
        source = cause.source();
    }
    text
}

/// Instructions of more lines are one area: each of many warnings may be about all of them.
const MAX_LINES: u32 = 1000;

/// Returns lines as areas: one for each, without columns.
pub(crate) fn ranges(lines: Lines) -> Vec<pb::Range> {
    let position = |line: u32| Some(pb::Position { line: i32::try_from(line).unwrap_or(i32::MAX), character: 0 });
    let range = |start, end| pb::Range { start: position(start), end: position(end) };
    let last = lines.end.max(lines.start);
    match last - lines.start {
        0..MAX_LINES => (lines.start..=last).map(|line| range(line, line)).collect(),
        _ => vec![range(lines.start, last)],
    }
}
