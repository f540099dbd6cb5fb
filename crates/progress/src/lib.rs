//! Events to a terminal: fold into a model, render as tty, plain or rawjson.
//!
//! A [`Display`] owns one thread that takes events from a channel, folds them into a model and draws.
//! It knows nothing of the environment: the writer, the terminal's size and the choice of mode are
//! handed in by the command line.

use std::io::Write;
use std::sync::Arc;

use rbuild_events::{Event, Reporter, Source};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Live lines that are redrawn in place.
    Tty,
    /// One line after the other, as BuildKit's plain progress.
    Plain,
    /// One JSON object a line, as BuildKit's `--progress=rawjson`.
    RawJson,
    /// Nothing, apart from the error at the end.
    Quiet,
}

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// What is known of the terminal that is written to.
#[derive(Clone)]
pub struct Terminal {
    /// Asked for the present size before each frame.
    pub size: Arc<dyn Fn() -> Size + Send + Sync>,
    /// Whether colours may be used.
    pub color: bool,
    /// Log lines shown below each running step.
    pub log_lines: usize,
}

/// What a finished build has to say at the end if it failed.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// The error, without the prefix `ERROR: `.
    pub message: String,
    /// The place in the source that failed.
    pub source: Option<Source>,
}

/// Shows progress until it is finished.
#[derive(Debug)]
pub struct Display {}

impl Display {
    /// Starts to show progress on `writer`; events go to the returned reporter, from any thread.
    pub fn spawn(mode: Mode, writer: Box<dyn Write + Send>, terminal: Terminal) -> (Arc<dyn Reporter>, Self) {
        let _ = (mode, writer, terminal);
        struct Nothing;
        impl Reporter for Nothing {
            fn report(&self, _: Event) {}
        }
        (Arc::new(Nothing), Self {})
    }

    /// Draws the last frame, and what failed; returns when all is written.
    pub fn finish(self, failure: Option<Failure>) -> std::io::Result<()> {
        let _ = failure;
        Ok(())
    }
}
