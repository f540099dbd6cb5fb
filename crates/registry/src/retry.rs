//! When to try again, and how long to wait before.

use std::time::{Duration, SystemTime};

use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::options::Timing;

/// Whether an answer of this status may be different a moment later.
pub fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// Returns the wait after the `failures`-th failure in a row (counted from 1); `jitter` is a number
/// from 0 to 1 that spreads clients which failed together.
pub fn wait(timing: &Timing, failures: u32, jitter: f64) -> Duration {
    let doubled = timing.first_wait.saturating_mul(1 << (failures.max(1) - 1).min(16));
    doubled.min(timing.longest_wait).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 4.0)
}

/// Reads `Retry-After`: seconds, or a date that is compared with the answer's own `Date` if it has
/// one, since the two clocks may differ by years.
pub fn retry_after(header: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(header)?;
    let from = date.and_then(http_date).unwrap_or_else(|| OffsetDateTime::from(now));
    Some(Duration::try_from(until - from).unwrap_or_default())
}

/// Reads a moment as headers write it.
pub(crate) fn http_date(text: &str) -> Option<OffsetDateTime> {
    let form =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    PrimitiveDateTime::parse(text.trim(), form).ok().map(PrimitiveDateTime::assume_utc)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, date: Option<&str>, want: Option<u64>) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(retry_after(header, date, now), want.map(Duration::from_secs), "{header}");
    }

    #[test]
    fn reads_seconds_and_dates() {
        check("3", None, Some(3));
        check(" 86400 ", None, Some(86400));
        check("Sun, 06 Nov 1994 08:49:37 GMT", None, Some(7));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some("Sun, 06 Nov 1994 08:49:34 GMT"), Some(3));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some("Mon, 07 Nov 1994 08:49:34 GMT"), Some(0));
        check("soon", None, None);
        check("-1", None, None);
    }

    #[test]
    fn waits_grow_to_a_limit() {
        let timing = Timing::default();
        let waits: Vec<_> = (1..=7).map(|n| wait(&timing, n, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(wait(&timing, 1, 1.0), Duration::from_millis(1250));
        assert_eq!(wait(&timing, u32::MAX, 0.0), timing.longest_wait);
    }
}
