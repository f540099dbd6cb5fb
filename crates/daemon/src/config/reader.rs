//! Reading a TOML file key by key: each is asked for by somebody who says what it means, and what nobody asked for
//! is refused with its line.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a configuration file, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {message}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, if it is about one.
    pub line: Option<usize>,
    /// What is wrong, and what helps.
    pub message: String,
}

/// The text that is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
}

impl Document<'_> {
    pub(crate) fn error(&self, place: Range<usize>, message: impl Into<String>) -> ConfigError {
        let before = self.text.as_bytes().get(..place.start).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ConfigError { path: self.path.to_owned(), line: Some(line), message: message.into() }
    }
}

/// A table of the file, with the keys that were asked for.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    document: Document<'a>,
    name: String,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

type Value<'a> = &'a Spanned<DeValue<'a>>;

impl<'a> Section<'a> {
    pub(crate) fn root(document: Document<'a>, table: &'a DeTable<'a>) -> Self {
        Self { document, name: String::new(), table, known: Vec::new() }
    }

    fn nested(&self, key: &str, value: Value<'a>) -> Result<Self, ConfigError> {
        let DeValue::Table(table) = value.get_ref() else { return Err(self.mistyped(key, value, "a table")) };
        let name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        Ok(Self { document: self.document, name, table, known: Vec::new() })
    }

    fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { format!("`{key}`") } else { format!("`{key}` of [{}]", self.name) }
    }

    fn mistyped(&self, key: &str, value: Value<'_>, expected: &str) -> ConfigError {
        let found = value.get_ref().type_str();
        self.document.error(value.span(), format!("{}: expected {expected}, found {found}", self.path(key)))
    }

    /// Reads a value by `read`, which says what it expects if it is something else.
    fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value.get_ref()).map(Some).ok_or_else(|| self.mistyped(key, value, expected))
    }

    pub(crate) fn string(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        self.read(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(crate) fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        self.read(key, "true or false", |value| value.as_bool())
    }

    pub(crate) fn strings(&mut self, key: &'static str) -> Result<Vec<String>, ConfigError> {
        let read = |value: &DeValue<'_>| {
            value.as_array()?.iter().map(|one| one.get_ref().as_str().map(str::to_owned)).collect()
        };
        Ok(self.read(key, "a list of strings", read)?.unwrap_or_default())
    }

    /// Reads a string or a whole number as text, and makes something of it.
    pub(crate) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return Err(self.mistyped(key, value, "a string or a number")),
        };
        let wrong = |reason| self.document.error(value.span(), format!("{}: {reason}", self.path(key)));
        parse(text).map(Some).map_err(wrong)
    }

    /// Reads a whole number of at least `least`.
    pub(crate) fn number(&mut self, key: &'static str, least: u32) -> Result<Option<u32>, ConfigError> {
        let expected = format!("a number of at least {least}");
        self.read(key, &expected, |value| {
            let text = value.as_integer()?.as_str();
            text.parse().ok().filter(|number| *number >= least)
        })
    }

    pub(crate) fn section(&mut self, key: &'static str) -> Result<Option<Self>, ConfigError> {
        self.value(key).map(|value| self.nested(key, value)).transpose()
    }

    /// Reads a list of tables.
    pub(crate) fn sections(&mut self, key: &'static str) -> Result<Vec<Self>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let Some(list) = value.get_ref().as_array() else { return Err(self.mistyped(key, value, "a list of tables")) };
        list.iter().map(|one| self.nested(key, one)).collect()
    }

    /// Returns the tables of a table whose keys are names, such as those of registries.
    pub(crate) fn named_sections(&self) -> Result<Vec<(String, Self)>, ConfigError> {
        let nested = |(name, value): (&'a Spanned<_>, Value<'a>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            Ok((name.to_string(), self.nested(name, value)?))
        };
        self.table.iter().map(nested).collect()
    }

    /// Returns the strings of a table whose keys are names, such as labels.
    pub(crate) fn named_strings(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let read = |(name, value): (&'a Spanned<std::borrow::Cow<'a, str>>, Value<'a>)| {
            let text = value.get_ref().as_str().ok_or_else(|| self.mistyped(name.get_ref(), value, "a string"))?;
            Ok((name.get_ref().to_string(), text.to_owned()))
        };
        self.table.iter().map(read).collect()
    }

    /// Refuses a key that BuildKit's daemon knows, unless its value asks for nothing.
    pub(crate) fn refuse(&mut self, key: &'static str, reason: &str) -> Result<(), ConfigError> {
        let Some(value) = self.value(key) else { return Ok(()) };
        let nothing = match value.get_ref() {
            DeValue::String(text) => text.is_empty(),
            DeValue::Boolean(on) => !on,
            DeValue::Integer(number) => number.as_str() == "0",
            DeValue::Array(list) => list.is_empty(),
            DeValue::Table(table) => table.is_empty(),
            _ => false,
        };
        if nothing { Ok(()) } else { Err(self.wrong(key, format!("{} is not supported: {reason}", self.path(key)))) }
    }

    /// Takes a key that means nothing here, whatever its value.
    pub(crate) fn ignore(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// Says what is wrong with the value of a key.
    pub(crate) fn wrong(&self, key: &str, message: impl Into<String>) -> ConfigError {
        let found = self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key);
        let place = found.map_or(0..0, |(name, _)| name.span());
        self.document.error(place, message)
    }

    /// Refuses keys that nobody asked for.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        let Some((name, _)) = self.table.iter().find(|(name, _)| !self.known.contains(&name.get_ref().as_ref())) else {
            return Ok(());
        };
        let key: &str = name.get_ref();
        let same = |known: &&&str| known.eq_ignore_ascii_case(key);
        let near = self.known.iter().find(same).or_else(|| self.known.iter().find(|known| near(known, key)));
        let hint = near.map(|known| format!(": did you mean `{known}`?")).unwrap_or_default();
        Err(self.document.error(name.span(), format!("unknown key {}{hint}", self.path(key))))
    }
}

/// Whether two names differ by letters of the same kind only, or by one letter.
fn near(one: &str, other: &str) -> bool {
    let letters = |text: &str| -> Vec<u8> {
        text.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase()).collect()
    };
    let (one, other) = (letters(one), letters(other));
    let (short, long) = if one.len() <= other.len() { (&one, &other) } else { (&other, &one) };
    let same = short.iter().zip(long.iter()).take_while(|(a, b)| a == b).count();
    let tail = |skip_short: usize, skip_long: usize| short.get(same + skip_short..) == long.get(same + skip_long..);
    same == long.len() || long.len() - short.len() <= 1 && (tail(0, 1) || tail(1, 1))
}
