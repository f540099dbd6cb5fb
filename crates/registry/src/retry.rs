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

/// Reads a moment as headers write it: in the usual form, or in one of the two old ones
/// ([RFC 9110, 5.6.7](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7)).
pub(crate) fn http_date(text: &str) -> Option<OffsetDateTime> {
    let usual =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let asctime = format_description!(
        "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
    );
    let text = text.trim();
    let parsed = PrimitiveDateTime::parse(text, usual).or_else(|_| PrimitiveDateTime::parse(text, asctime));
    parsed.ok().or_else(|| rfc850_date(text)).map(PrimitiveDateTime::assume_utc)
}

/// Reads `Sunday, 06-Nov-94 08:49:37 GMT`, as of this century unless that is more than 50 years away.
fn rfc850_date(text: &str) -> Option<PrimitiveDateTime> {
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let (date, clock, zone) = (words.next()?, words.next()?, words.next()?);
    let mut parts = date.split('-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?.parse::<i32>().ok()?);
    if words.next().is_some() || parts.next().is_some() || !matches!(zone, "GMT" | "UTC") || !(0..100).contains(&year) {
        return None;
    }
    let latest = OffsetDateTime::now_utc().year() + 50;
    let year = if 2000 + year > latest { 1900 + year } else { 2000 + year };
    let form = format_description!("[day] [month repr:short] [year] [hour]:[minute]:[second]");
    PrimitiveDateTime::parse(&format!("{day} {month} {year} {clock}"), form).ok()
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
        check("Sunday, 06-Nov-94 08:49:37 GMT", None, Some(7));
        check("Sunday, 06-Nov-94 08:49:37 UTC", None, Some(7));
        check("Sun Nov  6 08:49:37 1994", None, Some(7));
        check("Sunday, 06-Nov-1994 08:49:37 GMT", None, None);
        check("Sunday, 06-Nov-94 08:49:37 CET", None, None);
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
