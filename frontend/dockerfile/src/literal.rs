//! The small literal formats of flags and options: booleans, durations, sizes, numbers, quoted text.
//!
//! They are the formats of Go's standard library, because that is what Dockerfiles are written for.

use std::time::Duration;

/// Reads a boolean: `1 t T TRUE true True` and `0 f F FALSE false False`.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Returns `text` in double quotes with everything escaped that would not print.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if crate::render::is_unsafe(c) => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Reads a duration such as `1h30m`, `1.5s` or `-2ms`; gives nanoseconds, or the reason why not.
pub fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (integer, tail) = rest.split_at(whole);
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => tail.split_at(tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len())),
            None => ("", tail),
        };
        if integer.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let (unit, tail) = tail.split_at(tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len()));
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text))),
        };
        let integer: i128 = if integer.is_empty() { 0 } else { integer.parse().map_err(|_| invalid())? };
        total = integer.checked_mul(scale).and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
        let digits = &fraction[..fraction.len().min(18)];
        if !digits.is_empty() {
            let value: i128 = digits.parse().map_err(|_| invalid())?;
            total += value * scale / 10_i128.pow(u32::try_from(digits.len()).unwrap_or(18));
        }
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// Reads a flag that holds a duration of at least a millisecond; empty and zero mean not given.
pub(crate) fn interval(flag: &str, text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Ok(Duration::ZERO);
    }
    match duration(text)? {
        0 => Ok(Duration::ZERO),
        nanoseconds if nanoseconds < 1_000_000 => Err(format!("Interval {} cannot be less than 1ms", quote(flag))),
        nanoseconds => Ok(Duration::from_nanos(nanoseconds.unsigned_abs())),
    }
}

/// Reads an amount of memory such as `64m`, `1.5 GiB` or `100b` in bytes.
pub fn memory_size(text: &str) -> Option<i64> {
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')?;
    let number = if text.as_bytes()[last] == b' ' { &text[..last] } else { &text[..=last] };
    if !number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return None;
    }
    let size: f64 = number.parse().ok()?;
    if size < 0.0 {
        return None;
    }
    let scale = match text[last + 1..].to_ascii_lowercase().as_str() {
        "" | "b" => 1_u64,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        "p" | "pb" | "pib" => 1 << 50,
        _ => return None,
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    Some((size * scale as f64) as i64)
}

/// Reads an unsigned number of 32 bits in `radix`, digits only.
pub fn number(text: &str, radix: u32) -> Option<u32> {
    if text.is_empty() || !text.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(text, radix).ok()
}

/// Reads a signed number of 32 bits; gives the reason why not.
pub fn integer(text: &str) -> Result<i32, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let reason = if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        "invalid syntax"
    } else {
        match text.parse() {
            Ok(number) => return Ok(number),
            Err(_) => "value out of range",
        }
    };
    Err(format!("strconv.ParseInt: parsing {}: {reason}", quote(text)))
}
