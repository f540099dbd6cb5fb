//! Diagnostics to text: where, what, the lines meant, what to do about it.
//!
//! Text from the Dockerfile is shown with everything escaped that could change a terminal or mislead a reader.
//! Whether there is colour is the caller's to say; it adds nothing to the meaning.

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::{LineIndex, Lines, Span};
use std::fmt::Write as _;

/// The most lines of a diagnostic that are shown.
const SHOWN_LINES: u32 = 8;

/// The most columns of a line that are shown.
const SHOWN_COLUMNS: usize = 200;

/// Whether text comes with colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// Plain text.
    #[default]
    Never,
    /// With the escape sequences of a terminal.
    Always,
}

/// Tells whether `c` could change a terminal or mislead a reader if printed as it is.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns `text` with everything unsafe escaped; tabs become spaces.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_escaped(&mut out, c);
    }
    out
}

fn push_escaped(out: &mut String, c: char) {
    if c == '\t' {
        out.push_str("    ");
    } else if !is_unsafe(c) {
        out.push(c);
    } else if (c as u32) < 0x100 {
        // Writing to a string cannot fail.
        let _ = write!(out, "\\x{:02x}", c as u32);
    } else {
        let _ = write!(out, "\\u{{{:x}}}", c as u32);
    }
}

/// Writes `diagnostic` with the lines of `source` it speaks of; `file` is what the source is called.
///
/// ```text
/// error: unknown instruction: FRMO (did you mean FROM?)
///  --> Dockerfile:1:1
///   |
/// 1 | FRMO alpine
///   | ^^^^
/// ```
pub fn render(diagnostic: &Diagnostic, file: &str, source: &str, color: Color) -> String {
    let paint = Paint(color);
    let index = LineIndex::new(source);
    let style = style(diagnostic.severity);
    let label = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let name = diagnostic.rule.map(|rule| format!("[{}]", rule.name)).unwrap_or_default();
    let mut out =
        format!("{}: {}\n", paint.on(style, &format!("{label}{name}")), paint.on("1", &escaped(&diagnostic.text())));
    let line = index.line(diagnostic.span.start).clamp(diagnostic.lines.start, diagnostic.lines.end);
    let column = column(&index, source, line, diagnostic.span);
    let width = diagnostic.lines.end.to_string().len();
    let place = format!("{}:{line}:{column}", escaped(file));
    let _ = writeln!(out, "{:width$}{} {place}", "", paint.on("1;34", "-->"));
    source_lines(&mut out, diagnostic, source, &index, width, paint);
    for lines in &diagnostic.related {
        note(&mut out, width, paint, &format!("see also: {}:{lines}", escaped(file)));
    }
    if let Some(hint) = &diagnostic.hint {
        note(&mut out, width, paint, &format!("hint: {}", escaped(hint)));
    }
    if let Some(url) = diagnostic.url() {
        note(&mut out, width, paint, &format!("help: {url}"));
    }
    out
}

fn note(out: &mut String, width: usize, paint: Paint, text: &str) {
    let _ = writeln!(out, "{:width$} {} {text}", "", paint.on("1;34", "="));
}

/// Returns the column (from one, in characters) of `line` at which `span` begins.
fn column(index: &LineIndex, source: &str, line: u32, span: Span) -> usize {
    let line = index.span(line, source).unwrap_or_default();
    let before = Span::new(line.start, span.start.clamp(line.start, line.end));
    before.slice(source).chars().count() + 1
}

fn source_lines(
    out: &mut String,
    diagnostic: &Diagnostic,
    source: &str,
    index: &LineIndex,
    width: usize,
    paint: Paint,
) {
    let bar = paint.on("1;34", "|");
    let meant = index.lines(diagnostic.span);
    let lines = Lines { start: meant.start.max(diagnostic.lines.start), end: meant.end.min(diagnostic.lines.end) };
    if lines.start > lines.end || index.span(lines.start, source).is_none() {
        return;
    }
    let _ = writeln!(out, "{:width$} {bar}", "");
    for number in lines.start..=lines.end {
        if number - lines.start == SHOWN_LINES {
            let _ = writeln!(out, "{:width$} {bar} …", "");
            break;
        }
        let Some(span) = index.span(number, source) else { break };
        let text = span.slice(source).trim_end_matches(['\r', '\n']);
        let (shown, cut) = shorten(text);
        let number = paint.on("1;34", &format!("{number:width$}"));
        let shown_text = format!("{number} {bar} {}{}", escaped(shown), if cut { "…" } else { "" });
        let _ = writeln!(out, "{}", shown_text.trim_end());
        if lines.start == lines.end {
            let carets = carets(shown, span.start, diagnostic.span);
            let _ = writeln!(out, "{:width$} {bar} {}", "", paint.on("1;31", &carets));
        }
    }
}

fn shorten(text: &str) -> (&str, bool) {
    match text.char_indices().nth(SHOWN_COLUMNS) {
        Some((end, _)) => (&text[..end], true),
        None => (text, false),
    }
}

/// Returns blanks and carets so that the carets stand under `span`; `start` is where `line` begins.
fn carets(line: &str, start: usize, span: Span) -> String {
    let mut out = String::new();
    let mut marked = false;
    for (at, c) in line.char_indices() {
        let inside = (span.start..span.end).contains(&(start + at)) || (span.is_empty() && span.start == start + at);
        if !inside && marked {
            break;
        }
        marked |= inside;
        let mut shown = String::new();
        push_escaped(&mut shown, c);
        let columns: usize = shown.chars().map(columns).sum();
        out.extend(std::iter::repeat_n(if inside { '^' } else { ' ' }, columns));
    }
    if !marked {
        out.push('^');
    }
    out
}

/// Returns how many columns a terminal gives to `c`: two for East Asian scripts and pictures, none for marks.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Returns the excerpt that BuildKit's clients print under an error: the file and first line, then the lines around
/// with `>>>` before those of `meant`, in the colour of `severity` if there are colours. Empty if `meant` lies outside
/// the source.
pub fn excerpt(file: &str, source: &str, meant: &[Lines], severity: Severity, color: Color) -> String {
    let lines: Vec<&str> = source.split('\n').collect();
    let count = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    let (Some(first), Some(last)) =
        (meant.iter().map(|lines| lines.start).min(), meant.iter().map(|lines| lines.end.max(lines.start)).max())
    else {
        return String::new();
    };
    if first < 1 || first > count {
        return String::new();
    }
    let (mut start, mut end) = (first, last.min(count));
    let padding = if start == end { 4 } else { 2 };
    let mut added = 0;
    while added < padding {
        if start > 1 {
            start -= 1;
            added += 1;
        }
        if end != count {
            end += 1;
            added += 1;
        }
        added += 1;
    }
    let mut out = format!("{}:{first}\n--------------------\n", escaped(file));
    let marked = Paint(color).on(style(severity), ">>>");
    for (number, line) in (start..=end).zip(lines.iter().skip(start as usize - 1)) {
        let mark = if meant.iter().any(|lines| lines.contains(number)) { &marked } else { "   " };
        let _ = writeln!(out, " {number:3} | {mark} {}", escaped(line.trim_end_matches('\r')));
    }
    out.push_str("--------------------\n");
    out
}

/// Returns the numbers of a terminal's bold red or yellow.
fn style(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "1;31",
        Severity::Warning => "1;33",
    }
}

/// Returns `text` as it stands before an error or warning: bold, in the colour of `severity`.
pub fn label(text: &str, severity: Severity, color: Color) -> String {
    Paint(color).on(style(severity), text)
}

#[derive(Clone, Copy)]
struct Paint(Color);

impl Paint {
    fn on(self, style: &str, text: &str) -> String {
        match self.0 {
            Color::Never => text.to_owned(),
            Color::Always => format!("\x1b[{style}m{text}\x1b[0m"),
        }
    }
}
