//! Lines onto a terminal, in place of the lines drawn before.
//!
//! A frame is one write: up to the first line, each line followed by "clear the rest", then "clear
//! all below". Nothing is ever blank in between, so nothing flickers.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::draw::{Line, Paint};
use crate::text::width;

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
const CLEAR_REST: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// A terminal on which lines are drawn again and again; gives the cursor back when dropped.
pub struct Screen<W: Write> {
    writer: W,
    color: bool,
    /// The widths of the lines drawn last.
    drawn: Vec<usize>,
    hidden: bool,
}

impl<W: Write> std::fmt::Debug for Screen<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("color", &self.color).field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

impl<W: Write> Screen<W> {
    /// Uses a terminal from where its cursor is.
    pub fn new(writer: W, color: bool) -> Self {
        Self { writer, color, drawn: Vec::new(), hidden: false }
    }

    /// Draws lines over those drawn before, on a terminal that is now `columns` wide.
    pub fn draw(&mut self, lines: &[Line], columns: usize) -> io::Result<()> {
        let mut frame = String::new();
        if !self.hidden {
            frame.push_str(HIDE_CURSOR);
            self.hidden = true;
        }
        // A terminal that became narrower has folded what we drew.
        let rows: usize = self.drawn.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
        if rows > 0 {
            write!(frame, "\r\u{1b}[{rows}A").expect("a String takes everything");
        }
        for line in lines {
            self.paint(&mut frame, line);
        }
        frame.push_str(CLEAR_BELOW);
        self.drawn = lines.iter().map(|line| width(&line.text)).collect();
        self.send(&frame)
    }

    /// Leaves what was drawn and writes on below it.
    pub fn append(&mut self, text: &[u8]) -> io::Result<()> {
        self.release()?;
        self.drawn.clear();
        self.writer.write_all(text)?;
        self.writer.flush()
    }

    /// Gives the cursor back.
    pub fn release(&mut self) -> io::Result<()> {
        if !self.hidden {
            return Ok(());
        }
        self.hidden = false;
        self.send(SHOW_CURSOR)
    }

    fn paint(&self, frame: &mut String, line: &Line) {
        let code = match line.paint {
            Paint::Plain => "",
            Paint::Heading => "1",
            Paint::Done => "34",
            Paint::Canceled => "33",
            Paint::Failed => "31",
            Paint::Faint => "2",
        };
        if code.is_empty() || !self.color {
            frame.push_str(&line.text);
        } else {
            write!(frame, "\u{1b}[{code}m{}\u{1b}[0m", line.text).expect("a String takes everything");
        }
        frame.push_str(CLEAR_REST);
        frame.push_str("\r\n");
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes())?;
        self.writer.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        // There is nobody left to tell.
        drop(self.release());
    }
}
