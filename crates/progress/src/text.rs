//! Foreign text made fit for one line of a screen, and numbers as people read them.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// Returns text without anything that a terminal would obey.
///
/// Colour changes are dropped, tabs become spaces, other control characters and changes of writing
/// direction become visible escapes, bytes that are no UTF-8 become `\xNN`.
pub(crate) fn clean(bytes: &[u8]) -> String {
    let mut clean = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(c) = rest.chars().next() {
            if let Some(length) = color_change(rest) {
                rest = &rest[length..];
                continue;
            }
            rest = &rest[c.len_utf8()..];
            match c {
                '\t' => clean.push_str("    "),
                c if c.is_control() || is_direction(c) => clean.extend(c.escape_default()),
                c => clean.push(c),
            }
        }
        for byte in chunk.invalid() {
            write!(clean, "\\x{byte:02x}").expect("a String takes everything");
        }
    }
    clean
}

/// Returns the length of a colour change (`ESC [ … m`) at the start of `text`.
fn color_change(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(end + 3)
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns what a person saw last of a line that returned to its start, as progress bars do.
pub(crate) fn last_return(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line)
}

/// Returns how many columns a character takes.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200d | 0xfe00..=0xfe0f | 0x20d0..=0x20ff => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Returns how many columns a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// Returns as much of a text as fits, with `…` if that is not all.
pub(crate) fn fit(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut fitted = String::new();
    let mut left = most.saturating_sub(1);
    for c in text.chars() {
        if columns(c) > left {
            break;
        }
        left -= columns(c);
        fitted.push(c);
    }
    if most > 0 {
        fitted.push('…');
    }
    fitted
}

/// Returns a number of bytes as docker writes it: `512B`, `1.05MB`.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut value = count as f64;
    let mut unit = 0;
    // What would be shown as 1000.00 is one of the next unit.
    while value >= 999.995 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count}B") } else { format!("{value:.2}{}", units[unit]) }
}

/// Returns the time between two moments; none if the clock went backwards.
pub(crate) fn between(from: SystemTime, until: SystemTime) -> Duration {
    until.duration_since(from).unwrap_or_default()
}

/// Returns a duration in seconds with one digit: `0.1s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// Returns a duration in seconds in five characters, as BuildKit stamps log lines: `0.123`, `12.34`.
pub(crate) fn stamp(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let digits = match duration.as_secs() {
        0..10 => 3,
        10..100 => 2,
        100..1000 => 1,
        _ => 0,
    };
    format!("{seconds:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_terminal_obeys_survives() {
        let check = |bytes: &[u8], want: &str| {
            let got = clean(bytes);
            assert_eq!(got, want);
            assert!(!got.contains(char::is_control));
        };
        check(b"plain \xc3\xa4", "plain ä");
        check(b"\x1b[31mred\x1b[0m\x1b[m", "red");
        check(b"\x1b[2Jgone\x1b]0;title\x07", "\\u{1b}[2Jgone\\u{1b}]0;title\\u{7}");
        check(b"\x1b[", "\\u{1b}[");
        check(b"\xff\x9b31m", "\\xff\\x9b31m");
        check("\u{9b}31m".as_bytes(), "\\u{9b}31m");
        check(b"a\tb\rc", "a    b\\rc");
        check("\u{202e}evil".as_bytes(), "\\u{202e}evil");
    }

    #[test]
    fn fits_by_columns() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!((fit("ab", 1), fit("ab", 0)), ("…".into(), String::new()));
    }

    #[test]
    fn numbers_read_well() {
        let got: Vec<_> = [0, 999, 1000, 32_123, 999_999, 1_050_000, 5_368_709_120].map(bytes).into();
        assert_eq!(got, ["0B", "999B", "1.00kB", "32.12kB", "1.00MB", "1.05MB", "5.37GB"]);
        let stamps: Vec<_> =
            [0.0, 0.12345, 1.5, 12.345, 123.45, 1234.0].map(|s| stamp(Duration::from_secs_f64(s))).into();
        assert_eq!(stamps, ["0.000", "0.123", "1.500", "12.35", "123.5", "1234"]);
        assert_eq!(last_return(b"10%\r20%\r"), b"20%");
        assert_eq!(last_return(b"line"), b"line");
    }
}
