//! The terminal: data to standard output, talk to standard error, and how the program ends.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// How a command ended, other than well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The person's input or world is at fault: exit code 1.
    User(String),
    /// The command line is at fault: exit code 2.
    Usage(String),
    /// We are at fault, or the engine could not do its work: exit code 125 for `run`.
    Engine(String),
    /// Already said; only the exit code is left.
    Code(u8),
    /// Whoever read our output went away.
    BrokenPipe,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::User(format!("writing output: {error}")),
        }
    }
}

impl Failure {
    /// A failure of the person's input or world.
    pub(crate) fn user(error: impl std::fmt::Display) -> Self {
        Self::User(error.to_string())
    }

    /// Says what is left to say and returns the exit code.
    pub(crate) fn exit(self) -> ExitCode {
        match self {
            Self::User(message) => {
                say_error(&message);
                ExitCode::from(1)
            }
            Self::Usage(message) => {
                say_error(&message);
                ExitCode::from(2)
            }
            Self::Engine(message) => {
                say_error(&message);
                ExitCode::from(125)
            }
            Self::Code(code) => ExitCode::from(code),
            Self::BrokenPipe => ExitCode::from(141),
        }
    }
}

/// Writes one message to standard error; control bytes cannot reach the terminal.
pub(crate) fn say_error(message: &str) {
    let colors = crate::exchange::colors(stderr_is_terminal());
    let label = if colors { "\u{1b}[1;31mERROR:\u{1b}[0m" } else { "ERROR:" };
    let _ = writeln!(io::stderr().lock(), "{label} {}", escaped(message));
}

/// Writes one line to standard error.
pub(crate) fn say(message: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", escaped(message));
}

/// Writes text to standard error that was made safe already and may hold colours of ours.
pub(crate) fn print_rendered(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
}

/// Returns `text` with control bytes other than line feeds and tabs made visible.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => safe.push(c),
            c if c.is_control() => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

/// Writes data to standard output.
pub(crate) fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes a table to standard output: columns as wide as their widest cell, three blanks between.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let header = header.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let padding = (width + 3).saturating_sub(cell.chars().count());
            line.push_str(&escaped(cell));
            line.extend(std::iter::repeat_n(' ', padding));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    out(&text)
}

/// Whether standard error is a terminal that a person looks at.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Returns a size as docker shows it, such as `12.3MB`; units are powers of 1000.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match value {
        _ if unit == 0 => format!("{bytes}B"),
        value if value < 9.995 => format!("{value:.2}{}", UNITS[unit]),
        value if value < 99.95 => format!("{value:.1}{}", UNITS[unit]),
        value => format!("{value:.0}{}", UNITS[unit]),
    }
}

/// Returns how long ago something was, as docker says it, such as `3 hours ago`.
pub(crate) fn human_ago(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0 => return "Less than a second ago".to_owned(),
        1 => return "1 second ago".to_owned(),
        s if s < 60 => (s, "second"),
        s if s < 2 * 60 => return "About a minute ago".to_owned(),
        s if s < 60 * 60 => (s / 60, "minute"),
        s if s < 2 * 3600 => return "About an hour ago".to_owned(),
        s if s < 48 * 3600 => (s / 3600, "hour"),
        s if s < 14 * 86400 => (s / 86400, "day"),
        s if s < 60 * 86400 => (s / (7 * 86400), "week"),
        s if s < 2 * 365 * 86400 => (s / (30 * 86400), "month"),
        s => (s / (365 * 86400), "year"),
    };
    format!("{count} {unit}s ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_docker_shows_them() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (4_260_000, "4.26MB"),
            (77_800_000, "77.8MB"),
            (1_100_000_000, "1.10GB"),
            (999_999, "1.00MB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(escaped("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\n");
        assert_eq!(escaped("ä\u{9b}"), "ä\\u{9b}");
    }
}
