//! Text to tree: lines, comments, directives, continuations, heredocs.
//!
//! One pass, each line looked at once; what is wrong becomes a diagnostic and reading goes on.

use crate::ast::{Ast, Heredoc, Item, Node, Part, PartKind};
use crate::diagnostic::{Diagnostic, Phase};
use crate::directive::{Directive, DirectiveName, Scanned, Scanner};
use crate::heredoc;
use crate::json;
use crate::keyword::Keyword;
use crate::source::{Lines, Place, Span};
use crate::words::{Command, split_command};
use std::borrow::Cow;

/// The longest line in bytes, line ending not counted.
pub const MAX_LINE: usize = 65_535;

/// The largest Dockerfile: 16 MiB.
pub const MAX_FILE: usize = 16 << 20;

/// The most instructions in a Dockerfile: each takes kilobytes on its way to an image.
pub const MAX_INSTRUCTIONS: usize = 50_000;

/// Cuts `source` into instructions. Never fails: what is wrong is told in the diagnostics.
pub fn parse(source: &str) -> (Ast<'_>, Vec<Diagnostic>) {
    let mut parser = Parser::new(source);
    if let Some(message) = refusal(source) {
        parser.refuse(message);
    } else {
        parser.file();
    }
    (Ast { source, escape: parser.escape, items: parser.items }, parser.diagnostics)
}

/// Returns why the file is not even looked at, and the byte to blame.
fn refusal(source: &str) -> Option<(String, usize)> {
    if source.is_empty() {
        return Some(("the Dockerfile cannot be empty".to_owned(), 0));
    }
    if source.len() > MAX_FILE {
        return Some((
            format!("dockerfile of {} bytes is greater than max allowed size of {MAX_FILE}", source.len()),
            0,
        ));
    }
    let at = source.find('\0')?;
    Some(("dockerfile contains a NUL byte; it must be UTF-8 text".to_owned(), at))
}

/// A physical line.
#[derive(Clone, Copy)]
struct Line<'a> {
    /// Its text without line ending.
    text: &'a str,
    /// Its bytes with line ending.
    span: Span,
    number: u32,
}

impl Line<'_> {
    fn place(&self) -> Place {
        Place { span: Span::new(self.span.start, self.span.start + self.text.len()), lines: Lines::single(self.number) }
    }
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    /// The number of the line read last.
    line: u32,
    escape: char,
    directives: Scanner,
    /// The comments since the last instruction.
    comments: Vec<String>,
    items: Vec<Item<'a>>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Parser<'a> {
    fn new(source: &'a str) -> Self {
        Self {
            source,
            at: 0,
            line: 0,
            escape: '\\',
            directives: Scanner::default(),
            comments: Vec::new(),
            items: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    fn error(&mut self, place: Place, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(Phase::Parse, place, message));
    }

    fn refuse(&mut self, (message, at): (String, usize)) {
        let line = self.source[..at].matches('\n').count() + 1;
        let lines = Lines::single(u32::try_from(line).unwrap_or(u32::MAX));
        self.error(Place { span: Span::new(at, at), lines }, message);
        if !self.source.is_empty() {
            self.items.push(Item::Refused(Span::new(0, self.source.len())));
        }
    }

    fn file(&mut self) {
        if self.source.starts_with('\u{feff}') {
            self.at = '\u{feff}'.len_utf8();
            self.items.push(Item::ByteOrderMark(Span::new(0, self.at)));
        }
        let mut instructions = 0_usize;
        while let Some(line) = self.next_line() {
            let content = line.text.trim_start();
            if content.starts_with('#') {
                self.comment(line, content);
            } else if content.is_empty() {
                self.directives.end();
                self.items.push(Item::Blank(line.span));
            } else {
                self.directives.end();
                instructions += 1;
                if instructions > MAX_INSTRUCTIONS {
                    let message = format!("dockerfile has more than the limit of {MAX_INSTRUCTIONS} instructions");
                    self.error(line.place(), message);
                    self.items.push(Item::Refused(Span::new(line.span.start, self.source.len())));
                    break;
                }
                let node = self.instruction(line, content);
                self.items.push(Item::Instruction(Box::new(node)));
            }
        }
        if instructions == 0 {
            let lines = Lines::single(self.line.max(1));
            self.error(
                Place { span: Span::new(self.source.len(), self.source.len()), lines },
                "file with no instructions",
            );
        }
    }

    /// Reads the next physical line.
    fn next_line(&mut self) -> Option<Line<'a>> {
        let rest = &self.source[self.at..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let span = Span::new(self.at, self.at + length);
        self.at = span.end;
        self.line += 1;
        let full = &rest[..length];
        let line = Line { text: full.trim_end_matches(['\r', '\n']), span, number: self.line };
        if full.trim_end_matches('\n').len() > MAX_LINE {
            let place = Place { span: Span::new(span.start, span.start), lines: Lines::single(self.line) };
            self.error(place, format!("dockerfile line greater than max allowed size of {MAX_LINE}"));
        }
        Some(line)
    }

    /// Takes a comment line outside an instruction, which may be a directive.
    fn comment(&mut self, line: Line<'a>, content: &str) {
        match self.directives.line(content, "#") {
            Scanned::Found(name, value) => return self.directive(line, name, value),
            Scanned::Repeated(name) => {
                self.error(line.place(), format!("only one {} parser directive can be used", name.as_str()));
            }
            Scanned::Nothing => {}
        }
        // BuildKit takes one byte off the line, not off its indented text, so that an indented comment keeps its `#`.
        let text = line.text.get(1..).unwrap_or(content).trim();
        if text.is_empty() {
            self.comments.clear();
        } else {
            self.comments.push(text.to_owned());
        }
        self.items.push(Item::Comment(line.span));
    }

    fn directive(&mut self, line: Line<'a>, name: DirectiveName, value: String) {
        if name == DirectiveName::Escape {
            match value.as_str() {
                "\\" | "`" => self.escape = if value == "`" { '`' } else { '\\' },
                _ => self.error(line.place(), format!("invalid escape token '{value}' does not match ` or \\")),
            }
        }
        self.items.push(Item::Directive(Directive { name, value, span: line.span, lines: Lines::single(line.number) }));
    }

    /// Reads the instruction that begins with `content` on `line`.
    fn instruction(&mut self, line: Line<'a>, content: &'a str) -> Node<'a> {
        let (text, mut parts) = self.join(line, content);
        let Command { keyword, flags, arguments } = split_command(&text, Span::new(0, text.len()), self.escape);
        let joined_lines = Lines { start: line.number, end: self.line };
        let place = Place { span: line.place().span, lines: joined_lines };
        let heredocs = self.heredocs(&text, keyword, arguments, place, &mut parts);
        Node {
            span: Span::new(line.span.start, self.at),
            lines: Lines { start: line.number, end: self.line },
            parts,
            text,
            keyword,
            flags,
            arguments,
            heredocs,
            comments: std::mem::take(&mut self.comments),
        }
    }

    /// Joins the continuation lines of an instruction: the escape token goes, nothing comes in its place.
    fn join(&mut self, line: Line<'a>, content: &'a str) -> (Cow<'a, str>, Vec<Part>) {
        let start = line.span.start + (line.text.len() - content.len());
        let (first, mut continued) = strip_continuation(content, self.escape);
        let mut parts = vec![Part { kind: PartKind::Text { content: start }, span: line.span, joined: 0 }];
        let mut text = Cow::Borrowed(first);
        while continued {
            let Some(line) = self.next_line() else { break };
            let joined = text.len();
            let kind = match line.text.trim_start() {
                "" => PartKind::Blank,
                content if content.starts_with('#') => PartKind::Comment,
                _ => {
                    let content;
                    (content, continued) = strip_continuation(line.text, self.escape);
                    text.to_mut().push_str(content);
                    PartKind::Text { content: line.span.start }
                }
            };
            parts.push(Part { kind, span: line.span, joined });
        }
        (text, parts)
    }

    /// Reads the bodies of the heredocs that the instruction opens.
    fn heredocs(
        &mut self,
        text: &str,
        keyword: Span,
        arguments: Span,
        place: Place,
        parts: &mut Vec<Part>,
    ) -> Vec<Heredoc> {
        if !text.contains("<<") || !takes_heredocs(text, keyword, arguments, self.escape) {
            return Vec::new();
        }
        let words = match heredoc::words(text) {
            Ok(words) => words,
            Err(error) => {
                self.error(place, error.to_string());
                return Vec::new();
            }
        };
        let mut heredocs = Vec::with_capacity(words.len());
        for word in words {
            let body = Span::new(self.at, self.at);
            let (body, end) = self.body(&word, body);
            let joined = text.len();
            parts.push(Part { kind: PartKind::HeredocBody, span: body, joined });
            parts.extend(end.map(|span| Part { kind: PartKind::HeredocEnd, span, joined }));
            let heredoc::HeredocWord { descriptor, chomp, expand, name } = word;
            let hint = format!("heredoc opened here needs a line that holds only `{name}`");
            heredocs.push(Heredoc { name, descriptor, expand, chomp, body });
            if end.is_none() {
                self.diagnostics.push(Diagnostic::error(Phase::Parse, place, "unterminated heredoc").with_hint(hint));
                break;
            }
        }
        heredocs
    }

    /// Reads lines up to the one that is the heredoc's word; gives the body and that line.
    fn body(&mut self, word: &heredoc::HeredocWord, mut body: Span) -> (Span, Option<Span>) {
        while let Some(line) = self.next_line() {
            let text = if word.chomp { line.text.trim_start_matches('\t') } else { line.text };
            if text == word.name {
                return (body, Some(line.span));
            }
            body.end = line.span.end;
        }
        (body, None)
    }
}

/// Tells whether an instruction may open heredocs: `ADD`, `COPY`, `RUN` in their plain form, or `ONBUILD` of those.
fn takes_heredocs(text: &str, keyword: Span, arguments: Span, escape: char) -> bool {
    let mut word = Keyword::parse(keyword.slice(text));
    let mut arguments = arguments;
    if word == Some(Keyword::Onbuild) && !arguments.is_empty() {
        let trigger = split_command(text, arguments, escape);
        word = Keyword::parse(trigger.keyword.slice(text));
        arguments = trigger.arguments;
    }
    matches!(word, Some(Keyword::Add | Keyword::Copy | Keyword::Run))
        && !matches!(json::array(arguments.slice(text)), json::Array::Strings(_))
}

/// Takes the escape token that continues a line off it. Blanks may follow the token; a doubled one is none.
fn strip_continuation(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(content) if !content.ends_with(escape) => (content, true),
        _ => (line, false),
    }
}
