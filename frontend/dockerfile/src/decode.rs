//! Bytes to text.

use crate::diagnostic::{Diagnostic, Phase};
use crate::source::{Lines, Place, Span};
use std::borrow::Cow;

/// Decodes the bytes of a Dockerfile, which must be UTF-8.
///
/// Comments may hold anything: bytes in them that are no UTF-8 become U+FFFD.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Box<Diagnostic>> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(failure(bytes, 0, "dockerfile is UTF-16 text; it must be UTF-8 text"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) => lossy_comments(bytes).map(Cow::Owned),
    }
}

fn lossy_comments(bytes: &[u8]) -> Result<String, Box<Diagnostic>> {
    let mut text = String::with_capacity(bytes.len() + 16);
    let mut start = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) if line.trim_ascii_start().starts_with(b"#") => text.push_str(&String::from_utf8_lossy(line)),
            Err(error) => {
                let message = "dockerfile contains bytes that are not UTF-8; it must be UTF-8 text";
                return Err(failure(bytes, start + error.valid_up_to(), message));
            }
        }
        start += line.len();
    }
    Ok(text)
}

fn failure(bytes: &[u8], at: usize, message: &str) -> Box<Diagnostic> {
    let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let lines = Lines::single(u32::try_from(line).unwrap_or(u32::MAX));
    Box::new(Diagnostic::error(Phase::Parse, Place { span: Span::new(at, at), lines }, message))
}
