//! A list of patterns where the last match wins.
//!
//! The meaning is that of moby/patternmatcher, quirks included, because ignore files in the wild rely on
//! it: patterns are anchored at the root, `**` crosses directories, a match of a directory holds for all
//! below, `!` takes back what an earlier pattern matched.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::automaton::{Automaton, Cursor, Scratch, Token};
use super::glob::Glob;
use super::{PatternError, clean};

/// A compiled list of patterns with moby/patternmatcher's meaning.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    patterns: Vec<Pattern>,
    /// How many of them form a list of their own before the others: what either matches is matched.
    first: usize,
}

#[derive(Debug, Clone)]
struct Pattern {
    negated: bool,
    shape: Shape,
}

/// The cheap forms that most patterns have, and the general one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Exact(String),
    /// Ends in `**` and is plain before.
    Prefix(String),
    /// Begins with `**` and is plain after.
    Suffix(String),
    General(Automaton),
}

/// What each pattern said about a parent directory, carried down a walk.
#[derive(Debug, Clone, Default)]
pub struct ParentMatch(Vec<bool>);

impl Matcher {
    /// Compiles `patterns`; blank ones are skipped.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, PatternError> {
        let mut compiled = Vec::new();
        for text in patterns {
            let text = text.as_ref().trim();
            if !text.is_empty() {
                compiled.push(Pattern::new(&clean(text))?);
            }
        }
        Ok(Self { patterns: compiled, first: 0 })
    }

    /// Compiles two lists into what is to be ignored so that all that `include` matches remains, but for what
    /// `exclude` matches. An empty `include` matches everything.
    pub fn selecting<S: AsRef<str>>(include: &[S], exclude: &[S]) -> Result<Self, PatternError> {
        let mut included: Vec<String> = Vec::new();
        for pattern in include.iter().map(|pattern| pattern.as_ref().trim()).filter(|pattern| !pattern.is_empty()) {
            if included.is_empty() {
                included.push("**".to_owned());
            }
            included.push(pattern.strip_prefix('!').map_or_else(|| format!("!{pattern}"), str::to_owned));
        }
        let (mut matcher, excluded) = (Self::new(included)?, Self::new(exclude)?);
        matcher.first = matcher.patterns.len();
        matcher.patterns.extend(excluded.patterns);
        Ok(matcher)
    }

    /// Returns whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns whether `path` (relative) or one of its parents matches, the last match winning.
    pub fn matches(&self, path: &Path) -> bool {
        let bytes = path.as_os_str().as_bytes();
        let mut parent = ParentMatch::default();
        let slashes = bytes.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in slashes {
            parent = self.decide(&bytes[..end], &parent).1;
        }
        self.decide(bytes, &parent).0
    }

    /// Returns the same as [`Self::matches`], given what was found for the parent directory (the default for
    /// paths right below the root).
    pub fn matches_below(&self, path: &Path, parent: &ParentMatch) -> (bool, ParentMatch) {
        self.decide(path.as_os_str().as_bytes(), parent)
    }

    /// Returns whether nothing below the matched directory `path` can be re-included, so that it need not
    /// be walked.
    pub fn prunes(&self, path: &Path) -> bool {
        let mut directory = path.as_os_str().as_bytes().to_vec();
        directory.push(b'/');
        let mut scratch = Scratch::default();
        !self.patterns.iter().any(|p| p.negated && p.shape.matches_below(&directory, &mut scratch))
    }

    fn decide(&self, path: &[u8], parent: &ParentMatch) -> (bool, ParentMatch) {
        let mut scratch = Scratch::default();
        let (mut matched, mut matched_first) = (false, false);
        let mut own = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            if index == self.first {
                matched_first = std::mem::take(&mut matched);
            }
            let inherited = parent.0.get(index).copied().unwrap_or(false);
            // A pattern that could change nothing is not asked, and counts as not matching below either.
            if !inherited && pattern.negated != matched {
                continue;
            }
            own[index] = inherited || pattern.shape.matches(path, &mut scratch);
            if own[index] {
                matched = !pattern.negated;
            }
        }
        (matched_first || matched, ParentMatch(own))
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, PatternError> {
        let (negated, text) = match text.strip_prefix('!') {
            Some("") => return Err(PatternError::LoneExclamation),
            Some(rest) => (true, rest),
            None => (false, text),
        };
        // The syntax that is refused is that of filepath.Match.
        Glob::new(text)?;
        Ok(Self { negated, shape: Shape::new(text)? })
    }
}

impl Shape {
    fn new(text: &str) -> Result<Self, PatternError> {
        let plain = |text: &str| !text.contains(['*', '?', '[', ']', '\\']);
        if plain(text) {
            return Ok(Self::Exact(text.to_owned()));
        }
        if let Some(suffix) = text.strip_prefix("**").filter(|rest| plain(rest)) {
            return Ok(Self::Suffix(suffix.to_owned()));
        }
        if let Some(prefix) = text.strip_suffix("**").filter(|rest| plain(rest)) {
            return Ok(Self::Prefix(prefix.to_owned()));
        }
        tokens(text).map(Automaton::new).map(Self::General)
    }

    fn matches(&self, path: &[u8], scratch: &mut Scratch) -> bool {
        match self {
            Self::Exact(text) => path == text.as_bytes(),
            Self::Prefix(prefix) => path.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => {
                path.ends_with(suffix.as_bytes()) || suffix.strip_prefix('/').is_some_and(|s| path == s.as_bytes())
            }
            Self::General(automaton) => automaton.matches(path, scratch),
        }
    }

    /// Returns whether something below `directory` (which ends in a slash) can match.
    fn matches_below(&self, directory: &[u8], scratch: &mut Scratch) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes().starts_with(directory),
            Self::Prefix(prefix) => {
                prefix.as_bytes().starts_with(directory) || directory.starts_with(prefix.as_bytes())
            }
            Self::Suffix(_) => true,
            Self::General(automaton) => automaton.matches_beyond(directory, scratch),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, PatternError> {
    let mut cursor = Cursor::new(text);
    let mut tokens = Vec::new();
    while let Some(ch) = cursor.next() {
        match ch {
            '*' if cursor.eat('*') => {
                // `**/` is the same as `**`.
                cursor.eat('/');
                if cursor.at_end() {
                    tokens.push(Token::Rest);
                } else if tokens.last() != Some(&Token::Directories) {
                    // Two in a row mean no more than one.
                    tokens.extend([Token::Optional, Token::Directories]);
                }
            }
            '*' => tokens.push(Token::Star),
            '?' => tokens.push(Token::Any),
            '[' => tokens.push(cursor.class()?),
            '\\' => tokens.push(Token::Char(cursor.escaped()?)),
            ch => tokens.push(Token::Char(ch)),
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests;
