//! JSON objects that leave out fields with their default value.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// An object under construction.
#[derive(Debug, Default)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    /// Returns the object.
    pub(super) fn value(self) -> Value {
        Value::Object(self.0)
    }

    /// Adds a field, whatever its value.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// Adds a field if there is a value.
    pub(super) fn optional(self, name: &str, value: Option<Value>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(super) fn text(self, name: &str, text: &str) -> Self {
        self.optional(name, Some(text).filter(|text| !text.is_empty()).map(Value::from))
    }

    pub(super) fn flag(self, name: &str, flag: bool) -> Self {
        self.optional(name, flag.then_some(Value::Bool(true)))
    }

    /// Adds a number of at most 32 bits.
    pub(super) fn number(self, name: &str, number: impl Into<i64>) -> Self {
        let number = number.into();
        self.optional(name, (number != 0).then_some(Value::from(number)))
    }

    /// Adds a number of 64 bits.
    pub(super) fn long(self, name: &str, number: i64) -> Self {
        self.optional(name, (number != 0).then(|| long(number)))
    }

    pub(super) fn bytes(self, name: &str, bytes: &[u8]) -> Self {
        self.text(name, &STANDARD.encode(bytes))
    }

    /// Adds one of several words; `names` are those of 0, 1 and so on, of which the first is the default.
    pub(super) fn choice(self, name: &str, number: i32, names: &[&str]) -> Self {
        match usize::try_from(number).ok().and_then(|number| names.get(number)) {
            Some(_) if number == 0 => self,
            Some(word) => self.text(name, word),
            None => self.number(name, number),
        }
    }

    pub(super) fn list(self, name: &str, values: impl IntoIterator<Item = Value>) -> Self {
        let values: Vec<Value> = values.into_iter().collect();
        self.optional(name, (!values.is_empty()).then_some(Value::Array(values)))
    }

    pub(super) fn words(self, name: &str, words: &[String]) -> Self {
        self.list(name, words.iter().map(|word| Value::from(word.as_str())))
    }

    pub(super) fn map(self, name: &str, values: impl IntoIterator<Item = (String, Value)>) -> Self {
        let values: Map<String, Value> = values.into_iter().collect();
        self.optional(name, (!values.is_empty()).then_some(Value::Object(values)))
    }

    pub(super) fn texts(self, name: &str, texts: &BTreeMap<String, String>) -> Self {
        self.map(name, texts.iter().map(|(key, text)| (key.clone(), Value::from(text.as_str()))))
    }
}

/// Returns a number of 64 bits, which JSON cannot be trusted with.
pub(super) fn long(number: i64) -> Value {
    Value::from(number.to_string())
}

/// Returns bytes as a text.
pub(super) fn base64(bytes: &[u8]) -> Value {
    Value::from(STANDARD.encode(bytes))
}
