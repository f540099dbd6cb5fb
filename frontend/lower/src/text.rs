//! Values as BuildKit writes them into an image's history: the format is part of what tools compare.

use std::time::Duration;

use rbuild_dockerfile::literal::quote;
use rbuild_oci::{HealthConfig, Platform};

/// Writes words as `[a b]`.
pub(crate) fn list<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    format!("[{}]", words.join(" "))
}

/// Writes words as `["a" "b"]`.
pub(crate) fn quoted_list(words: &[String]) -> String {
    list(&words.iter().map(|word| quote(word)).collect::<Vec<_>>())
}

/// Writes a health check.
pub(crate) fn health(check: &HealthConfig) -> String {
    let time = |nanoseconds: i64| duration(Duration::from_nanos(nanoseconds.unsigned_abs()));
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        list(&check.test),
        time(check.interval),
        time(check.timeout),
        time(check.start_period),
        time(check.start_interval),
        check.retries
    )
}

/// Writes a duration as `1h0m0s`, `1.5s` or `20ms`.
fn duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let unit = |size: u128, name: &str| {
        let digits = size.ilog10() as usize;
        let fraction = format!("{:0digits$}", nanoseconds % size);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() || digits == 0 { "" } else { "." };
        let fraction = if digits == 0 { "" } else { fraction };
        format!("{}{point}{fraction}{name}", nanoseconds / size)
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => unit(1, "ns"),
        1_000..1_000_000 => unit(1_000, "µs"),
        1_000_000..1_000_000_000 => unit(1_000_000, "ms"),
        _ => {
            let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
            let rest = Duration::new(seconds, duration.subsec_nanos()).as_nanos();
            let fraction = format!("{:09}", rest % 1_000_000_000);
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}{point}{fraction}s"),
                (0, minutes) => format!("{minutes}m{seconds}{point}{fraction}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}{point}{fraction}s"),
            }
        }
    }
}

/// Writes a platform with its version: `windows(10.0.1)/amd64`.
pub fn platform_with_version(platform: &Platform) -> String {
    match &platform.os_version {
        Some(version) => format!("{}({version}){}", platform.os, &platform.to_string()[platform.os.len()..]),
        None => platform.to_string(),
    }
}

/// Writes seconds since 1970 as RFC 3339.
pub(crate) fn timestamp(seconds: i64) -> Option<String> {
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    time.format(&time::format_description::well_known::Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h002_durations() {
        for (nanoseconds, expect) in [
            (0, "0s"),
            (5, "5ns"),
            (1_500, "1.5µs"),
            (20_000_000, "20ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_250_000_000, "1h1m1.25s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanoseconds)), expect);
        }
    }

    #[test]
    fn h002_lists() {
        assert_eq!(quoted_list(&["a".to_owned(), "b \"c\"\n".to_owned()]), r#"["a" "b \"c\"\n"]"#);
        assert_eq!(list(&["/a", "/b"]), "[/a /b]");
    }

    #[test]
    fn a009_platform_with_version() {
        let mut platform = Platform::new("windows", "amd64", None);
        platform.os_version = Some("10.0.1".to_owned());
        assert_eq!(platform_with_version(&platform), "windows(10.0.1)/amd64");
    }

    #[test]
    fn o010_timestamps() {
        assert_eq!(timestamp(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(timestamp(i64::MAX), None);
    }
}
