//! Paths as serde values: text where they are UTF-8, hexadecimal after a NUL where they are not.
//!
//! A path cannot hold NUL, so the two forms cannot be confused.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&encode(path))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    decode(&String::deserialize(from)?).ok_or_else(|| D::Error::custom("a path is damaged"))
}

fn encode(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => format!("\0{}", to_hex(path.as_os_str().as_bytes())),
    }
}

fn decode(text: &str) -> Option<PathBuf> {
    match text.strip_prefix('\0') {
        None => Some(PathBuf::from(text)),
        Some(digits) => Some(PathBuf::from(OsStr::from_bytes(&from_hex(digits)?))),
    }
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut pairs = text.as_bytes().chunks_exact(2);
    let bytes: Option<Vec<u8>> =
        pairs.by_ref().map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)).collect();
    bytes.filter(|_| pairs.remainder().is_empty())
}

/// Lists of paths.
pub(crate) mod list {
    use super::*;
    use serde::ser::SerializeSeq;

    pub(crate) fn serialize<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
        let mut sequence = to.serialize_seq(Some(paths.len()))?;
        for path in paths {
            sequence.serialize_element(&encode(path))?;
        }
        sequence.end()
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let paths: Option<Vec<PathBuf>> = texts.iter().map(|text| decode(text)).collect();
        paths.ok_or_else(|| D::Error::custom("a path is damaged"))
    }
}

/// Bytes as hexadecimal text.
pub(crate) mod hex {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&to_hex(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from_hex(&String::deserialize(from)?).ok_or_else(|| D::Error::custom("bytes are damaged"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive() {
        for bytes in [&b"/a/b"[..], b"/a:b,c\\d", b"/\xff\x01\n", "/ü".as_bytes(), b""] {
            let path = PathBuf::from(OsStr::from_bytes(bytes));
            assert_eq!(decode(&encode(&path)), Some(path));
        }
        assert_eq!(decode("\0abc"), None);
        assert_eq!(decode("\0zz"), None);
    }
}
