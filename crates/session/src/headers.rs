//! Values of request headers: plain text where it can be, else escaped and marked so.

use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

/// The end of the name of a header that says whether another one is escaped.
const ENCODED: &str = "-encoded";

/// Adds values under a name; if one of them is not plain ASCII all are escaped, and a second header says so.
pub(crate) fn append(map: &mut MetadataMap, name: &str, values: &[String]) {
    let plain = values.iter().all(|value| value.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    for value in values {
        let text = if plain { value.clone() } else { escape(value) };
        insert(map, name, &text);
    }
    if !plain {
        insert(map, &format!("{name}{ENCODED}"), "1");
    }
}

fn insert(map: &mut MetadataMap, name: &str, value: &str) {
    let name: Result<MetadataKey<Ascii>, _> = name.to_ascii_lowercase().parse();
    let value: Result<MetadataValue<Ascii>, _> = value.parse();
    // Names that are no header, such as those of some exporter metadata, cannot be said at all.
    if let (Ok(name), Ok(value)) = (name, value) {
        map.append(name, value);
    }
}

/// Returns the values under a name, unescaped if they are marked.
pub(crate) fn values(map: &MetadataMap, name: &str) -> Vec<String> {
    let marked = map.get(format!("{name}{ENCODED}")).and_then(|value| value.to_str().ok());
    let escaped = matches!(marked, Some("1" | "t" | "T" | "true" | "TRUE" | "True"));
    let all = map.get_all(name).iter().filter_map(|value| value.to_str().ok());
    all.map(|value| if escaped { unescape(value) } else { value.to_owned() }).collect()
}

/// Returns the first value under a name.
pub(crate) fn value(map: &MetadataMap, name: &str) -> Option<String> {
    values(map, name).into_iter().next()
}

/// Escapes as Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Takes back [`escape`]; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, digits) {
            (b'%', Some(escaped)) => {
                plain.push(escaped);
                at += 2;
            }
            (b'+', _) => plain.push(b' '),
            _ => plain.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values_in: &[&str], raw: &[&str], encoded: bool) {
        let texts: Vec<String> = values_in.iter().map(|value| (*value).to_owned()).collect();
        let mut map = MetadataMap::new();
        append(&mut map, "followpaths", &texts);
        let sent: Vec<_> = map.get_all("followpaths").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(sent, raw);
        assert_eq!(map.contains_key("followpaths-encoded"), encoded);
        assert_eq!(values(&map, "followpaths"), texts);
    }

    #[test]
    fn values_are_escaped_only_if_one_needs_it() {
        check(&[], &[], false);
        check(&["a b", "50%+/x"], &["a b", "50%+/x"], false);
        check(&["grün", "a b+c"], &["gr%C3%BCn", "a+b%2Bc"], true);
        check(&["tab\there"], &["tab%09here"], true);
    }
}
