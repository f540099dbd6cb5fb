//! JSON as registries and Go programs exchange it: strict to read, canonical to write.
//!
//! Reading refuses what two parsers could understand differently (security lesson X28): more than
//! [`MAX_DOCUMENT`] bytes, nesting deeper than 128, keys given twice, keys that differ only in case
//! where Go would fold them, text after the document, bytes that are not UTF-8. Writing gives the
//! bytes that Go's `encoding/json` gives, so that equal images get equal digests: `<`, `>`, `&`,
//! U+2028 and U+2029 are escaped inside strings.

use std::collections::HashSet;
use std::fmt;
use std::io;

use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};

/// The largest manifest, index or configuration that is read, in bytes.
pub const MAX_DOCUMENT: usize = 8 << 20;

/// Objects whose keys are free text, so that keys may differ only in case.
const FREE_KEYS: [&str; 4] = ["annotations", "Labels", "ExposedPorts", "Volumes"];

/// Why a document is not read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The document is larger than [`MAX_DOCUMENT`].
    #[error("document of {0} bytes is larger than the limit of {MAX_DOCUMENT} bytes")]
    TooLarge(usize),
    /// The text is not JSON, is ambiguous, or has another shape than expected.
    #[error("invalid document")]
    Invalid(#[source] serde_json::Error),
}

/// Reads one document, strictly.
///
/// # Errors
/// See the module's description.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    check(bytes)?;
    serde_json::from_slice(bytes).map_err(JsonError::Invalid)
}

/// Checks that `bytes` are one unambiguous document, whatever its shape.
///
/// # Errors
/// See the module's description.
pub fn check(bytes: &[u8]) -> Result<(), JsonError> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(JsonError::TooLarge(bytes.len()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let strict = Strict { free_keys: false };
    strict.deserialize(&mut deserializer).map_err(JsonError::Invalid)?;
    deserializer.end().map_err(JsonError::Invalid)
}

/// Writes `value` without white space, as Go's `json.Marshal` does.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(value, GoFormatter(CompactFormatter))
}

/// Writes `value` indented by two spaces, as Go's `json.MarshalIndent` does.
pub fn to_vec_indented<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(value, GoFormatter(PrettyFormatter::with_indent(b"  ")))
}

fn write<T: Serialize + ?Sized, F: Formatter>(value: &T, formatter: F) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
        .expect("the formats' types have string keys only, and memory takes every write");
    out
}

/// Walks a document and refuses repeated keys.
#[derive(Clone, Copy)]
struct Strict {
    /// Whether the keys of the object at hand are free text.
    free_keys: bool,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self { free_keys: false })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            let free_keys = FREE_KEYS.contains(&key.as_str());
            let folded = if self.free_keys { key.clone() } else { key.to_lowercase() };
            if !seen.insert(folded) {
                let shown: String = key.chars().take(100).collect();
                return Err(serde::de::Error::custom(format!("key `{shown}` is given twice")));
            }
            entries.next_value_seed(Self { free_keys })?;
        }
        Ok(())
    }
}

/// Go's string escapes upon another formatter's white space.
struct GoFormatter<F>(F);

impl<F: Formatter> Formatter for GoFormatter<F> {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, special) = rest.split_at(at);
            let escaped = special.chars().next().expect("find gives the start of a character");
            write!(out, "{plain}\\u{:04x}", u32::from(escaped))?;
            rest = &special[escaped.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(out, escape)
    }

    fn begin_array<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn writes_as_go_does() {
        let value = json!({"b": "<a> & \u{2028}\u{2029}\u{1}\u{8}\u{7f}é\"\\", "a": [], "c": {}});
        let want = "{\"b\":\"\\u003ca\\u003e \\u0026 \\u2028\\u2029\\u0001\\b\u{7f}é\\\"\\\\\",\"a\":[],\"c\":{}}";
        assert_eq!(String::from_utf8(to_vec(&value)).unwrap(), want);
        let indented = String::from_utf8(to_vec_indented(&json!({"a": [1, {}], "b": []}))).unwrap();
        assert_eq!(indented, "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
    }

    #[test]
    fn refuses_what_two_parsers_read_differently() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let large = format!("\"{}\"", "x".repeat(MAX_DOCUMENT));
        let bad: [&[u8]; 9] = [
            br#"{"a":1,"a":2}"#,
            br#"{"layers":[],"Layers":[]}"#,
            br#"[{"x":{"a":1,"b":[],"a":2}}]"#,
            br#"{"a":1} {"#,
            br#"{"a":"\ud800"}"#,
            b"{\"a\":\"\xff\"}",
            b"",
            deep.as_bytes(),
            large.as_bytes(),
        ];
        for text in bad {
            assert!(from_slice::<Value>(text).is_err(), "{:?}", String::from_utf8_lossy(&text[..text.len().min(60)]));
        }
        let good: [&[u8]; 3] =
            [br#"{"a":1,"b":{"a":2}}"#, br#"{"Labels":{"a":"","A":""}}"#, br#" [null, true, 1.5, -1] "#];
        for text in good {
            from_slice::<Value>(text).unwrap();
        }
    }
}
