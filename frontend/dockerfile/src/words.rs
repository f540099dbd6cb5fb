//! Cutting an instruction's text into words, in the several ways of its instructions.
//!
//! All ranges are of the text given.

use crate::ast::Flag;
use crate::source::Span;

/// Tells whether `c` separates keyword and plain words; other Unicode blanks do not.
pub(crate) fn is_separator(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Returns the range of `range` in `text` without blanks around it.
pub(crate) fn trimmed(text: &str, range: Span) -> Span {
    let slice = range.slice(text);
    let start = range.start + (slice.len() - slice.trim_start().len());
    Span::new(start, start + slice.trim().len())
}

/// An instruction's text in its three parts.
pub(crate) struct Command {
    pub(crate) keyword: Span,
    pub(crate) flags: Vec<Flag>,
    pub(crate) arguments: Span,
}

/// Cuts the part `range` of `text` into keyword, flags and arguments.
pub(crate) fn split_command(text: &str, range: Span, escape: char) -> Command {
    let line = trimmed(text, range);
    let slice = line.slice(text);
    let Some(end) = slice.find(is_separator) else {
        return Command { keyword: line, flags: Vec::new(), arguments: Span::new(line.end, line.end) };
    };
    let keyword = Span::new(line.start, line.start + end);
    let gap = slice[end..].find(|c| !is_separator(c)).unwrap_or(slice.len() - end);
    let (flags, rest) = split_flags(text, Span::new(keyword.end + gap, line.end), escape);
    Command { keyword, flags, arguments: trimmed(text, rest) }
}

/// Takes the words that begin with `--` off the front; a lone `--` ends them.
///
/// Flags are read byte by byte, as BuildKit does: a character outside ASCII becomes the Latin-1 characters of its
/// bytes, and its bytes 0x85 and 0xA0 count as blanks.
fn split_flags(text: &str, range: Span, escape: char) -> (Vec<Flag>, Span) {
    let bytes = text.as_bytes();
    let is_blank = |byte: u8| char::from(byte).is_whitespace();
    let mut flags = Vec::new();
    let mut at = range.start;
    loop {
        while at < range.end && is_blank(bytes[at]) {
            at += 1;
        }
        if at >= range.end || !bytes[at..range.end].starts_with(b"--") {
            return (flags, Span::new(boundary(text, at, range.end), range.end));
        }
        let start = at;
        let (word, end, keep) = flag_word(bytes, at, range.end, escape, is_blank);
        at = end;
        if word == "--" {
            return (flags, Span::new(boundary(text, at, range.end), range.end));
        }
        if keep {
            flags.push(Flag { text: word, range: Span::new(start, boundary(text, end, range.end)) });
        }
    }
}

/// Returns where the next character begins: a flag that ends inside a character leaves bytes of it behind, and they
/// go with the flag.
fn boundary(text: &str, at: usize, end: usize) -> usize {
    (at..=end).find(|at| text.is_char_boundary(*at)).unwrap_or(end)
}

/// Reads the flag at `at`: its text, where it ends, and whether it is one (it may be empty without quotes).
fn flag_word(
    bytes: &[u8],
    mut at: usize,
    end: usize,
    escape: char,
    is_blank: impl Fn(u8) -> bool,
) -> (String, usize, bool) {
    let mut word = String::new();
    let mut quote: Option<u8> = None;
    let mut quoted = false;
    while at < end {
        let byte = bytes[at];
        match quote {
            None if is_blank(byte) => break,
            None if byte == b'\'' || byte == b'"' => {
                quote = Some(byte);
                quoted = true;
            }
            Some(open) if byte == open => quote = None,
            _ if char::from(byte) == escape => {
                if at + 1 < end {
                    at += 1;
                    word.push(char::from(bytes[at]));
                }
            }
            _ => word.push(char::from(byte)),
        }
        at += 1;
    }
    let keep = quoted || !word.is_empty();
    (word, at, keep)
}

/// Splits `range` of `text` at blanks, quotes meaning nothing.
pub(crate) fn plain(text: &str, range: Span) -> Vec<Span> {
    let mut words = Vec::new();
    let mut start = range.start;
    for part in range.slice(text).split(is_separator) {
        if !part.is_empty() {
            words.push(Span::new(start, start + part.len()));
        }
        start += part.len() + 1;
    }
    words
}

/// A word whose quotes and escapes are still in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// The text; an escape token at the very end of the line is not in it.
    pub(crate) text: String,
    pub(crate) range: Span,
}

/// Splits `range` of `text` at blanks outside quotes.
pub(crate) fn quoted(text: &str, range: Span, escape: char) -> Vec<Word> {
    let slice = range.slice(text);
    let mut words = Vec::new();
    let mut word = String::new();
    let mut start: Option<usize> = None;
    let mut quote: Option<char> = None;
    let mut chars = slice.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if let Some(start) = start.take() {
                push(&mut words, &mut word, Span::new(range.start + start, range.start + at));
            }
            continue;
        }
        start.get_or_insert(at);
        let escapes = c == escape && quote != Some('\'');
        if escapes {
            let Some((_, next)) = chars.next() else { break };
            word.push(c);
            word.push(next);
            continue;
        }
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        word.push(c);
    }
    if let Some(start) = start {
        push(&mut words, &mut word, Span::new(range.start + start, range.end));
    }
    words
}

fn push(words: &mut Vec<Word>, word: &mut String, range: Span) {
    if !word.is_empty() {
        words.push(Word { text: std::mem::take(word), range });
    }
}
