//! Why a build failed, in the words and with the place that a person needs.

use std::sync::Arc;

use rbuild_dockerfile::{Diagnostic, Lines, render};
use rbuild_events::Source;
use rbuild_graph::Graph;
use rbuild_oci::Digest;
use rbuild_solver::SolveError;

/// Why a build failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile has errors: the text shows each with its place.
    #[error("failed to solve: {first}")]
    Dockerfile {
        /// The first error in one line.
        first: String,
        /// All errors, rendered with source lines, carets and hints.
        rendered: String,
    },
    /// A step failed.
    #[error("failed to solve: {message}")]
    Solve {
        /// What failed, in one line.
        message: String,
        /// The lines of the Dockerfile that asked for it.
        source_lines: Option<Source>,
    },
    /// The request, the context or a destination cannot be used.
    #[error("{0}")]
    Input(String),
    /// The engine failed.
    #[error("{0}")]
    Engine(String),
    /// A signal ended the build; the exit code tells which.
    #[error("canceled")]
    Interrupted(u8),
}

/// The most errors of a Dockerfile that are shown: each is looked up in all of the text.
const MAX_SHOWN: usize = 50;

impl BuildError {
    /// Returns an error of the person's input.
    pub(crate) fn input(error: impl std::fmt::Display) -> Self {
        Self::Input(error.to_string())
    }

    /// Returns an error with its causes in one line.
    pub(crate) fn chain(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        text
    }

    /// Returns a failure of the engine with its causes.
    pub(crate) fn engine(error: impl std::error::Error) -> Self {
        Self::Engine(Self::chain(&error))
    }

    /// Renders the diagnostics of a Dockerfile, of very many errors the first.
    pub(crate) fn dockerfile(diagnostics: &[Diagnostic], filename: &str, text: &str, color: bool) -> Self {
        let color = if color { render::Color::Always } else { render::Color::Never };
        let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
        let shown = errors.clone().take(MAX_SHOWN).map(|error| render::render(error, filename, text, color));
        let mut rendered: Vec<_> = shown.collect();
        match errors.clone().skip(MAX_SHOWN).count() {
            0 => {}
            more => rendered.push(format!("{more} more errors are not shown\n")),
        }
        let first = errors.map(|error| error.to_string()).next().unwrap_or_default();
        Self::Dockerfile { first, rendered: rendered.join("\n") }
    }

    /// Names the place in the Dockerfile of the vertex that failed.
    pub(crate) fn solve(error: &SolveError, graph: &Graph, filename: &str, text: &Arc<str>) -> Self {
        let message = match error {
            SolveError::Operation { source, .. } => Self::chain(&**source),
            other => other.chain(),
        };
        let lines = error.vertex().and_then(|vertex| lines_of(graph, vertex));
        let source = |lines: (usize, usize)| Source { filename: filename.to_owned(), text: text.clone(), lines };
        Self::Solve { message, source_lines: lines.map(source) }
    }
}

/// Returns the first and last line of a vertex in its source file.
pub(crate) fn lines_of(graph: &Graph, vertex: Digest) -> Option<(usize, usize)> {
    let location = graph.vertex(&vertex)?.locations.first()?;
    let line =
        |position: &Option<rbuild_graph::pb::Position>| position.as_ref().and_then(|at| usize::try_from(at.line).ok());
    let first = location.ranges.iter().filter_map(|range| line(&range.start)).min()?;
    let last = location.ranges.iter().filter_map(|range| line(&range.end)).max()?;
    Some((first, last))
}

/// Returns lines counted from 1 as first and last.
pub(crate) fn line_pair(lines: Lines) -> (usize, usize) {
    (lines.start as usize, lines.end as usize)
}
