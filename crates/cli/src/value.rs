//! Values of flags: sizes, key-value lists, mounts and outputs, with docker's spellings.

use std::collections::BTreeMap;

/// Parses a size such as `512m`, `1.5GiB` or `1024`; units are powers of 1024, as docker's
/// `RAMInBytes` has them.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let invalid = || format!("invalid size `{text}`: expected a number and a unit, such as 512m or 2g");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
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
    if !(0.0..9e18).contains(&bytes) {
        return Err(invalid());
    }
    Ok(bytes as u64)
}

/// Parses a limit of memory and swap: a size, or -1 for none.
pub(crate) fn memory_swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { size(text).map(|bytes| bytes as i64) }
}

/// Parses a list of numbers and ranges such as `0-3,5`.
pub(crate) fn number_list(text: &str) -> Result<String, String> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
    let valid = |part: &str| match part.split_once('-') {
        Some((first, last)) => matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last),
        None => number(part).is_some(),
    };
    if text.split(',').all(valid) {
        return Ok(text.to_owned());
    }
    Err(format!("invalid list `{text}`: expected numbers and ranges, such as 0-3,5"))
}

/// Parses `KEY=VALUE`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("invalid value `{text}`: expected KEY=VALUE")),
    }
}

/// Parses `KEY=VALUE`, or `KEY` alone, whose value is the caller's environment's.
pub(crate) fn key_maybe_value(text: &str) -> Result<(String, Option<String>), String> {
    match text.split_once('=') {
        Some(("", _)) => Err(format!("invalid value `{text}`: the name is empty")),
        Some((key, value)) => Ok((key.to_owned(), Some(value.to_owned()))),
        None if text.is_empty() => Err("the name is empty".to_owned()),
        None => Ok((text.to_owned(), None)),
    }
}

/// Splits one line of comma-separated values; a field may stand in double quotes.
pub(crate) fn csv(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(format!("a quote is not closed in `{text}`"));
    }
    fields.push(field);
    Ok(fields)
}

/// Parses `key=value,key=value,flag`; a key without `=` gets an empty value.
pub(crate) fn attributes(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut attributes = BTreeMap::new();
    for field in csv(text)? {
        let (key, value) = field.split_once('=').unwrap_or((field.as_str(), ""));
        let key = key.trim().to_ascii_lowercase();
        if key.is_empty() {
            return Err(format!("an empty field in `{text}`"));
        }
        attributes.insert(key, value.to_owned());
    }
    Ok(attributes)
}

/// Parses `HOST:ADDRESS` or `HOST=ADDRESS`; the address may stand in brackets.
pub(crate) fn add_host(text: &str) -> Result<(String, String), String> {
    let separator = text.find('=').or_else(|| text.find(':'));
    let Some((host, address)) = separator.map(|at| (&text[..at], &text[at + 1..])) else {
        return Err(format!("bad format for add-host: `{text}`: expected HOST:IP"));
    };
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let known = address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
    if host.is_empty() || !known {
        return Err(format!("invalid IP address in add-host: `{address}`"));
    }
    // What else stands in a line of the hosts file would be read as something else.
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.len() > 253 || !host.bytes().all(fine) {
        return Err(format!("invalid name in add-host: `{}`", host.escape_debug()));
    }
    Ok((host.to_owned(), address.to_owned()))
}

/// Parses `NAME=SOFT[:HARD]`.
pub(crate) fn ulimit(text: &str) -> Result<rbuild_build::Ulimit, String> {
    let invalid = || format!("invalid ulimit argument: `{text}`: expected NAME=SOFT[:HARD]");
    const NAMES: &[&str] = &[
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let (name, values) = text.split_once('=').ok_or_else(invalid)?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: `{name}`: one of {}", NAMES.join(", ")));
    }
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let soft: i64 = soft.parse().map_err(|_| invalid())?;
    let hard: i64 = hard.parse().map_err(|_| invalid())?;
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(rbuild_build::Ulimit { name: name.to_owned(), soft, hard })
}

/// Parses a number of CPUs such as `1.5`.
pub(crate) fn cpus(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cpus) if cpus > 0.0 && cpus < 1e6 => Ok(cpus),
        _ => Err(format!("invalid number of CPUs `{text}`: expected a number such as 1.5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1024", 1024),
            ("1k", 1024),
            ("64M", 64 << 20),
            ("1.5g", 3 << 29),
            ("2GiB", 2 << 30),
            ("10 mb", 10 << 20),
            ("0", 0),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "x", "-1", "1x", "1e9g", "99999999999g"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn attributes_may_be_quoted() {
        let parsed = attributes(r#"type=local,"dest=a,b",tar"#).unwrap();
        assert_eq!(parsed["dest"], "a,b");
        assert_eq!(parsed["tar"], "");
        assert!(attributes(r#"a="b"#).is_ok());
        assert!(attributes(r#""a=b"#).is_err());
    }

    #[test]
    fn hosts() {
        assert_eq!(add_host("a:1.2.3.4"), Ok(("a".into(), "1.2.3.4".into())));
        assert_eq!(add_host("a=[::1]"), Ok(("a".into(), "::1".into())));
        assert_eq!(add_host("a:::1"), Ok(("a".into(), "::1".into())));
        assert!(add_host("a").is_err());
        for name in ["a\nb", "x y", "z#", "\u{1b}[31m", &"x".repeat(254)] {
            assert!(add_host(&format!("{name}:1.1.1.1")).is_err(), "{name}");
        }
        assert!(add_host("a:b").is_err());
    }

    #[test]
    fn number_lists() {
        for text in ["0", "0,2", "0-3", "0-3,5,7-7"] {
            assert!(number_list(text).is_ok(), "{text}");
        }
        for text in ["", ",", "0,", "3-0", "a", "0-", "-1", "+1", "0 1", "99999"] {
            assert!(number_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ulimits() {
        assert_eq!(ulimit("nofile=1:2").unwrap().hard, 2);
        assert_eq!(ulimit("core=0").unwrap().hard, 0);
        for bad in ["nofile", "nofile=a", "nofile=2:1", "bogus=1", "nofile=-1:5"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
    }
}
