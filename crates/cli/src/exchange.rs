//! Progress of work with registries and builds, shown on standard error.

use std::sync::Arc;

use rbuild_events::Reporter;
use rbuild_progress::{Display, Failure, Mode, Size, Terminal, Warnings};

use crate::ui;
use crate::world::variable;

/// Returns the way progress is shown: what the person asked for, or what suits standard error.
pub(crate) fn mode(asked: &str) -> Mode {
    match asked {
        "tty" => Mode::Tty,
        "plain" => Mode::Plain,
        "rawjson" => Mode::RawJson,
        "quiet" => Mode::Quiet,
        _ => Mode::auto(ui::stderr_is_terminal(), variable("TERM").as_deref()),
    }
}

/// Returns whether colours suit an output that is, or is not, a terminal.
pub(crate) fn colors(is_terminal: bool) -> bool {
    is_terminal && variable("NO_COLOR").is_none() && variable("TERM").is_none_or(|term| term != "dumb")
}

/// Starts to show progress.
pub(crate) fn show(mode: Mode, phase: &'static str) -> (Arc<dyn Reporter>, Display) {
    show_with(mode, phase, Warnings::Listed)
}

/// Starts to show progress of what may warn.
pub(crate) fn show_with(mode: Mode, phase: &'static str, warnings: Warnings) -> (Arc<dyn Reporter>, Display) {
    let number = |name: &str| variable(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let size = move || match rbuild_sys::tty::size(std::io::stderr()) {
        Ok((rows, columns)) => Size { width: columns.into(), height: rows.into() },
        Err(_) => Size { width: number("COLUMNS"), height: number("LINES") },
    };
    let mut terminal = Terminal::new(size);
    terminal.is_terminal = ui::stderr_is_terminal();
    terminal.color = colors(terminal.is_terminal);
    terminal.phase = phase;
    terminal.warnings = warnings;
    if let Some(lines) = variable("BUILDKIT_TTY_LOG_LINES").and_then(|text| text.parse().ok()) {
        terminal.log_lines = lines;
    }
    Display::spawn(mode, Box::new(std::io::stderr()), terminal)
}

/// Shows the last of it; the message itself is for whoever ends the program.
pub(crate) fn finish(display: Display, failure: Option<Failure>) {
    let _ = display.finish(failure);
}
