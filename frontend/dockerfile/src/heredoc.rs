//! Heredoc words (`<<EOF`, `3<<-"EOF"`) and bodies.

use crate::expand::{Empty, ExpandCause, ExpandError, Lexer};

/// A heredoc word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeredocWord {
    pub(crate) descriptor: u64,
    pub(crate) chomp: bool,
    pub(crate) expand: bool,
    pub(crate) name: String,
}

/// Reads `word` as a heredoc word; `None` if it is none.
pub(crate) fn parse(word: &str) -> Result<Option<HeredocWord>, ExpandError> {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (descriptor, rest) = word.split_at(digits);
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let plain = Lexer::unquoter().words(rest, &Empty)?.words;
    let [name] = plain.as_slice() else { return Ok(None) };
    // A quote that is in the word only when quotes are kept was a quoting one: the body is then taken as it is.
    let quoted = Lexer::progress('\\').words(rest, &Empty)?.words.concat();
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(HeredocWord {
        descriptor: if descriptor.is_empty() { 0 } else { descriptor.parse().unwrap_or(u64::MAX) },
        chomp,
        expand: quotes(name) == quotes(&quoted),
        name: name.clone(),
    }))
}

/// Tells whether all of `text` is one heredoc word.
pub(crate) fn is_word(text: &str) -> bool {
    matches!(parse(text), Ok(Some(_)))
}

/// Finds the heredoc words of an instruction's text.
pub(crate) fn words(text: &str) -> Result<Vec<HeredocWord>, ExpandError> {
    let words = match Lexer::splitter().words(text, &Empty) {
        Ok(expansion) => expansion.words,
        // Text that is no sequence of shell words (an apostrophe in it) has no heredocs.
        Err(error) if !matches!(error.cause, ExpandCause::TooDeep(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    words.iter().filter_map(|word| parse(word).transpose()).collect()
}

/// Takes the leading tabs off every line.
pub(crate) fn chomp(body: &str) -> String {
    body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}
