//! Places in a Dockerfile: byte spans, line ranges, and the index between them.
//!
//! Everything the parser makes carries a [`Span`]; whoever has to speak in lines (messages, the source map of
//! a build graph) asks a [`LineIndex`], or reads the [`Lines`] kept next to each statement.

use std::fmt;

/// A half-open range of bytes in the source text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

impl Span {
    /// Returns the span from `start` up to `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Returns the number of bytes.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Tells whether no byte is covered.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Returns the bytes of `source` under this span; empty if it does not lie in `source`.
    pub fn slice(self, source: &str) -> &str {
        source.get(self.start..self.end).unwrap_or("")
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A range of lines, both ends included, counted from one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lines {
    /// The first line.
    pub start: u32,
    /// The last line.
    pub end: u32,
}

impl Lines {
    /// Returns the range of one line.
    pub fn single(line: u32) -> Self {
        Self { start: line, end: line }
    }

    /// Tells whether `line` lies in the range.
    pub fn contains(self, line: u32) -> bool {
        self.start <= line && line <= self.end
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.start == self.end { write!(f, "{}", self.start) } else { write!(f, "{}-{}", self.start, self.end) }
    }
}

/// Where something stands: bytes and lines together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The bytes.
    pub span: Span,
    /// The lines those bytes lie on.
    pub lines: Lines,
}

/// A word of an instruction as it was written, variables not yet expanded.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Template {
    /// The text, with quotes and escapes still in it and line continuations taken out.
    pub text: String,
    /// The bytes it was read from; they may include continuation lines.
    pub span: Span,
}

impl Template {
    /// Returns a template of `text` at `span`.
    pub fn new(text: impl Into<String>, span: Span) -> Self {
        Self { text: text.into(), span }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.text, self.span)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The offsets at which lines begin, for turning bytes into lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineIndex {
    starts: Vec<usize>,
}

impl LineIndex {
    /// Indexes the lines of `source`.
    pub fn new(source: &str) -> Self {
        let mut starts = vec![0];
        starts.extend(source.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1));
        Self { starts }
    }

    /// Returns the line (from one) that holds the byte at `offset`.
    pub fn line(&self, offset: usize) -> u32 {
        u32::try_from(self.starts.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }

    /// Returns the lines that `span` touches.
    pub fn lines(&self, span: Span) -> Lines {
        Lines { start: self.line(span.start), end: self.line(span.end.saturating_sub(1).max(span.start)) }
    }

    /// Returns the bytes of `line` (from one) with its line ending; `None` past the last line.
    pub fn span(&self, line: u32, source: &str) -> Option<Span> {
        let at = usize::try_from(line).ok()?.checked_sub(1)?;
        let start = *self.starts.get(at)?;
        Some(Span::new(start, self.starts.get(at + 1).copied().unwrap_or(source.len())))
    }

    /// Returns the number of lines; a trailing line break opens one more, empty line.
    pub fn count(&self) -> u32 {
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }
}
