//! The walk through a word: quotes, escapes, `$name` and `${name…}`.
//!
//! Where shells differ from this, this follows BuildKit, because Dockerfiles are written for it.

use super::digits::is_digit;
use super::{
    Environment, ExpandCause, ExpandError, Expansion, Lexer, MAX_NESTING, MAX_STEPS, MAX_VALUE, SHOWN, WordsExpansion,
    pattern, shortened,
};
use std::collections::BTreeSet;

pub(super) fn word<E: Environment + ?Sized>(
    lexer: &Lexer,
    word: &str,
    environment: &E,
) -> Result<Expansion, ExpandError> {
    let mut walk = Walk::new(lexer, word, environment);
    match walk.until(None, lexer.raw_escapes, None) {
        Ok(value) => Ok(Expansion { value, used: walk.used, unset: walk.unset }),
        Err(cause) => Err(walk.failure(cause)),
    }
}

pub(super) fn words<E: Environment + ?Sized>(
    lexer: &Lexer,
    word: &str,
    environment: &E,
) -> Result<WordsExpansion, ExpandError> {
    let mut walk = Walk::new(lexer, word, environment);
    let mut splitter = Splitter::default();
    match walk.until(None, lexer.raw_escapes, Some(&mut splitter)) {
        Ok(_) => Ok(WordsExpansion { words: splitter.finish(), used: walk.used, unset: walk.unset }),
        Err(cause) => Err(walk.failure(cause)),
    }
}

/// Cuts characters into words at blanks; what is quoted comes in raw.
#[derive(Default)]
struct Splitter {
    words: Vec<String>,
    word: String,
}

impl Splitter {
    fn plain(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

struct Walk<'a, E: ?Sized> {
    lexer: &'a Lexer,
    source: &'a str,
    at: usize,
    environment: &'a E,
    raw_escapes: bool,
    depth: usize,
    /// What a value may grow to; text that is long already may stay so.
    limit: usize,
    steps: usize,
    /// The variable looked at last, for errors.
    variable: String,
    used: BTreeSet<String>,
    unset: BTreeSet<String>,
}

impl<'a, E: Environment + ?Sized> Walk<'a, E> {
    fn new(lexer: &'a Lexer, source: &'a str, environment: &'a E) -> Self {
        Self {
            lexer,
            source,
            at: 0,
            environment,
            raw_escapes: lexer.raw_escapes,
            depth: 0,
            limit: MAX_VALUE.max(source.len()),
            steps: 0,
            variable: String::new(),
            used: BTreeSet::new(),
            unset: BTreeSet::new(),
        }
    }

    fn failure(self, cause: ExpandCause) -> ExpandError {
        ExpandError { word: shortened(self.source, SHOWN), cause: cause.shortened(), unset: self.unset }
    }

    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Reads up to `stop`, which is consumed, or to the end if there is none.
    fn until(
        &mut self,
        stop: Option<(char, &'static str)>,
        raw_escapes: bool,
        mut words: Option<&mut Splitter>,
    ) -> Result<String, ExpandCause> {
        if self.depth > MAX_NESTING {
            return Err(ExpandCause::TooDeep(self.variable.clone()));
        }
        self.depth += 1;
        let outer = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let mut value = String::new();
        let mut stopped = stop.is_none();
        while let Some(c) = self.peek() {
            if stop.is_some_and(|(stop, _)| stop == c) {
                self.next();
                stopped = true;
                break;
            }
            self.step(c, &mut value, words.as_deref_mut())?;
            if value.len() > self.limit {
                return Err(ExpandCause::TooLong(self.variable.clone()));
            }
        }
        self.raw_escapes = outer;
        self.depth -= 1;
        match stop {
            Some((_, name)) if !stopped => Err(ExpandCause::Unmatched(name)),
            _ => Ok(value),
        }
    }

    /// Takes what begins with `c`.
    fn step(&mut self, c: char, value: &mut String, words: Option<&mut Splitter>) -> Result<(), ExpandCause> {
        match c {
            '$' => {
                let text = self.dollar()?;
                if let Some(words) = words {
                    text.chars().for_each(|c| words.plain(c));
                }
                value.push_str(&text);
            }
            '<' | '\'' | '"' if c == '<' || !self.lexer.keep_quotes => {
                let text = match c {
                    '<' => self.angle().to_owned(),
                    '\'' => self.single_quoted()?,
                    _ => self.double_quoted()?,
                };
                if let Some(words) = words {
                    words.word.push_str(&text);
                }
                value.push_str(&text);
            }
            _ if c == self.lexer.escape => {
                let start = self.at;
                self.next();
                let escaped = self.at;
                self.next();
                let text = &self.source[if self.raw_escapes { start } else { escaped }..self.at];
                if let Some(words) = words {
                    words.word.push_str(text);
                }
                value.push_str(text);
            }
            _ => {
                self.next();
                if let Some(words) = words {
                    words.plain(c);
                }
                value.push(c);
            }
        }
        Ok(())
    }

    /// Takes `<`, or `<<` with the blanks behind it, so that a heredoc word is one word.
    fn angle(&mut self) -> &'a str {
        let start = self.at;
        self.next();
        if self.peek() == Some('<') {
            self.next();
            while matches!(self.peek(), Some(' ' | '\t' | '\r')) {
                self.next();
            }
        }
        &self.source[start..self.at]
    }

    fn single_quoted(&mut self) -> Result<String, ExpandCause> {
        let start = self.at;
        let end = self.source[start + 1..].find('\'').ok_or(ExpandCause::Unmatched("single-quote"));
        let end = end.inspect_err(|_| self.at = self.source.len())? + start + 1;
        self.at = end + 1;
        Ok(if self.lexer.raw_quotes { &self.source[start..=end] } else { &self.source[start + 1..end] }.to_owned())
    }

    fn double_quoted(&mut self) -> Result<String, ExpandCause> {
        let mut value = String::new();
        let quote = |value: &mut String, walk: &mut Self| {
            walk.next();
            if walk.lexer.raw_quotes {
                value.push('"');
            }
        };
        quote(&mut value, self);
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    quote(&mut value, self);
                    return Ok(value);
                }
                '$' => value.push_str(&self.dollar()?),
                _ if c == self.lexer.escape => {
                    self.next();
                    if self.raw_escapes {
                        value.push(c);
                    }
                    // Only these can be escaped in double quotes; before anything else the escape is plain text.
                    match self.peek() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.lexer.escape => {
                            self.next();
                            value.push(next);
                        }
                        Some(_) => value.push(c),
                    }
                }
                _ => {
                    self.next();
                    value.push(c);
                }
            }
            if value.len() > self.limit {
                return Err(ExpandCause::TooLong(self.variable.clone()));
            }
        }
        Err(ExpandCause::Unmatched("double-quote"))
    }

    /// Takes what begins with `$`.
    fn dollar(&mut self) -> Result<String, ExpandCause> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.lookup(name)? {
                Some(value) => value.to_owned(),
                None if self.lexer.keep_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err(ExpandCause::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandCause::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => Err(ExpandCause::MissingBrace),
            Some('}') => Ok(match self.lookup(name)? {
                Some(value) => value.to_owned(),
                None if self.lexer.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => {
                let operator = self.next().ok_or(ExpandCause::MissingBrace)?;
                if matches!(operator, '#' | '%') {
                    return Err(ExpandCause::UnsupportedModifier(format!(":{operator}")));
                }
                self.modified(name, operator, true)
            }
            Some(operator @ ('+' | '-' | '?' | '#' | '%')) => self.modified(name, operator, false),
            Some('/') => self.replaced(name),
            Some(other) => Err(ExpandCause::UnsupportedModifier(other.to_string())),
        }
    }

    /// Reads up to `stop` inside `${…}`.
    fn inner(
        &mut self,
        name: &str,
        stop: (char, &'static str),
        missing: ExpandCause,
        raw_escapes: bool,
    ) -> Result<String, ExpandCause> {
        name.clone_into(&mut self.variable);
        self.until(Some(stop), raw_escapes, None).map_err(|cause| match cause {
            cause @ (ExpandCause::TooDeep(_) | ExpandCause::TooLong(_) | ExpandCause::TooMuch { .. }) => cause,
            _ if self.at == self.source.len() => missing,
            cause => cause,
        })
    }

    /// `${name-word}`, `${name:+word}`, `${name?message}`, `${name##pattern}` and so on, behind the operator.
    fn modified(&mut self, name: &str, operator: char, colon: bool) -> Result<String, ExpandCause> {
        let word = self.inner(name, ('}', "}"), ExpandCause::MissingBrace, matches!(operator, '#' | '%'))?;
        let shown = if colon { format!(":{operator}") } else { operator.to_string() };
        let value = self.lookup(name)?;
        if value.is_none() && self.lexer.keep_unset {
            return Ok(format!("${{{name}{shown}{word}}}"));
        }
        let present = value.filter(|value| !(colon && value.is_empty()));
        match operator {
            '-' => Ok(present.map_or(word, str::to_owned)),
            '+' => Ok(if present.is_some() { word } else { String::new() }),
            '?' => match present {
                Some(value) => Ok(value.to_owned()),
                None => {
                    let state =
                        if value.is_some() { "is not allowed to be empty" } else { "is not allowed to be unset" };
                    let message = if word.is_empty() { state.to_owned() } else { word };
                    Err(ExpandCause::Required { name: name.to_owned(), message })
                }
            },
            '#' | '%' => {
                let (greedy, glob) = match word.strip_prefix(operator) {
                    Some(glob) => (true, glob),
                    None => (false, word.as_str()),
                };
                let trim = if operator == '#' { pattern::trim_prefix } else { pattern::trim_suffix };
                let (value, before) = (value.unwrap_or(""), self.steps);
                let trimmed = trim(glob, value, greedy, &mut self.steps);
                self.spend(self.steps - before)?;
                trimmed.map_err(|reason| bad_pattern(glob, reason))
            }
            _ => Err(ExpandCause::UnsupportedModifier(shown)),
        }
    }

    /// `${name/pattern/replacement}` and `${name//pattern/replacement}`, behind the first `/`.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandCause> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let glob = self.inner(name, ('/', "/"), ExpandCause::MissingSlash, true)?;
        let replacement = self.inner(name, ('}', "}"), ExpandCause::MissingBrace, true)?;
        let Some(value) = self.lookup(name)?.or((!self.lexer.keep_unset).then_some("")) else {
            return Ok(format!("${{{name}/{glob}/{replacement}}}"));
        };
        let replace = if all { pattern::replace_all } else { pattern::replace_first };
        let before = self.steps;
        let replaced = replace(&glob, value, &replacement, self.limit, &mut self.steps);
        self.spend(self.steps - before)?;
        match replaced {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(ExpandCause::TooLong(name.to_owned())),
            Err(reason) => Err(bad_pattern(&glob, reason)),
        }
    }

    /// Reads a name: letters, digits and `_`; or digits only; or one special character.
    fn name(&mut self) -> &'a str {
        let rest = &self.source[self.at..];
        let end = match rest.chars().next() {
            Some(c) if is_digit(c) => rest.find(|c| !is_digit(c)),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => Some(1),
            _ => rest.find(|c: char| c != '_' && !c.is_alphabetic() && !is_digit(c)),
        };
        let name = &rest[..end.unwrap_or(rest.len())];
        self.at += name.len();
        name
    }

    /// Counts steps in the account that this word shares with others.
    fn spend(&mut self, steps: usize) -> Result<(), ExpandCause> {
        let too_much = |limit| ExpandCause::TooMuch { name: self.variable.clone(), limit };
        self.environment.spend(steps).map_err(too_much)
    }

    fn lookup(&mut self, name: &str) -> Result<Option<&'a str>, ExpandCause> {
        name.clone_into(&mut self.variable);
        let environment: &'a E = self.environment;
        let value = environment.get(name);
        let steps = value.map_or(1, |value| value.len() + 1);
        self.steps += steps;
        if self.steps > MAX_STEPS {
            return Err(ExpandCause::TooMuch { name: name.to_owned(), limit: MAX_STEPS });
        }
        self.spend(steps)?;
        let names = if value.is_some() { &mut self.used } else { &mut self.unset };
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
        Ok(value)
    }
}

fn bad_pattern(glob: &str, reason: String) -> ExpandCause {
    ExpandCause::Pattern { pattern: glob.to_owned(), reason }
}
