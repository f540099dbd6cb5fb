//! PAX records: `length key=value\n`.

use std::collections::BTreeMap;

use crate::entry::Time;

/// Records by key; written sorted, read with the last one winning.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// The prefix of records that hold extended attributes.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";
pub(super) const SPARSE_MAP: &[u8] = b"GNU.sparse.map";

/// Returns the records of an extended header, or what is wrong with it.
///
/// The pairs of sparse format 0.0, which repeat their keys, are gathered into the map of format 0.1.
pub(super) fn parse(mut text: &[u8]) -> Result<Records, &'static str> {
    let mut records = Records::new();
    let mut sparse: Vec<&[u8]> = Vec::new();
    while !text.is_empty() {
        let (key, value, rest) = parse_record(text)?;
        text = rest;
        let wanted = if sparse.len().is_multiple_of(2) { &b"GNU.sparse.offset"[..] } else { b"GNU.sparse.numbytes" };
        if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
            if key != wanted || value.contains(&b',') {
                return Err("sparse records out of order");
            }
            sparse.push(value);
        } else {
            records.insert(key.to_vec(), value.to_vec());
        }
    }
    if !sparse.is_empty() {
        records.insert(SPARSE_MAP.to_vec(), sparse.join(&b','));
    }
    Ok(records)
}

/// Returns key, value and what follows the record.
#[expect(clippy::type_complexity, reason = "three slices of one text")]
fn parse_record(text: &[u8]) -> Result<(&[u8], &[u8], &[u8]), &'static str> {
    const BAD: &str = "malformed extended header record";
    let space = text.iter().take(24).position(|b| *b == b' ').ok_or(BAD)?;
    let length = integer(&text[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(BAD)?;
    if length < 5 || length > text.len() || length < space + 2 {
        return Err(BAD);
    }
    let (record, rest) = text.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n").ok_or(BAD)?;
    let equals = record.iter().position(|b| *b == b'=').ok_or(BAD)?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    if !is_valid(key, value) {
        return Err("an extended header record holds a NUL or has no key");
    }
    Ok((key, value, rest))
}

/// Returns whether a record can be read back as it was written.
pub(super) fn is_valid(key: &[u8], value: &[u8]) -> bool {
    let nul = match key {
        b"path" | b"linkpath" | b"uname" | b"gname" => value.contains(&0),
        _ => key.contains(&0),
    };
    !key.is_empty() && !key.contains(&b'=') && !nul
}

/// Returns a decimal integer with an optional sign.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Returns a time in decimal seconds.
pub(super) fn time(text: &[u8]) -> Option<Time> {
    let dot = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let (whole, fraction) = (&text[..dot], text.get(dot + 1..).unwrap_or_default());
    let seconds = integer(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    if whole.starts_with(b"-") && nanoseconds > 0 {
        return Some(Time { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Time { seconds, nanoseconds })
}

/// Returns the text of an extended header.
pub(super) fn format(records: &Records) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let mut length = body + digits(body);
        // The length counts its own digits.
        if body + digits(length) > length {
            length += 1;
        }
        text.extend_from_slice(length.to_string().as_bytes());
        text.push(b' ');
        text.extend_from_slice(key);
        text.push(b'=');
        text.extend_from_slice(value);
        text.push(b'\n');
    }
    text
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_time(text: &str, expect: Option<(i64, u32)>) {
        let expect = expect.map(|(seconds, nanoseconds)| Time { seconds, nanoseconds });
        assert_eq!(time(text.as_bytes()), expect, "{text}");
    }

    #[test]
    fn times() {
        check_time("1350244992.023960108", Some((1_350_244_992, 23_960_108)));
        check_time("1350244992.02396010899", Some((1_350_244_992, 23_960_108)));
        check_time("1", Some((1, 0)));
        check_time("1.", Some((1, 0)));
        check_time("-1.5", Some((-2, 500_000_000)));
        check_time(".5", None);
        check_time("1.5x", None);
        check_time("", None);
    }

    #[test]
    fn records_read_back() {
        for size in [0, 1, 90, 91, 92, 93, 94, 95, 989, 990, 991, 992, 993] {
            let mut records = Records::new();
            records.insert(b"path".to_vec(), vec![b'x'; size]);
            records.insert(b"SCHILY.xattr.user.b".to_vec(), b"a\0=\n".to_vec());
            assert_eq!(parse(&format(&records)).unwrap(), records);
        }
    }

    #[test]
    fn bad_records_are_refused() {
        let bad: [&[u8]; 10] = [
            b"6 k=1",
            b"7 k=1\n",
            b"5 k=\n6 k=1x",
            b"-1 k=1\n",
            b"0 k=1\n",
            b"6 =11\n",
            b"12 path=a\0bc\n",
            b"6 k1 \n",
            b"99999999999999999999 k=1\n",
            b"25 GNU.sparse.numbytes=1\n",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{}", text.escape_ascii());
        }
    }
}
