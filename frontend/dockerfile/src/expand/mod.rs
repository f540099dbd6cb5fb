//! Word expansion: variables, quotes and escapes of the words that the builder itself expands.
//!
//! [`Lexer::word`] gives one string, [`Lexer::words`] splits at blanks after expansion (only `EXPOSE` wants
//! that), [`Lexer::heredoc`] is for the body of a file given inline, and [`Lexer::progress`] for names shown
//! to people. What a word used and what it missed is reported, so that a lint can speak of it.
//!
//! A value may grow to [`MAX_VALUE`] bytes, substitutions nest [`MAX_NESTING`] deep and a word takes [`MAX_STEPS`]
//! steps; more is refused with an error that names the variable.

mod digits;
mod lexer;
mod pattern;

use crate::literal::quote;
use std::collections::BTreeSet;

/// The largest value that expansion makes: 1 MiB.
pub const MAX_VALUE: usize = 1 << 20;

/// How deep substitutions nest (`${a:-${b:-…}}`).
pub const MAX_NESTING: usize = 200;

/// How many steps one word may take: a byte of a variable's value that is looked at, a move of a pattern.
pub const MAX_STEPS: usize = 1 << 26;

/// Where variables come from.
pub trait Environment {
    /// Returns the value of `name`, `None` if it is not set.
    fn get(&self, name: &str) -> Option<&str>;

    /// Counts steps that words with these variables take together. An error is the limit that they exceed.
    fn spend(&self, _steps: usize) -> Result<(), usize> {
        Ok(())
    }
}

/// An environment in which nothing is set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Empty;

impl Environment for Empty {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Environment for std::collections::HashMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        std::collections::HashMap::get(self, name).map(String::as_str)
    }
}

impl Environment for std::collections::BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        std::collections::BTreeMap::get(self, name).map(String::as_str)
    }
}

/// Pairs as in an image's `Env`; the last of equal names counts.
impl Environment for [(String, String)] {
    fn get(&self, name: &str) -> Option<&str> {
        self.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What a word became.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expansion {
    /// The value.
    pub value: String,
    /// The names that were set.
    pub used: BTreeSet<String>,
    /// The names that were asked for and not set.
    pub unset: BTreeSet<String>,
}

/// What a word became when split at blanks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WordsExpansion {
    /// The words.
    pub words: Vec<String>,
    /// The names that were set.
    pub used: BTreeSet<String>,
    /// The names that were asked for and not set.
    pub unset: BTreeSet<String>,
}

/// Why a word could not be expanded, and which names it had asked for by then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {}: {cause}", quote(.word))]
pub struct ExpandError {
    /// The word, shortened if it is long.
    pub word: String,
    /// The reason.
    pub cause: ExpandCause,
    /// The names that were asked for and not set.
    pub unset: BTreeSet<String>,
}

/// The reason why a word could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ExpandCause {
    #[error("unexpected end of statement while looking for matching {0}")]
    Unmatched(&'static str),
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    #[error("{name}: {message}")]
    Required { name: String, message: String },
    #[error("invalid pattern ({pattern}) in substitution: {reason}")]
    Pattern { pattern: String, reason: String },
    #[error("substitutions nest deeper than {MAX_NESTING} at variable {}", quote(.0))]
    TooDeep(String),
    #[error("value grows beyond {MAX_VALUE} bytes at variable {}", quote(.0))]
    TooLong(String),
    #[error("expansion takes more than {limit} steps at variable {}", quote(.name))]
    TooMuch { name: String, limit: usize },
}

/// The most characters of a word, name or pattern that an error repeats, and of a message that a word gives.
const SHOWN: usize = 200;
const SHOWN_MESSAGE: usize = 1000;

impl ExpandCause {
    /// Cuts texts that expansion has made long.
    fn shortened(self) -> Self {
        match self {
            Self::Required { name, message } => {
                Self::Required { name: shortened(&name, SHOWN), message: shortened(&message, SHOWN_MESSAGE) }
            }
            Self::Pattern { pattern, reason } => Self::Pattern { pattern: shortened(&pattern, SHOWN), reason },
            Self::TooDeep(name) => Self::TooDeep(shortened(&name, SHOWN)),
            Self::TooLong(name) => Self::TooLong(shortened(&name, SHOWN)),
            Self::TooMuch { name, limit } => Self::TooMuch { name: shortened(&name, SHOWN), limit },
            short @ (Self::Unmatched(_)
            | Self::MissingBrace
            | Self::MissingSlash
            | Self::BadSubstitution
            | Self::UnsupportedModifier(_)) => short,
        }
    }
}

/// Returns the first `limit` characters of `text`, and a sign if there are more.
fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Expands words under one escape token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lexer {
    escape: char,
    raw_quotes: bool,
    raw_escapes: bool,
    keep_quotes: bool,
    keep_unset: bool,
}

impl Lexer {
    /// Returns the lexer for the words of a Dockerfile whose escape token is `escape`.
    pub fn new(escape: char) -> Self {
        Self { escape, raw_quotes: false, raw_escapes: false, keep_quotes: false, keep_unset: false }
    }

    /// Returns the lexer for the bodies of inline files: the escape token is always `\`, quotes are plain text.
    pub fn heredoc() -> Self {
        Self { keep_quotes: true, ..Self::new('\\') }
    }

    /// Returns the lexer for names shown to people: quotes stay, and `$X` stays where X is not set.
    pub fn progress(escape: char) -> Self {
        Self { raw_quotes: true, keep_unset: true, ..Self::new(escape) }
    }

    /// Returns the lexer that only splits: quotes, escapes and variables stay in the words.
    pub(crate) fn splitter() -> Self {
        Self { raw_escapes: true, ..Self::progress('\\') }
    }

    /// Returns the lexer that takes quotes off and leaves variables that are not set.
    pub(crate) fn unquoter() -> Self {
        Self { keep_unset: true, ..Self::new('\\') }
    }

    /// Expands `word` to one string.
    pub fn word<E: Environment + ?Sized>(&self, word: &str, environment: &E) -> Result<Expansion, ExpandError> {
        lexer::word(self, word, environment)
    }

    /// Expands `word` and splits what came out at blanks; quoted parts are not split.
    pub fn words<E: Environment + ?Sized>(&self, word: &str, environment: &E) -> Result<WordsExpansion, ExpandError> {
        lexer::words(self, word, environment)
    }
}
