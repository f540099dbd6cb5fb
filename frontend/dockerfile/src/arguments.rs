//! The arguments of an instruction, cut in the way its keyword wants.

use crate::json::{self, Array};
use crate::keyword::Keyword;
use crate::literal::quote;
use crate::problem::Problem;
use crate::source::Span;
use crate::words::{self, Word};

/// The arguments of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// Words.
    Words(Vec<Word>),
    /// A JSON array of strings.
    Json(Vec<String>, Span),
    /// All of the text.
    Text(Word),
    /// Keys and values.
    Pairs(Vec<Pair>),
    /// A first word and what follows it.
    Typed(Word, Box<Arguments>),
    /// An instruction: its keyword.
    Trigger(Word),
}

/// A key and a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) key: Word,
    pub(crate) value: Word,
    pub(crate) legacy: bool,
    pub(crate) range: Span,
}

/// Cuts the part `range` of `text`, blanks around it taken off, for `keyword`.
pub(crate) fn read(keyword: Keyword, text: &str, range: Span, escape: char) -> Result<Arguments, Problem> {
    match keyword {
        Keyword::Add | Keyword::Copy | Keyword::Volume => {
            json_or(text, range, |range| Arguments::Words(plain_words(text, range)))
        }
        Keyword::Cmd | Keyword::Entrypoint | Keyword::Run | Keyword::Shell => {
            json_or(text, range, |range| Arguments::Text(word(text, range)))
        }
        Keyword::Expose | Keyword::From => Ok(Arguments::Words(plain_words(text, range))),
        Keyword::Arg => Ok(Arguments::Words(words::quoted(text, range, escape))),
        Keyword::Env | Keyword::Label => pairs(keyword, text, range, escape).map(Arguments::Pairs),
        Keyword::Maintainer | Keyword::StopSignal | Keyword::User | Keyword::Workdir => {
            Ok(Arguments::Text(word(text, range)))
        }
        Keyword::Healthcheck => typed(text, range),
        Keyword::Onbuild => trigger(text, range, escape),
    }
}

fn word(text: &str, range: Span) -> Word {
    Word { text: range.slice(text).to_owned(), range }
}

fn plain_words(text: &str, range: Span) -> Vec<Word> {
    words::plain(text, range).into_iter().map(|range| word(text, range)).collect()
}

fn json_or(text: &str, range: Span, otherwise: impl FnOnce(Span) -> Arguments) -> Result<Arguments, Problem> {
    match json::array(range.slice(text)) {
        Array::Strings(strings) => Ok(Arguments::Json(strings, range)),
        Array::Mixed => {
            let message = "when using JSON array syntax, arrays must be comprised of strings only";
            Err(Problem::early(message).at(range))
        }
        Array::Not => Ok(otherwise(range)),
    }
}

/// Reads `key=value...`, or, if the first word has no `=`, `key` and the rest as its value.
fn pairs(keyword: Keyword, text: &str, range: Span, escape: char) -> Result<Vec<Pair>, Problem> {
    let words = words::quoted(text, range, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.text.contains('=') {
        let slice = range.slice(text);
        let end = slice.find(words::is_separator);
        let end = end.ok_or_else(|| Problem::early(format!("{keyword} must have two arguments")).at(range))?;
        let gap = slice[end..].find(|c| !words::is_separator(c)).unwrap_or(slice.len() - end);
        let key = word(text, Span::new(range.start, range.start + end));
        let value = word(text, Span::new(range.start + end + gap, range.end));
        return Ok(vec![Pair { key, value, legacy: true, range }]);
    }
    words.into_iter().map(pair).collect()
}

fn pair(word: Word) -> Result<Pair, Problem> {
    let Word { text, range } = word;
    let Some((key, value)) = text.split_once('=') else {
        let message = format!("Syntax error - can't find = in {}. Must be of the form: name=value", quote(&text));
        return Err(Problem::early(message).at(range));
    };
    // The text may be shorter than its range (an escape at the very end of a line is dropped), never the key.
    let middle = (range.start + key.len() + 1).min(range.end);
    let key = Word { text: key.to_owned(), range: Span::new(range.start, middle.saturating_sub(1)) };
    let value = Word { text: value.to_owned(), range: Span::new(middle, range.end) };
    Ok(Pair { key, value, legacy: false, range })
}

fn typed(text: &str, range: Span) -> Result<Arguments, Problem> {
    let slice = range.slice(text);
    if slice.is_empty() {
        return Ok(Arguments::Words(Vec::new()));
    }
    let end = slice.find(char::is_whitespace).unwrap_or(slice.len());
    let kind = word(text, Span::new(range.start, range.start + end));
    let rest = words::trimmed(text, Span::new(kind.range.end, range.end));
    let rest = json_or(text, rest, |range| Arguments::Text(word(text, range)))?;
    Ok(Arguments::Typed(kind, Box::new(rest)))
}

/// Reads the keyword of an `ONBUILD` trigger; what is wrong with its arguments' form shows already here.
fn trigger(text: &str, range: Span, escape: char) -> Result<Arguments, Problem> {
    if range.is_empty() {
        return Ok(Arguments::Words(Vec::new()));
    }
    let command = words::split_command(text, range, escape);
    let keyword = Keyword::parse(command.keyword.slice(text));
    if let Some(keyword) = keyword.filter(|keyword| *keyword != Keyword::Onbuild) {
        read(keyword, text, command.arguments, escape)?;
    }
    Ok(Arguments::Trigger(word(text, command.keyword)))
}
