//! The automaton behind all patterns.

use super::PatternError;

/// One position of a compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// This very character.
    Char(char),
    /// Any character but `/`.
    Any,
    /// Any number of characters but `/`.
    Star,
    /// One of a set of ranges, or none of them; a slash counts as any character.
    Class { negated: bool, ranges: Vec<(char, char)> },
    /// The next token (`Directories`) or the one after it.
    Optional,
    /// Anything that ends in a slash.
    Directories,
    /// Anything at all.
    Rest,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Automaton {
    tokens: Vec<Token>,
    /// How many leading tokens are plain characters: most names fail here.
    literal: usize,
}

/// Memory for a run, reused from one to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    now: Vec<bool>,
    next: Vec<bool>,
}

impl Automaton {
    pub(super) fn new(tokens: Vec<Token>) -> Self {
        let literal = tokens.iter().take_while(|t| matches!(t, Token::Char(_))).count();
        Self { tokens, literal }
    }

    /// Returns whether the whole of `text` matches.
    pub(super) fn matches(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        self.run(text, scratch) && scratch.now[self.tokens.len()]
    }

    /// Returns whether some text that begins with `text` matches.
    pub(super) fn matches_beyond(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        self.run(text, scratch) && scratch.now[..self.tokens.len()].contains(&true)
    }

    /// Leaves the live states in `scratch.now`; false if there are none.
    fn run(&self, text: &[u8], scratch: &mut Scratch) -> bool {
        if !self.literal_may_match(text) {
            return false;
        }
        let states = self.tokens.len() + 1;
        for list in [&mut scratch.now, &mut scratch.next] {
            list.clear();
            list.resize(states, false);
        }
        self.enter(0, &mut scratch.now);
        for ch in Chars(text) {
            let mut alive = false;
            for (state, token) in self.tokens.iter().enumerate().filter(|(state, _)| scratch.now[*state]) {
                alive |= self.step(state, token, ch, &mut scratch.next);
            }
            if !alive {
                return false;
            }
            std::mem::swap(&mut scratch.now, &mut scratch.next);
            scratch.next.fill(false);
        }
        true
    }

    fn step(&self, state: usize, token: &Token, ch: char, next: &mut [bool]) -> bool {
        let (stay, go) = match token {
            Token::Char(c) => (false, *c == ch),
            Token::Any => (false, ch != '/'),
            Token::Class { negated, ranges } => {
                (false, ranges.iter().any(|(low, high)| (*low..=*high).contains(&ch)) != *negated)
            }
            Token::Star => (ch != '/', false),
            Token::Rest => (ch != '\n', false),
            Token::Directories => (ch != '\n', ch == '/'),
            Token::Optional => (false, false),
        };
        if stay {
            self.enter(state, next);
        }
        if go {
            self.enter(state + 1, next);
        }
        stay || go
    }

    /// Marks `state` and all that are reached from it without reading.
    fn enter(&self, mut state: usize, states: &mut [bool]) {
        loop {
            states[state] = true;
            match self.tokens.get(state) {
                Some(Token::Star | Token::Rest) => state += 1,
                Some(Token::Optional) => {
                    states[state + 1] = true;
                    state += 2;
                }
                _ => return,
            }
        }
    }

    fn literal_may_match(&self, text: &[u8]) -> bool {
        let literal = self.tokens[..self.literal].iter();
        literal.zip(Chars(text)).all(|(token, ch)| *token == Token::Char(ch))
    }
}

/// The characters of a name; a byte that is not UTF-8 counts as one replacement character, as in Go.
struct Chars<'a>(&'a [u8]);

impl Iterator for Chars<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let first = *self.0.first()?;
        let width = match first {
            0..=0x7f => 1,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 0,
        };
        let decoded = self.0.get(..width).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let ch = decoded.and_then(|text| text.chars().next());
        self.0 = &self.0[if ch.is_some() { width } else { 1 }..];
        Some(ch.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

/// A pattern being read, with the one syntax that both kinds share: escapes and classes.
pub(super) struct Cursor<'a> {
    pattern: &'a str,
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(pattern: &'a str) -> Self {
        Self { pattern, rest: pattern.chars().peekable() }
    }

    pub(super) fn next(&mut self) -> Option<char> {
        self.rest.next()
    }

    pub(super) fn eat(&mut self, ch: char) -> bool {
        self.rest.next_if_eq(&ch).is_some()
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.rest.peek().is_none()
    }

    pub(super) fn error(&self) -> PatternError {
        PatternError::Syntax(self.pattern.to_owned())
    }

    /// Reads the character after a backslash.
    pub(super) fn escaped(&mut self) -> Result<char, PatternError> {
        self.rest.next().ok_or_else(|| self.error())
    }

    /// Reads a class after its opening bracket.
    pub(super) fn class(&mut self) -> Result<Token, PatternError> {
        let negated = self.eat('^');
        let mut ranges = Vec::new();
        while ranges.is_empty() || !self.eat(']') {
            let low = self.class_char()?;
            let high = if self.eat('-') { self.class_char()? } else { low };
            ranges.push((low, high));
        }
        Ok(Token::Class { negated, ranges })
    }

    fn class_char(&mut self) -> Result<char, PatternError> {
        match self.rest.next() {
            None | Some('-' | ']') => Err(self.error()),
            Some('\\') => self.escaped(),
            Some(ch) => Ok(ch),
        }
    }
}
