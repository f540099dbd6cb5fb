//! Amounts of disk and of time, as BuildKit's configuration spells them.

use std::time::Duration;

/// An amount of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Bytes.
    Bytes(u64),
    /// Hundredths of the disk that the store lies on.
    Percent(u64),
}

/// What hundredths of an unknown disk are.
const UNKNOWN_DISK: u64 = 2_000_000_000;

impl Space {
    /// Parses a number of bytes, with a unit perhaps (`512MB`; units are powers of 1024), or hundredths (`10%`).
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid disk space `{text}`: expected such as 512MB or 10%");
        if let Some(number) = text.strip_suffix('%') {
            return number.trim().parse().ok().filter(|n| *n <= 100).map(Self::Percent).ok_or_else(invalid);
        }
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let unit = unit.trim().to_ascii_lowercase();
        let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            "p" => 50,
            _ => return Err(invalid()),
        };
        let bytes = number * (1u64 << shift) as f64;
        if (0.0..9e18).contains(&bytes) { Ok(Self::Bytes(bytes as u64)) } else { Err(invalid()) }
    }

    /// Returns the bytes on a disk of `total` bytes; hundredths are rounded up to gigabytes, as BuildKit does.
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(0) => 0,
            Self::Percent(_) if total == 0 => UNKNOWN_DISK,
            Self::Percent(percent) => {
                let part = u128::from(total) * u128::from(percent) / 100;
                u64::try_from((part >> 30) + 1).unwrap_or(u64::MAX).saturating_mul(1_000_000_000)
            }
        }
    }
}

/// Parses a duration of Go's (`48h`, `1h30m`), or a number of seconds.
///
/// # Errors
/// If it is neither.
pub fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration `{text}`: expected such as 48h or a number of seconds");
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let (mut total, mut rest) = (0.0, text);
    if text.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        total += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(invalid()),
            };
        rest = tail;
    }
    Duration::try_from_secs_f64(total).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces() {
        for (text, space) in [
            ("1024", Space::Bytes(1024)),
            ("512MB", Space::Bytes(512 << 20)),
            ("1.5GiB", Space::Bytes(3 << 29)),
            ("10%", Space::Percent(10)),
            ("0", Space::Bytes(0)),
        ] {
            assert_eq!(Space::parse(text), Ok(space), "{text}");
        }
        for text in ["", "x", "-1", "101%", "%", "1XB", "1e99"] {
            assert!(Space::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hundredths_are_rounded_up_to_gigabytes() {
        assert_eq!(Space::Percent(10).bytes(100 << 30), 11_000_000_000);
        assert_eq!(Space::Percent(50).bytes(0), UNKNOWN_DISK);
        assert_eq!(Space::Percent(0).bytes(100 << 30), 0);
        assert_eq!(Space::Percent(100).bytes(u64::MAX), 17_179_869_184_000_000_000);
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("172800", 172_800), ("48h", 172_800), ("1h30m", 5400), ("0", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        for text in ["", "h", "1d", "-1h", "1.2.3s", "9e99h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
