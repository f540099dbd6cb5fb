//! Parser directives (`# syntax=`, `# escape=`, `# check=`) at the top of a Dockerfile.
//!
//! They count only before anything else: the first line that is not a known directive ends them for good.

use crate::json;
use crate::source::{Lines, Span};

const BOM: &str = "\u{feff}";

/// The directives there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DirectiveName {
    /// `# syntax=`: the frontend that reads the file.
    Syntax,
    /// `# escape=`: the escape token.
    Escape,
    /// `# check=`: which lint rules are on.
    Check,
}

impl DirectiveName {
    fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "syntax" => Some(Self::Syntax),
            "escape" => Some(Self::Escape),
            "check" => Some(Self::Check),
            _ => None,
        }
    }

    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Escape => "escape",
            Self::Check => "check",
        }
    }
}

/// A directive with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Which one.
    pub name: DirectiveName,
    /// The value, blanks around it taken off.
    pub value: String,
    /// Its line's bytes.
    pub span: Span,
    /// Its line.
    pub lines: Lines,
}

impl Directive {
    /// Returns the value up to the first blank: the reference of a `syntax`, the options of a `check`.
    pub fn first_word(&self) -> &str {
        self.value.split(' ').next().unwrap_or("")
    }
}

/// Reads directives line by line until the first line that is none.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    done: bool,
    seen: Vec<DirectiveName>,
}

/// What a line is to the [`Scanner`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    Nothing,
    Found(DirectiveName, String),
    Repeated(DirectiveName),
}

impl Scanner {
    /// Looks at the next line, which should begin with `marker`.
    pub(crate) fn line(&mut self, line: &str, marker: &str) -> Scanned {
        if self.done {
            return Scanned::Nothing;
        }
        match line.strip_prefix(marker).and_then(split) {
            Some((name, _)) if self.seen.contains(&name) => Scanned::Repeated(name),
            Some((name, value)) => {
                self.seen.push(name);
                Scanned::Found(name, value.to_owned())
            }
            None => {
                self.done = true;
                Scanned::Nothing
            }
        }
    }

    /// Notes a line that cannot be a directive.
    pub(crate) fn end(&mut self) {
        self.done = true;
    }
}

/// Splits ` name = value ` if the name is a known one.
fn split(text: &str) -> Option<(DirectiveName, &str)> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    if !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let value = rest.trim_matches(blank).strip_prefix('=')?.trim_matches(blank);
    if value.is_empty() || value.contains('\n') {
        return None;
    }
    Some((DirectiveName::parse(word)?, value))
}

/// The blanks of `\s` in a regular expression.
fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

/// Returns the value of `check=…` written in a comment above an instruction.
pub(crate) fn inline_check(comment: &str) -> Option<&str> {
    split(comment).filter(|(name, _)| *name == DirectiveName::Check).map(|(_, value)| value)
}

/// Finds the directive `name` at the top of `source`, behind a byte order mark and a `#!` line if there are any.
pub fn find_directive(name: DirectiveName, source: &str) -> Option<Directive> {
    find(name, source, "#")
}

/// Finds which frontend `source` asks for. Other languages than Dockerfile ask too, so that besides `# syntax=`
/// also `// syntax=` and a JSON object with a member `syntax` count.
pub fn detect_syntax(source: &str) -> Option<Directive> {
    find(DirectiveName::Syntax, source, "#").or_else(|| find(DirectiveName::Syntax, source, "//")).or_else(|| {
        let (start, line) = body(source);
        let value = json::object_string(&source[start..], "syntax")?;
        let lines = Lines::single(line);
        Some(Directive { name: DirectiveName::Syntax, value, span: Span::new(start, source.len()), lines })
    })
}

/// Returns where the text begins behind byte order mark and `#!` line, and on which line that is.
fn body(source: &str) -> (usize, u32) {
    let bom = if source.starts_with(BOM) { BOM.len() } else { 0 };
    if !source[bom..].starts_with("#!") {
        return (bom, 1);
    }
    (source[bom..].find('\n').map_or(source.len(), |at| bom + at + 1), 2)
}

fn find(name: DirectiveName, source: &str, marker: &str) -> Option<Directive> {
    let (mut at, first) = body(source);
    let mut scanner = Scanner::default();
    for (number, line) in (first..).zip(source[at..].split_inclusive('\n')) {
        let text = line.strip_suffix('\n').unwrap_or(line);
        let text = text.strip_suffix('\r').unwrap_or(text);
        match scanner.line(text, marker) {
            Scanned::Found(found, value) if found == name => {
                let span = Span::new(at, at + line.len());
                return Some(Directive { name, value, span, lines: Lines::single(number) });
            }
            Scanned::Found(..) => at += line.len(),
            Scanned::Nothing | Scanned::Repeated(_) => return None,
        }
    }
    None
}
