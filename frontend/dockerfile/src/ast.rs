//! The lossless tree: every line of the source belongs to one item, every item knows its bytes.

use crate::directive::Directive;
use crate::source::{Lines, Place, Span};
use std::borrow::Cow;

/// A Dockerfile cut into lines that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ast<'a> {
    /// The text.
    pub source: &'a str,
    /// The escape token: `\` or `` ` ``.
    pub escape: char,
    /// The items in order; their spans join up and cover all of `source`.
    pub items: Vec<Item<'a>>,
}

/// A piece of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// The byte order mark.
    ByteOrderMark(Span),
    /// A parser directive.
    Directive(Directive),
    /// A comment line outside an instruction.
    Comment(Span),
    /// An empty line outside an instruction.
    Blank(Span),
    /// Lines that were refused (too long); a diagnostic says why.
    Refused(Span),
    /// An instruction with its continuation lines and heredocs.
    Instruction(Box<Node<'a>>),
}

impl Item<'_> {
    /// Returns the bytes of the item, line endings included.
    pub fn span(&self) -> Span {
        match self {
            Self::ByteOrderMark(span) | Self::Comment(span) | Self::Blank(span) | Self::Refused(span) => *span,
            Self::Directive(directive) => directive.span,
            Self::Instruction(node) => node.span,
        }
    }
}

impl<'a> Ast<'a> {
    /// Returns the instructions in order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node<'a>> {
        self.items.iter().filter_map(|item| match item {
            Item::Instruction(node) => Some(&**node),
            _ => None,
        })
    }

    /// Returns the directives in order.
    pub fn directives(&self) -> impl Iterator<Item = &Directive> {
        self.items.iter().filter_map(|item| match item {
            Item::Directive(directive) => Some(directive),
            _ => None,
        })
    }
}

/// An instruction, cut into keyword, flags and arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<'a> {
    /// Its bytes, from the first line to the last, heredocs included.
    pub span: Span,
    /// Its lines.
    pub lines: Lines,
    /// Its physical lines, heredoc bodies as one part each; they join up and cover `span`.
    pub parts: Vec<Part>,
    /// The instruction as one line: continuations joined, comments and empty lines in it dropped.
    pub text: Cow<'a, str>,
    /// The instruction word: a range of `text`.
    pub keyword: Span,
    /// The flags, quotes taken off.
    pub flags: Vec<Flag>,
    /// The arguments after the flags, blanks around them taken off: a range of `text`.
    pub arguments: Span,
    /// The heredocs, in order.
    pub heredocs: Vec<Heredoc>,
    /// The comment lines directly above, `#` and blanks around them taken off.
    pub comments: Vec<String>,
}

/// A flag (`--name=value`) as one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The word with quotes and escapes processed.
    pub text: String,
    /// Its raw form: a range of the node's text.
    pub range: Span,
}

/// A part of an instruction's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Its bytes, line endings included.
    pub span: Span,
    /// How long the joined text was before this part.
    pub joined: usize,
}

/// What a part of an instruction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// A line of the instruction's text.
    Text {
        /// Where its content begins in the source.
        content: usize,
    },
    /// A comment line between continuation lines.
    Comment,
    /// An empty line between continuation lines.
    Blank,
    /// The body of a heredoc.
    HeredocBody,
    /// The line that ends a heredoc.
    HeredocEnd,
}

/// A heredoc of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, quotes taken off.
    pub name: String,
    /// The file descriptor written before `<<`, 0 if none was.
    pub descriptor: u64,
    /// Whether the word had no quotes, so that the body may be expanded.
    pub expand: bool,
    /// Whether it was `<<-`: leading tabs do not count.
    pub chomp: bool,
    /// The bytes of the body.
    pub body: Span,
}

impl Node<'_> {
    /// Returns the instruction word as written.
    pub fn keyword(&self) -> &str {
        self.keyword.slice(&self.text)
    }

    /// Returns the arguments.
    pub fn arguments(&self) -> &str {
        self.arguments.slice(&self.text)
    }

    /// Returns where the instruction stands.
    pub fn place(&self) -> Place {
        Place { span: self.span, lines: self.lines }
    }

    /// Returns the bytes of the instruction's first line, blanks around it left out.
    pub(crate) fn first_line(&self) -> Span {
        let shown = self.parts.first().and_then(|part| match part.kind {
            PartKind::Text { content } => Some(Span::new(content, part.span.end)),
            _ => None,
        });
        shown.unwrap_or(self.span)
    }

    /// Turns a range of the joined text into bytes of the source.
    pub fn source_span(&self, range: Span) -> Span {
        let start = self.source_offset(range.start);
        if range.is_empty() {
            return Span::new(start, start);
        }
        Span::new(start, self.source_offset(range.end - 1) + 1)
    }

    fn source_offset(&self, offset: usize) -> usize {
        let after = self.parts.partition_point(|part| part.joined <= offset);
        self.parts[..after]
            .iter()
            .rev()
            .find_map(|part| match part.kind {
                PartKind::Text { content } => Some(content + offset - part.joined),
                _ => None,
            })
            .unwrap_or(self.span.start)
    }
}
